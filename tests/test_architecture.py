"""Imports point one way, few of them from folder to folder; heavy packages are imported only where they are used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from isophase.sweeps.kinds import BUILT_IN

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

ARROWS, NAMES = 55, 179
SCIENCE = ("isophase.kernels", "isophase.analysis.lattices", "isophase.analysis.networks")
ENTRY_POINTS = {
    "flows/api.py: run",
    "kernels/lattice/network.py: lattice",
    "kernels/lattice/simulate.py: simulate",
    "kernels/rnn/train.py: train",
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


def arrows():
    """Every import from one top folder to another: the file, the module, and the names that it takes of it."""
    for package in MAY_IMPORT:
        for path in sorted((ROOT / package).rglob("*.py")):
            for module, names in imports(path):
                if folder(module) not in (None, package):
                    yield path.relative_to(ROOT), module, names


def test_the_sciences_part_ways_inside_analysis():
    for one, other in (("lattices", "networks"), ("networks", "lattices")):
        for path in (ROOT / "analysis" / one).rglob("*.py"):
            assert not [m for m, _ in imports(path) if m.startswith(f"isophase.analysis.{other}")], path
    for path in (ROOT / "analysis").glob("*.py"):
        assert not [m for m, _ in imports(path) if m.startswith(SCIENCE)], path


def test_flows_and_sweeps_name_nothing_of_one_science_outside_the_registry():
    """Before there was a registry they did so 51 times. A kind's file belongs to the registry, ``sweeps/kinds``."""
    named = [arrow for arrow in arrows() if arrow[0].parts[0] in ("flows", "sweeps") and arrow[1].startswith(SCIENCE)]
    assert named
    assert {path.parts[:2] for path, _, _ in named} == {("sweeps", "kinds")}
    text = {path: path.read_text() for package in ("flows", "sweeps") for path in (ROOT / package).rglob("*.py")}
    registry = ROOT / "sweeps" / "kinds"
    for path, code in text.items():
        if registry not in path.parents:
            assert not [kind for kind in BUILT_IN if f'"{kind}"' in code], path


def test_the_folders_hang_together_by_few_arrows():
    """As many as there are; a change that needs more changes this number, and says why."""
    found = list(arrows())
    assert len({(path, module) for path, module, _ in found}) == ARROWS
    assert sum(len(names) for _, _, names in found) == NAMES


def test_functions_are_short_and_take_few_parameters():
    """80 lines and ten parameters, but for compiled kernels and public entry points."""
    long = set()
    for package in MAY_IMPORT:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.FunctionDef) or is_compiled(node):
                    continue
                arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
                if node.end_lineno - node.lineno >= 80 or len(arguments) > 10:
                    long.add(f"{path.relative_to(ROOT)}: {node.name}")
    assert long == ENTRY_POINTS


def is_compiled(function):
    return any("njit" in ast.unparse(d) or "cuda.jit" in ast.unparse(d) for d in function.decorator_list)


def test_opening_a_store_needs_neither_prefect_nor_jax():
    code = "import isophase, sys; isophase.open; sys.exit(bool({'prefect', 'jax', 'distributed'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
