"""Where and with what a run was made."""

import datetime
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from distributed import Client

from isophase.flows.cluster import nthreads

PACKAGES = ("isophase", "dask", "distributed", "xarray", "zarr", "numpy", "numba", "prefect", "jax", "optax")


def provenance(client: Client) -> dict[str, Any]:
    """Time, host, machine, workers, commit and versions, as plain values."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "host": platform.node(),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "workers": len(nthreads(client)),
        "git_commit": git_commit(Path(__file__).resolve()),
        "versions": versions,
    }


def git_commit(file: Path) -> str:
    """Commit of the checkout that holds a file; "unknown" for an installed package, or without git."""
    try:
        _git(file.parent, "ls-files", "--error-unmatch", file.name)  # an installed one may lie in another repository
        return _git(file.parent, "describe", "--always", "--dirty", "--abbrev=40")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, check=True).stdout.strip()
