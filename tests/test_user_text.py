"""Every table, label and name is the user's text: labels tell schemes apart, axes increase, nothing is left out."""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import warnings
from html import escape

import numpy as np
import pytest
import xarray as xr
from markdown_it import MarkdownIt
from matplotlib.figure import Figure

import isophase
from isophase.analysis import tables
from isophase.analysis.base import Summaries
from isophase.analysis.drawing import drawn
from isophase.analysis.lattices.report import REPORT
from isophase.analysis.schemes import labels_along, told_apart
from isophase.flows.formats import FORMATS
from isophase.flows.output import harmless
from isophase.flows.report import draw, figures_folder
from isophase.sweeps.store import read
from isophase.sweeps.sweep import CONTROL, SweepError, parse
from tests.serial import run_serially, study_serially
from tests.test_command_line import command, write_sweep

CLOSE = [1.5707961, 1.5707963, 1.5707965]


def kuramoto(**axes):
    fixed = {"size": 4} | ({} if {"coupling", "arm"} & set(axes) else {"coupling": 1.0})
    if "width" in axes:
        fixed["frequencies"] = "normal"
    return parse(
        {
            "kind": "kuramoto",
            "axes": {**axes, "seed": [0, 1]},
            "fixed": fixed,
            "record": {"t_end": 4.0, "samples": 4},
        }
    )


def test_close_values_are_rows_and_points_of_their_own(tmp_path):
    report = study_serially(str(tmp_path / "s.zarr"), kuramoto(coupling=CLOSE))
    wanted = [f"coupling {value!r}" for value in CLOSE]
    assert report.tables["correlation-length"].column("scheme") == wanted
    axes = report.figures["steady"]().axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == wanted


@pytest.mark.parametrize(
    ("numbers", "texts"),
    [
        ([0.1, 1 / 3], ["0.1", "0.333333"]),
        ([0.3, 0.1 + 0.2], ["0.3", "0.30000000000000004"]),
        ([1234567.0, 2.5], ["1234567", "2.5"]),
        ([2**62, 2**62 + 1], ["4611686018427387904", "4611686018427387905"]),
        ([False, True], ["False", "True"]),
    ],
)
def test_numbers_have_as_few_digits_as_tell_them_apart(numbers, texts):
    assert told_apart(numbers) == texts


def test_labels_that_would_be_equal_say_their_axes():
    dataset = xr.Dataset(coords={"x": ["a, b", "a"], "y": ["c", "b, c"]})
    assert labels_along(dataset, ["x"]) == ["a, b", "a"]
    assert len(set(labels_along(dataset, ["x", "y"]))) == 4
    assert "x 'a', y 'b, c'" in labels_along(dataset, ["x", "y"])


def test_values_added_out_of_order_are_read_and_drawn_in_order(tmp_path):
    location = str(tmp_path / "s.zarr")
    run_serially(location, kuramoto(width=[1.0, 2.0, 3.0]))
    report = study_serially(location, kuramoto(width=[2.5, 0.8, 1.5]))
    wanted = [0.8, 1.0, 1.5, 2.0, 2.5, 3.0]
    tree = isophase.open(location)
    for node in (tree["square-4"], tree["summary/square-4"]):
        assert node["width"].values.tolist() == wanted
        assert node["width"].sel(width=slice(0.9, 2)).values.tolist() == [1.0, 1.5, 2.0]
    curve = report.figures["against-width"]().axes[0].get_lines()[0]
    np.testing.assert_array_equal(curve.get_xdata(), wanted)
    plain = xr.open_zarr(location, group="summary/square-4", consolidated=False)
    assert plain["width"].values.tolist() == wanted  # of who reads it without isophase, too

    kept = xr.open_zarr(location, group="square-4", consolidated=False)
    assert kept["width"].values.tolist() == [1.0, 2.0, 3.0, 2.5, 0.8, 1.5]  # results are not moved
    for width in wanted:
        np.testing.assert_array_equal(
            tree["square-4"]["phase"].sel(width=width).values, kept["phase"].sel(width=width).values
        )
    assert read(location).count()["done"] == 12


LABELS = [r"$\tfrac{1}{2}$ of it", "_from $1 to $2", "a longer one " * 7, "x" * 90]


def arms(labels=LABELS):
    return kuramoto(arm={"label": labels, "coupling": [0.5 + n for n in range(len(labels))]})


def as_shown(text):
    return text.get_text().replace("\u200b", "").replace("\n", " ")


