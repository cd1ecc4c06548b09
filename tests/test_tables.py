"""Tables hold values; every format renders the same ones."""

import csv
import io
import json
import math
from html import escape

import pytest
from markdown_it import MarkdownIt

from isophase.analysis.tables import Column, Estimate, Table, text, with_error
from isophase.flows.formats import FORMATS

COLUMNS = (
    Column("scheme", "scheme"),
    Column("xi", "xi: e-folding", "ring spacings", absent="not defined"),
    Column("halfway", "halfway", "updates", form=".0f", absent="never"),
    Column("types", "types"),
    Column("pulses", "pulses"),
    Column("seeds", "seeds", "1"),
)
ROWS = (
    ("side | <b>[red]", Estimate(4.567, error=0.1234), Estimate(120.0, low=100.0, high=140.0),
     {"fold": 3, "neimark_sacker": 1}, (1, 2, 3, 5), 4),
    ("corner", Estimate(8.0, bound=True), Estimate(math.nan, low=math.nan, high=math.nan), {}, (), 2),
    ("none", Estimate(2.5, error=math.nan), Estimate(7.0, low=math.nan, high=math.nan), {}, (4,), math.nan),
)  # fmt: skip
TABLE = Table("lengths", "correlation length", COLUMNS, ROWS, ("xi is that of the last half.",))


def test_a_person_reads_numbers_with_their_uncertainty():
    assert TABLE.texts() == [
        ("side | <b>[red]", "4.57 ± 0.12", "120 (100 to 140)", "fold 3, neimark sacker 1", "1-3, 5", "4"),
        ("corner", "> 8", "never", "", "", "2"),
        ("none", "2.5 (one seed)", "7 (?)", "", "4", ""),
    ]
    assert [column.heading for column in COLUMNS][:2] == ["scheme", "xi: e-folding (ring spacings)"]
    assert TABLE.column("seeds")[:2] == [4, 2]


@pytest.mark.parametrize(
    ("value", "error", "shown"),
    [(1.2345, 0.0321, "1.234 ± 0.032"), (123.4, 12.0, "123 ± 12"), (5.0, 0.0, "5"), (5.0, math.nan, "5 (one seed)"),
     (-0.13721812345, 3e-13, "-0.1372181235 ± 3e-13"), (math.nan, 1.0, "")],
)  # fmt: skip
def test_two_digits_of_the_error_say_the_digits_of_the_value(value, error, shown):
    assert with_error(value, error) == shown
    assert text(COLUMNS[1], Estimate(value, error=error)) == (shown or "not defined")


def test_csv_and_json_hold_values_and_nothing_is_lost_in_them():
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"]([TABLE]))))
    assert rows[0]["scheme"] == "side | <b>[red]"
    assert (float(rows[0]["xi"]), float(rows[0]["xi_error"])) == (4.567, 0.1234)
    assert (rows[0]["halfway"], rows[0]["halfway_low"], rows[0]["halfway_high"]) == ("120.0", "100.0", "140.0")
    assert (rows[1]["xi"], rows[1]["xi_is_lower_bound"], rows[1]["halfway"]) == ("8.0", "True", "")
    assert rows[0]["types"] == "fold: 3; neimark_sacker: 1"
    assert rows[0]["pulses"] == "1 2 3 5"
    (found,) = json.loads(FORMATS["json"]([TABLE]))
    assert found["columns"][1] == {"key": "xi", "title": "xi: e-folding", "units": "ring spacings"}
    assert found["rows"][0]["xi"] == {"value": 4.567, "error": 0.1234}
    assert found["rows"][1]["xi"] == {"value": 8.0, "lower_bound": True}
    assert found["rows"][1]["halfway"] == {"value": None, "low": None, "high": None}
    assert found["rows"][0]["types"] == {"fold": 3, "neimark_sacker": 1}
    assert found["rows"][2]["seeds"] is None
    assert found["notes"] == ["xi is that of the last half."]


def test_several_tables_are_one_document():
    other = Table("other", "others", COLUMNS[:1], (("a",),))
    assert [found["table"] for found in json.loads(FORMATS["json"]([TABLE, other]))] == ["lengths", "other"]
    first, second = FORMATS["csv"]([TABLE, other]).split("\n\n")
    assert first.startswith("# lengths: correlation length\nscheme,xi,")
    assert second == "# other: others\nscheme\na\n"


@pytest.mark.parametrize("name", FORMATS)
def test_a_table_without_rows_is_a_table(name):
    empty = Table("empty", "nothing", COLUMNS, ())
    assert FORMATS[name]([empty]).strip()


def test_text_of_the_user_is_no_markup():
    assert "side | <b>[red]" in FORMATS["terminal"]([TABLE])
    assert r"side \| &lt;b&gt;\[red\]" in FORMATS["markdown"]([TABLE])
    assert "<td>side | &lt;b&gt;[red]</td>" in FORMATS["html"]([TABLE])


@pytest.mark.parametrize(
    "label",
    ["a|b", "`x`", "*a* **b**", "_x_", "a_b", "<b>", "<script>alert(1)</script>", "- x", "1. x", "## x", "> x", "$x$",
     "[l](javascript:x)", "![i](u)", "a\\|b", "~~x~~", "&lt;", "100 %", "---", "日本 | `"],
)  # fmt: skip
def test_no_label_is_markup_in_markdown(label):
    table = Table("t", label, (Column("s", "scheme"), Column("n", "n")), ((label, 1),), (label,))
    page = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(FORMATS["markdown"]([table]))
    shown = escape(label)
    assert f"<strong>{shown}</strong>" in page
    assert f"<td>{shown}</td>\n<td>1</td>" in page
    assert page.endswith(f"<p>{shown}</p>\n")


def test_a_row_that_does_not_fit_its_columns_is_refused():
    with pytest.raises(ValueError, match="table t: a row of 1 cells under 2 columns"):
        Table("t", "t", COLUMNS[:2], (("a",),))
