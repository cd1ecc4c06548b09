"""A picture of a page as headless Chromium shows it after some seconds of real time, for pages that fill themselves."""

import base64
import json
import re
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import connect


def picture_of(url: str, picture: Path, script: str = "", seconds: float = 8.0) -> str:
    """Write a PNG of a page; returns the page's text. ``script`` runs before those of the page."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:  # the browser ends after its last write
        process = subprocess.Popen(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0",
             f"--user-data-dir={profile}", "--window-size=1400,900", "about:blank"],
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        try:
            assert process.stderr is not None
            port = next(m[1] for line in process.stderr if (m := re.search(r"ws://127\.0\.0\.1:(\d+)/", line)))
            targets = httpx.get(f"http://127.0.0.1:{port}/json/list").json()
            address = next(t["webSocketDebuggerUrl"] for t in targets if t["type"] == "page")
            with connect(address, max_size=None, open_timeout=20) as page:
                _call(page, "Page.enable")
                _call(page, "Page.addScriptToEvaluateOnNewDocument", source=script)
                _call(page, "Page.navigate", url=url)
                time.sleep(seconds)
                text = _call(page, "Runtime.evaluate", expression="document.body.innerText")["result"].get("value", "")
                picture.parent.mkdir(parents=True, exist_ok=True)
                picture.write_bytes(base64.b64decode(_call(page, "Page.captureScreenshot")["data"]))
                return text
        finally:
            process.kill()
            process.wait()


def _call(page: Any, method: str, **parameters: Any) -> dict[str, Any]:
    page.send(json.dumps({"id": 1, "method": method, "params": parameters}))
    while True:
        answer = json.loads(page.recv(timeout=20))
        if answer.get("id") == 1:
            return answer["result"]