def test_labels_with_dollars_underscores_and_90_characters_stand_whole_in_legends(tmp_path):
    report = study_serially(str(tmp_path / "s.zarr"), arms())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = report.figures["correlations"]()
        (panel,) = figure.axes
        figure.savefig(tmp_path / "f.png", bbox_inches="tight")
        report.figures["steady"]().savefig(tmp_path / "steady.png")
    texts = panel.get_legend().get_texts()
    assert [as_shown(text).replace(" ", "") for text in texts[:-1]] == [label.replace(" ", "") for label in LABELS]
    assert not any(text.get_parse_math() for text in (*texts, panel.title, *panel.get_xticklabels()))
    width, height = figure.get_size_inches() * panel.get_position().size
    assert width > 2
    assert height > 1.5
    for text in texts:
        assert text.get_window_extent().x1 <= figure.bbox.x1


def test_powers_of_ten_are_characters():
    def powers():
        figure = Figure(layout="constrained")
        axes = figure.add_subplot()
        axes.plot([1e-9, 1, 1e6], [1e-2, 1, 30])
        axes.set(xscale="log", yscale="log")
        return figure

    axes = drawn(powers).axes[0]
    assert {"10⁻⁹", "10⁶"} & {text.get_text() for text in axes.get_xticklabels()}
    labels = [text.get_text() for text in (*axes.get_xticklabels(), *axes.get_yticklabels(which="both"))]
    assert not [text for text in labels if "$" in text or "{" in text]


def test_a_matplotlibrc_of_the_user_changes_no_figure(tmp_path):
    location = str(tmp_path / "s.zarr")
    study_serially(location, arms())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "matplotlibrc").write_text(
        "savefig.dpi: 20\nsavefig.format: pdf\naxes.facecolor: red\ntext.parse_math: True\nfigure.figsize: 1, 1\n"
    )
    code = f"from isophase.flows.report import report_of, show; assert show(report_of({location!r}))[1] == 0"
    for folder in ("mine", "."):
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path / folder, check=True, capture_output=True)
        (tmp_path / "s.figures").rename(tmp_path / f"figures-{folder.strip('.')}")
    names = sorted(path.name for path in (tmp_path / "figures-").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "figures-mine").iterdir())
    assert len(names) > 3
    for name in names:
        assert (tmp_path / "figures-" / name).read_bytes() == (tmp_path / "figures-mine" / name).read_bytes(), name


def test_figures_of_many_schemes_are_bounded_and_say_what_they_leave_out(tmp_path, capsys):
    report = study_serially(str(tmp_path / "s.zarr"), arms([f"arm {n}" for n in range(45)]))
    _, failed = draw(report.choose_figures, tmp_path / "figures")
    assert failed == 0
    said = capsys.readouterr().err
    assert "note: figure steady: the first 40 of 45 schemes" in said
    for name, shown in (("growth", 10), ("correlations", 10), ("evolution", 10), ("phases-square-4", 6)):
        assert f"note: figure {name}: the first {shown} of 45 schemes" in said
    figure = report.figures["steady"]()
    assert figure.get_suptitle() == "the first 40 of 45 schemes"
    assert len(figure.axes[0].get_xticklabels()) == 40


def test_figures_of_many_groups_are_bounded_and_say_so(tmp_path):
    location = str(tmp_path / "s.zarr")
    study_serially(location, kuramoto(coupling=CLOSE))
    summary = isophase.open(location)["summary/square-4"].to_dataset().load()
    found = REPORT.figures(Summaries({f"square-{n}": summary for n in range(30)}), isophase.open(location))
    for name in ("growth", "steady", "evolution", "correlations", "against-coupling"):
        figure = drawn(found[name])
        assert figure.get_suptitle() == "the first 12 of 30 groups"
        assert max(figure.get_size_inches()) < 45


@pytest.mark.parametrize("control", ["\x1b[2J", "\x9b31m", "\u202e", "\n", "\x00", "\u2028"])
def test_control_characters_in_a_sweep_are_refused(control):
    fixed = {"kind": "kuramoto", "record": {"t_end": 4.0, "samples": 4}, "fixed": {"size": 4}}
    axis = {"coupling": [1.0, 2.0]}
    for sections in (
        {"title": f"a{control}"},
        {"axes": {"arm": {"label": ["a", f"b{control}"], **axis}}},
        {"axes": {f"arm{control}": {"label": ["a", "b"], **axis}}},
        {f"key{control}": 1},
    ):
        with pytest.raises(SweepError, match="holds the control character") as refused:
            parse({"axes": axis, **fixed, **sections})
        assert str(refused.value).isprintable()
    with pytest.raises(SweepError, match="holds the control character") as refused:
        parse({"axes": axis, **fixed}, name=f"a{control}", where=f"a{control}.toml")
    assert str(refused.value).isprintable()


EVIL = """
import isophase

@isophase.point(dims={"x": []})
def evil(*, r: float):
    if r > 1:
        raise RuntimeError("\\x1b]0;owned\\x07\\x9b31m\\u202e\\r of r")
    return {"x": r}
"""


