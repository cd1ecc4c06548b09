"""Every test runs against a Prefect home of its own, away from the user's; so does every process that runs tests."""

import os
import signal
import tempfile
from pathlib import Path

HOME = "ISOPHASE_TEST_PREFECT_HOME"

os.environ.setdefault(HOME, tempfile.mkdtemp(prefix="isophase-prefect-"))
os.environ["PREFECT_HOME"] = str(Path(os.environ[HOME]) / os.environ.get("PYTEST_XDIST_WORKER", "alone"))

# what tests start inherits what is ignored, as of a background job or under nohup
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
