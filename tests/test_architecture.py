"""Imports point one way; heavy packages are imported only where they are used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "kernels": set(),
    "analysis": {"kernels"},
    "sweeps": {"kernels"},
    "flows": {"kernels", "analysis", "sweeps"},
}
FOREIGN = {
    "kernels": {"dask", "distributed", "prefect"},
    "sweeps": {"dask", "distributed", "prefect"},
    "analysis": {"prefect", "distributed"},
}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_one_way(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    allowed = MAY_IMPORT[package] | {package}
    for path in files:
        found = set(imports(path))
        assert not (found & set(MAY_IMPORT)) - allowed, path
        assert not found & FOREIGN.get(package, set()), path


def test_opening_a_store_needs_neither_prefect_nor_jax():
    code = "import isochron, sys; sys.exit(bool({'prefect', 'jax', 'distributed'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
