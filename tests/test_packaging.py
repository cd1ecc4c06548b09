"""What an install puts on the import path: ``isophase``, and nothing else."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LOCKS = [ROOT / "constraints.txt", *sorted((ROOT / "constraints").glob("*.txt"))]
FOLDERS = ("analysis", "flows", "kernels", "sweeps")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of a copy of what a source archive holds, links as they are."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "src", *FOLDERS):
        subprocess.run(["cp", "-a", ROOT / name, source], check=True)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*build, "--wheel-dir", folder, source], check=True)
    (found,) = folder.glob("*.whl")
    return found


def test_a_wheel_holds_isophase_alone(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"isophase"}
    for folder in FOLDERS:
        assert f"isophase/{folder}/__init__.py" in names
        sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*.py")}
        assert sources <= {name.removeprefix("isophase/") for name in names}
    assert len([name for name in names if name.startswith("isophase/sweeps/presets/") and name.endswith(".toml")]) > 10


def test_an_unpacked_wheel_runs_away_from_the_clone(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import isophase.flows.cli as cli; print(cli.__file__)"
    answer = subprocess.run([sys.executable, "-c", f"{code}; cli.main(['presets'])"], cwd="/", capture_output=True,
                            text=True, check=True)  # fmt: skip
    assert str(tmp_path) in answer.stdout
    assert "quickstart" in answer.stdout


@pytest.mark.parametrize("name", [*FOLDERS, "tests", "isochron"])
def test_an_install_in_place_puts_nothing_else_on_the_path(name, tmp_path):
    answer = subprocess.run([sys.executable, "-c", f"import {name}"], cwd=tmp_path, capture_output=True, text=True,
                            check=False)  # fmt: skip
    assert "ModuleNotFoundError" in answer.stderr


def test_the_image_holds_what_every_kind_needs():
    """Without JAX every point of a flipflop sweep would fail in it."""
    assert "--require-hashes --requirement constraints.txt" in (ROOT / "Dockerfile").read_text()
    assert {"jax", "optax", "obstore"} <= set(locked(ROOT / "constraints.txt"))


def locked(path):
    """The packages of a lock, each with its version and the hashes of its files."""
    found = {}
    for entry in re.split(r"\n(?=\S)", path.read_text().strip()):
        requirement, *hashes = entry.replace("\\\n", "").split("--hash=")
        name, _, version = requirement.partition(";")[0].strip().partition("==")
        found[name] = (version, hashes)
    return found


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_every_package_of_a_lock_has_one_version_and_the_hashes_of_its_files(path):
    run = locked(ROOT / "constraints.txt")
    packages = locked(path)
    assert packages
    for name, (version, hashes) in packages.items():
        assert re.fullmatch(r"[\w.]+", version), name
        assert hashes, name
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", value.strip()) for value in hashes), name
        assert run.get(name, packages[name])[0] == version, name


@pytest.mark.parametrize("name", ["Makefile", "Dockerfile"])
def test_nothing_is_installed_but_by_its_hash_or_from_the_clone(name):
    lines = (ROOT / name).read_text().replace("\\\n", "").splitlines()
    installs = [part for line in lines for part in line.split("&&") if "pip install" in part or "$(INSTALL)" in part]
    assert installs
    for install in installs:
        built_here = "--no-index /wheels/" in install  # the wheel of the clone, from the line before
        known = "--require-hashes" in install or "--no-build-isolation" in install or built_here
        assert known or install.startswith("INSTALL :="), install
        assert "--no-deps" in install or "$(INSTALL)" in install, install
