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
    """Every module that a file imports, and the names that it takes from each."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module, tuple(alias.name for alias in node.names)


def folder(module):
    """The top folder of a module of ours."""
    first, _, rest = module.partition(".")
    return rest.split(".")[0] if first == "isophase" else None


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_one_way(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    allowed = MAY_IMPORT[package] | {package, None}
    for path in files:
        found = [module for module, _ in imports(path)]
        assert {folder(module) for module in found} <= allowed, path
        first = {module.split(".")[0] for module in found}
        assert not first & FOREIGN.get(package, set()), path
        assert not first & set(MAY_IMPORT), f"{path}: ours are isophase.{package}"


def test_opening_a_store_needs_neither_prefect_nor_jax():
    code = "import isophase, sys; isophase.open; sys.exit(bool({'prefect', 'jax', 'distributed'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
