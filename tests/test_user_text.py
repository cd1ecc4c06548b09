"""Every table, label and name is the user's text: labels tell schemes apart, axes increase, nothing is left out."""

import numpy as np
import pytest
import xarray as xr

import isophase
from isophase.analysis.schemes import labels_along, told_apart
from isophase.sweeps.store import read
from isophase.sweeps.sweep import parse
from tests.serial import run_serially, study_serially

CLOSE = [1.5707961, 1.5707963, 1.5707965]


def kuramoto(**axes):
    fixed = {"size": 4} | ({} if "coupling" in axes else {"coupling": 1.0})
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