def test_what_a_terminal_would_obey_is_shown_wherever_a_store_is(tmp_path):
    """With errors of points as an example; tables too."""
    (tmp_path / "mine.py").write_text(EVIL)
    (tmp_path / "map.toml").write_text('kind = "mine:evil"\naxes.r = [1.0, 2.0]\n')
    for arguments in (["run", "map.toml", "--store", "s.zarr", "--workers", "1"], ["status", "s.zarr"]):
        answer = subprocess.run(command(*arguments), cwd=tmp_path, capture_output=True, check=False, timeout=250)
        assert answer.returncode == 1, answer.stderr
        printed = (answer.stdout + answer.stderr).decode()
        assert CONTROL.search(printed.replace("\n", "").replace("\t", "")) is None
    assert r"\u001b]0;owned\u0007\u009b31m\u202e\u000d of r" in printed
    table = tables.Table("t", "of \x1b[2J others", [tables.Column("a", "a")], [["\x9bA"]])
    shown = json.loads(harmless(FORMATS["json"]([table])))
    assert (shown[0]["title"], shown[0]["rows"]) == (table.title, [{"a": "\x9bA"}])


@pytest.mark.parametrize("command", ["run", "serve"])
def test_a_progress_bar_and_the_logs_of_prefect_may_move_the_cursor(command):
    script = (
        "import sys; from isophase.flows import output\n"
        f"with output.kept(obeyed={command == 'serve'}):\n"
        "    output.terminal().write('\\x1b[1A'); print('\\x1b[1B', file=sys.stderr)"
    )
    told = subprocess.run([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True, check=True).stderr
    assert told == ("\x1b[1A\x1b[1B\n" if command == "serve" else "\x1b[1A\\u001b[1B\n")


ODD = """
import isophase

@isophase.point(dims={"größe": []}, units={"größe": "m|V"})
def 関数(*, r: float, name: str):
    return {"größe": r}
"""
NAMES = ["<b>a|b</b>", "`x`", "_日本_", "-dash", "[l](u)"]


def test_what_prefect_keeps_of_a_study_has_keys_links_and_tables_of_odd_names(tmp_path):
    """The store's name and the function's are text, too."""
    (tmp_path / "mine.py").write_text(ODD)
    (tmp_path / "日本 100%#1.toml").write_text(
        f'kind = "mine:関数"\naxes.name = {json.dumps(NAMES)}\naxes.r = [1.0, 2.0, 3.0]\n'
    )
    store, study = tmp_path / "it's [a]*b(#1)? 100%.zarr", ("study", "日本 100%#1.toml", "--workers", 1)
    answer = subprocess.run(
        command(*study, "--store", store), cwd=tmp_path, capture_output=True, text=True, timeout=250, check=False,
        env=os.environ | {"PREFECT_HOME": str(tmp_path / "home")},
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    with contextlib.closing(sqlite3.connect(tmp_path / "home" / "prefect.db")) as database:
        kept = {key: json.loads(str(data)) for key, data in database.execute("SELECT key, data FROM artifact")}
    assert "u95a2-u6570" in kept
    page = MarkdownIt("commonmark").enable("table")
    page.validateLink = lambda url: True  # files of this machine too
    links = page.render(kept["u65e5-u672c-100-1-figures"])
    figures = store.with_suffix(".figures")
    assert links == f'<p><a href="{figures.as_uri()}">{escape(str(figures), quote=False)}</a></p>\n'
    table = page.render(kept["u95a2-u6570"])
    for name in NAMES:
        assert f"<td>{escape(name)}, r 1</td>" in table
    assert len(list(figures.glob("*.png"))) == 1


@pytest.mark.parametrize("name", ["-a#b%3F? 日本 {x}[y]*.v1.2'3.zarr", ".hid.den"])
def test_a_store_of_any_name_is_run_reduced_and_reported(name, tmp_path):
    sweep = write_sweep(tmp_path / "small.toml", size=6, seeds=1)
    place = [f"--store={name}"]
    for arguments in (["study", sweep, *place, "--workers", "1"], ["status", f"./{name}"], ["verify", f"./{name}"],
                      ["report", f"./{name}"], ["run", sweep, *place]):  # fmt: skip
        answer = subprocess.run(
            command(*arguments), cwd=tmp_path, capture_output=True, text=True, check=False, timeout=250
        )
        assert answer.returncode == 0, answer.stderr
    assert "nothing left to run" in answer.stdout
    assert isophase.open(tmp_path / name)["summary/square-6"].sizes["private"] == 2
    assert len(list(figures_folder(str(tmp_path / name)).glob("*.png"))) >= 4
    assert {path.name for path in tmp_path.iterdir()} == {"small.toml", name, figures_folder(str(tmp_path / name)).name}
