"""docs/lattices.md says what its presets and the code of today say, or fails here."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def builder():
    spec = importlib.util.spec_from_file_location("lattices_page", ROOT / "docs" / "lattices.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_lattices_is_not_stale(builder):
    (made_of,) = builder.MADE_OF.findall(builder.PAGE.read_text(encoding="utf-8"))
    assert made_of == builder.fingerprint(), "docs/lattices.md is stale: run `make docs`"


def test_every_block_and_figure_of_the_page_is_made_and_shown(builder):
    text = builder.PAGE.read_text(encoding="utf-8")
    found = [match["name"] for match in builder.MARK.finditer(text)]
    assert sorted(found) == sorted(builder.BLOCKS)
    assert all(match["body"].strip() for match in builder.MARK.finditer(text))
    assert sorted(set(re.findall(r"figures/([\w-]+)\.png", text))) == sorted(builder.DRAWN)
    for name in builder.DRAWN:
        assert (builder.FIGURES / f"{name}.png").stat().st_size > 5_000


def test_comments_do_not_make_it_stale_and_numbers_do(builder, tmp_path, monkeypatch):
    for folder in builder.SOURCES:
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(builder, "ROOT", tmp_path)
    path = tmp_path / "kernels" / "lattice" / "windowed.py"
    path.write_text('"""Old."""\n\n\ndef f(x):\n    """Old."""\n    return x + 1\n')
    before = builder.fingerprint()
    path.write_text('"""New."""\n\n\ndef f(x):\n    """New."""\n    return x + 1  # why\n')
    assert builder.fingerprint() == before
    path.write_text("def f(x):\n    return x + 2\n")
    assert builder.fingerprint() != before
