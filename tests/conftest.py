"""Every test runs against a Prefect home of its own, away from the user's."""

import os
import tempfile

os.environ["PREFECT_HOME"] = os.environ.get("ISOCHRON_TEST_PREFECT_HOME") or tempfile.mkdtemp(
    prefix="isochron-prefect-"
)
os.environ["ISOCHRON_TEST_PREFECT_HOME"] = os.environ["PREFECT_HOME"]
