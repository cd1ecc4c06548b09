"""Prefect flows over Dask: sweep, reduce, study; and the command line.

Settings that Prefect reads at import are set here, each only where the user has not set it.
"""

import os

for _name, _value in {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # the first start of the embedded server makes its database, minutes on a busy machine; the default is 20 s
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",
}.items():
    os.environ.setdefault(_name, _value)
