"""What a flow run leaves in Prefect's UI: its progress, links and tables. Outside a flow run nothing happens."""

import contextlib
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

from isophase.analysis.tables import Table
from isophase.flows.formats import markdown, of_markdown
from isophase.flows.threads import alongside
from isophase.sweeps.store import is_url

POST_SECONDS = 3.0  # between two updates of the progress


def _in_flow_run() -> bool:
    context = sys.modules.get("prefect.context")  # nothing is imported for a run without Prefect
    return context is not None and context.FlowRunContext.get() is not None


@contextlib.contextmanager
def progress(name: str, share_done: Callable[[], float]) -> Iterator[None]:
    """Show the share that is done, from 0 to 1, as long as the context lasts.

    A thread of its own posts it: a server that has gone away must not hold up the work.
    """
    if not _in_flow_run():
        yield
        return
    from prefect.artifacts import create_progress_artifact, update_progress_artifact

    artifact = create_progress_artifact(100 * share_done(), key=_key(f"{name}-progress"), description=name)

    def post(ended: threading.Event) -> None:
        over = False
        while not over:
            over = ended.wait(POST_SECONDS)
            with contextlib.suppress(Exception):  # the flow itself meets and reports whatever is wrong with the server
                update_progress_artifact(artifact, 100 * share_done())  # type: ignore[arg-type]

    with alongside("progress", post, patience=POST_SECONDS):
        yield


def link(name: str, target: str, description: str) -> None:
    """Link to a URL or a local path, with a line that says what it is."""
    if _in_flow_run():
        from prefect.artifacts import create_link_artifact

        url = quote(target, safe=":/") if is_url(target) else Path(target).absolute().as_uri()
        create_link_artifact(url, link_text=of_markdown(target), key=_key(name), description=description)


def table(table: Table) -> None:
    """A table with its title, in Markdown."""
    if _in_flow_run():
        from prefect.artifacts import create_markdown_artifact

        create_markdown_artifact(markdown([table]), key=_key(table.key), description=table.title)


def _key(text: str) -> str:
    """Prefect's keys are of lower-case letters, digits and dashes; other letters stand as their code points."""
    return re.sub("[^a-z0-9]+", "-", text.lower().encode("unicode_escape").decode()).strip("-")
