"""Labels in any script are drawn as they are, by every kind; letters that no font has are said, never mere boxes."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.figure import Figure
from matplotlib.text import Text

import isophase
from isophase.analysis.drawing import drawn
from isophase.analysis.fonts import FONT, code_point, fonts_with, lacking, spelled
from isophase.flows.report import draw
from isophase.sweeps.sweep import parse
from tests.serial import study_serially

OTHERS = "結合"  # letters that the style's font has not
NONE = "\ue000\U000f0000"  # letters for private use, which mean nothing
LABELS = ["strong", f"{OTHERS} é $x$", f"a {NONE}b", "שלום", "_مرحبا"]
SPELLED = r"a \ue000\U000f0000b"
NOTE = r"letters that no installed font has stand as \ue000"


@isophase.point(dims={"x": ["time"], "last": []}, coords={"time": np.arange(3)}, units={"x": OTHERS})
def growth(*, rate: float, seed: np.random.SeedSequence):
    return {"x": np.exp(rate * np.arange(3)), "last": rate}


def sweep_of(kind, fixed, record, **values):
    arm = {"label": LABELS, **values}
    return parse({"kind": kind, "axes": {"arm": arm, "seed": [0, 1]}, "fixed": fixed, "record": record})


SWEEPS = {
    "lattice": ({"size": 6}, {"t_end": 20.0, "samples": 3}, {"delay": [0.01, 0.02, 0.03, 0.04, 0.05]}),
    "kuramoto": ({"size": 4}, {"t_end": 4.0, "samples": 4}, {"coupling": [1.0, 2.0, 3.0, 4.0, 5.0]}),
    "rings": ({"delay": 0.1, "states": 4}, {"t_end": 60.0}, {"ring_size": [3, 4, 5, 6, 7]}),
    "dynamics": ({"size": 4}, {"t_start": 20.0, "t_end": 40.0, "samples": 41},
                 {"delay": [0.01, 0.02, 0.03, 0.04, 0.05]}),
    "flipflop": ({"n_hidden": 4}, {"iterations": 6, "checkpoints": 2, "heldout": 4, "probe": 2},
                 {"learning_rate": [0.001, 0.002, 0.003, 0.004, 0.005]}),
    growth: ({}, {}, {"rate": [1.0, 2.0, 3.0, 4.0, 5.0]}),
}  # fmt: skip


@pytest.fixture
def font(tmp_path, monkeypatch):
    """An installed font that has the letters: squares."""
    pen = TTGlyphPen(None)
    for move, at in zip((pen.moveTo, *[pen.lineTo] * 3), ((0, 0), (0, 700), (700, 700), (700, 0)), strict=True):
        move(at)
    pen.closePath()
    square, names = pen.glyph(), [f"square{number}" for number in range(len(OTHERS))]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", *names])
    builder.setupCharacterMap(dict(zip(map(ord, OTHERS), names, strict=True)))
    builder.setupGlyf(dict.fromkeys((".notdef", *names), square))
    builder.setupHorizontalMetrics(dict.fromkeys((".notdef", *names), (800, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800, usWinAscent=800, usWinDescent=200)
    builder.setupPost()
    (tmp_path / "share" / "fonts").mkdir(parents=True)
    builder.save(tmp_path / "share" / "fonts" / "squares.ttf")
    return {"XDG_DATA_HOME": str(tmp_path / "share")}


def figure_of(text):
    figure = Figure()
    figure.add_subplot().set_title(text)
    return figure


def test_a_font_that_has_the_letters_is_taken_as_soon_as_it_is_installed(tmp_path, font):
    """Also one of which matplotlib's own list knows nothing yet; what the style's font has looks as ever."""
    code = (
        "import sys, warnings; warnings.simplefilter('error')\n"
        "from tests.test_fonts import *\n"
        "plain, other = (drawn(lambda: figure_of(text)) for text in ('plain', OTHERS))\n"
        "plain.savefig(sys.argv[1]); other.savefig(sys.argv[2])\n"
        "print(other.axes[0].title.get_fontfamily(), ascii(other.axes[0].get_title()), other.get_suptitle())"
    )

    def draws(name, **environment):
        arguments = [sys.executable, "-c", code, tmp_path / f"{name}-plain.png", tmp_path / f"{name}.png"]
        answer = subprocess.run(
            arguments, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=250
        )
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    if not fonts_with(lacking(OTHERS))[0]:  # of the machine itself
        assert "letters that no installed font has" in draws("without")
        assert draws("with", **font).startswith(f"['{FONT}', 'Squares'] {OTHERS!a}")
        assert (tmp_path / "with.png").read_bytes() != (tmp_path / "without.png").read_bytes()
        assert (tmp_path / "with-plain.png").read_bytes() == (tmp_path / "without-plain.png").read_bytes()
    else:
        assert f"{OTHERS!a}" in draws("here")


def test_letters_that_no_font_has_stand_as_their_code_points():
    figure = drawn(lambda: figure_of(f"a {NONE}b"))
    assert figure.axes[0].get_title() == SPELLED
    assert figure.get_suptitle() == NOTE


@pytest.mark.parametrize("kind", SWEEPS, ids=lambda kind: getattr(kind, "name", kind))
def test_labels_of_any_script_stand_in_the_figures_of_every_kind(kind, tmp_path, capsys):
    fixed, record, values = SWEEPS[kind]
    report = study_serially(str(tmp_path / "s.zarr"), sweep_of(kind, fixed, record, **values))
    unknown = fonts_with(lacking("".join(LABELS)))[1]
    wanted = {spelled(label, unknown) for label in LABELS}
    assert SPELLED in wanted
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        paths, failed = draw(report.choose_figures, tmp_path / "figures")
        texts = "\n".join(
            text.get_text().replace("\u200b", "")
            for figure in (make() for make in report.figures.values())
            for text in figure.findobj(Text)
        )
    assert failed == 0
    assert paths
    if kind != "rings":  # whose panels are neurons
        assert all(label in texts for label in wanted)
        assert f"letters that no installed font has stand as {code_point(min(unknown))}" in capsys.readouterr().err
    assert set(LABELS) <= {str(cell) for table in report.tables.values() for cell in table.column("scheme")}
