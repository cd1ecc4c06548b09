"""Tables, figures and names of reduced lattices: values, from small groups of every awkward shape."""

import json

import numpy as np
import pytest
import xarray as xr

from isophase.analysis.base import Summaries
from isophase.analysis.lattices.domains import domains
from isophase.analysis.lattices.graph_correlation import graph_correlation, graph_pairs
from isophase.analysis.lattices.order_parameter import order_parameter
from isophase.analysis.lattices.report import REPORT
from isophase.analysis.lattices.sizes import over_sizes
from isophase.analysis.lattices.summary import REDUCTION, summarise
from isophase.analysis.schemes import schemes
from isophase.analysis.tables import Estimate
from isophase.kernels.lattice.tilings import ring_neighbours
from tests.phase_fields import random_walk_chains
from tests.summaries import (
    DONE,
    KURAMOTO,
    LATTICE,
    axis,
    group,
    kuramoto_point,
    lattice_point,
    neighbour_table,
    point_of_grid,
    recorded,
    reduced,
    small_lattices,
    summaries,
)

TIMES = (5.0, 10.0, 20.0)
CHAIN = LATTICE | {"tiling": "chain", "sharing": "weak"}


def shown(groups, found=None):
    """Every table as text and every figure of these groups, drawn to the end."""
    found = found or summaries(groups, REDUCTION)
    tree = xr.DataTree.from_dict(dict(groups))
    tables = {table.key: table for table in REPORT.tables(found)}
    for table in tables.values():
        assert all(isinstance(text, str) for row in table.texts() for text in row)
        json.dumps([table.texts(), table.notes])
    figures = REPORT.figures(found, tree) | REPORT.beside(found)
    drawn = {name: make() for name, make in figures.items()}
    for figure in drawn.values():
        figure.canvas.draw()
    return found, tables, drawn


def hop_curves(figure):
    """What is drawn against the time of a hop: by label, the hops of the line's points."""
    (panel,) = figure.axes
    _, labels = panel.get_legend_handles_labels()
    return labels, [line.get_xdata().tolist() for line in panel.get_lines() if line.get_linestyle() == "-"]


@pytest.fixture(scope="module")
def measured():
    """Two sizes of a lattice with two delays, and what is shown of them."""
    groups = small_lattices(LATTICE, [axis("delay", [0.0, 0.03])], seeds=3)
    return groups, *shown(groups)


def test_the_figures_have_the_names_that_they_always_had(measured):
    _, _, _, drawn = measured
    assert set(drawn) == {"growth", "steady", "correlations", "structure", "evolution", "sizes", "phases-square-6",
                          "phases-square-8", "compare-growth", "compare-evolution", "compare-correlations"}  # fmt: skip


def test_nothing_is_drawn_before_it_is_asked_for(measured, monkeypatch):
    groups, found, _, _ = measured

    def drawn(*anything, **more):
        raise AssertionError("drawn")

    monkeypatch.setattr("matplotlib.figure.Figure.__init__", drawn)
    figures = REPORT.figures(found, xr.DataTree.from_dict(dict(groups))) | REPORT.beside(found)
    for make in figures.values():
        with pytest.raises(AssertionError, match="drawn"):
            make()


def test_every_row_says_its_scheme_group_and_seeds(measured):
    table = measured[2]["correlation-length"]
    assert table.column("scheme") == ["delay 0", "delay 0.03"] * 2
    assert table.column("group") == ["square-6"] * 2 + ["square-8"] * 2
    assert table.column("seeds") == [3] * 4
    assert {column.units for column in table.columns if column.key.startswith("xi")} == {"ring spacings"}


def with_lengths(**values):
    """A summary of one scheme in which these variables have these values."""
    found = reduced(group(kuramoto_point(TIMES), KURAMOTO, kind="kuramoto"), REDUCTION)
    for name, value in values.items():
        found[name] = xr.full_like(found[name], value)
    return Summaries({"square-6": found})


NO_GROWTH = {
    "growth_exponent": np.nan,
    "growth_exponent_systematic": np.nan,
    "growth_state": 3,
    "time_to_steady": np.nan,
}
THREE = {"xi_inf": 1.5, "xi_inf_error": 0.1, "xi_inf_fit": 2.5, "xi_inf_fit_error": 0.2, "xi_inf_second_moment": 3.5,
         "xi_inf_second_moment_error": 0.3}  # fmt: skip


def test_each_estimator_stands_in_its_own_column():
    table, *_ = REPORT.tables(with_lengths(**THREE))
    assert table.column("xi") == [Estimate(1.5, 0.1)]
    assert table.column("xi_fit") == [Estimate(2.5, 0.2)]
    assert table.column("xi_second_moment") == [Estimate(3.5, 0.3)]
    titles = {column.key: column.title for column in table.columns}
    assert titles["xi"] == "xi: e-folding"
    assert titles["xi_fit"] == "exp. fit"
    assert titles["xi_second_moment"] == "2nd moment"


def test_a_length_beyond_half_of_the_lattice_is_a_bound_and_one_without_either_is_not_defined():
    nothing = dict.fromkeys(THREE, np.nan)
    table, *_ = REPORT.tables(
        with_lengths(**nothing, xi_inf_systematic=np.nan, xi_inf_lower_bound=3.0, state=4, beyond_quarter=True)
    )
    assert table.column("xi") == [Estimate(3.0, bound=True)]
    assert table.texts()[0][3:8] == ("> 3", "", "> 3", "> 3", "beyond half, > L/4")
    table, *_ = REPORT.tables(
        with_lengths(**nothing, xi_inf_systematic=np.nan, xi_inf_lower_bound=np.nan, state=3, beyond_quarter=False)
    )
    assert table.texts()[0][3:8] == ("not defined", "", "not defined", "not defined", "not defined")


def test_growth_is_an_exponent_or_the_reason_why_there_is_none():
    table, *_ = REPORT.tables(
        with_lengths(
            growth_exponent=0.5, growth_exponent_error=0.02, growth_exponent_systematic=0.031, time_to_steady=12.4
        )
    )
    assert table.column("growth_exponent") == [Estimate(0.5, 0.02)]
    assert table.column("since") == [12.4]
    assert table.texts()[0][-3:] == ("12", "0.500 ± 0.020", "0.031")
    table, *_ = REPORT.tables(with_lengths(**NO_GROWTH))
    assert table.texts()[0][-3:] == ("", "no window", "")


def test_a_delay_limited_scheme_says_so():
    found = with_lengths()
    found.groups["square-6"]["delay_limited"] = True
    assert REPORT.tables(found)[0].column("state") == ["delay-limited"]


def test_the_growth_figure_draws_xi_with_a_band_of_its_error():
    found = with_lengths()
    summary = found.groups["square-6"]
    summary["xi"] = ("time", [2.0, 3.0, 4.0])
    summary["xi_error"] = ("time", [0.1, 0.2, 0.3])
    (panel,) = REPORT.figures(found, xr.DataTree())["growth"]().axes
    (line,) = panel.get_lines()
    np.testing.assert_array_equal(line.get_xdata(), TIMES)
    np.testing.assert_array_equal(line.get_ydata(), [2.0, 3.0, 4.0])
    band = panel.collections[0].get_paths()[0].vertices
    for time, low, high in ((5.0, 1.9, 2.1), (10.0, 2.8, 3.2), (20.0, 3.7, 4.3)):
        heights = band[band[:, 0] == time, 1]
        assert heights.min() == pytest.approx(low)
        assert heights.max() == pytest.approx(high)


def family(lengths, **attrs):
    """Summaries of lattices by side, with steady lengths of these and errors of 0.1."""
    found = {}
    for side, xi in lengths.items():
        about = {"kind": "lattice", "axes": "[]", "parameters": json.dumps({"size": side}), "tiling": "square",
                 "boundary": "periodic", "cols": side, **attrs}  # fmt: skip
        found[f"square-{side}"] = xr.Dataset({"xi_inf": xi, "xi_inf_error": 0.1}, attrs=about)
    return found


def test_lattices_of_several_sizes_are_extrapolated_to_an_infinite_one():
    across = over_sizes(family({32: 5.25, 64: 5.125, 16: 5.5}))
    assert list(across) == ["finite_size/square"]
    (found,) = across.values()
    assert found.size.values.tolist() == [16, 32, 64]
    assert json.loads(found.attrs["parameters"]) == {}
    (row,) = REPORT.tables(Summaries({}, across))[1].rows
    assert row[:4] == ("lattice", "square", 2, 3)
    assert row[4].value == pytest.approx(5.0)
    assert row[5].value == pytest.approx(8.0)
    table = REPORT.tables(Summaries({}, across))[1]
    assert table.key == "finite-size"
    assert table.column("chi2_per_dof") == [None]
    assert table.column("verdict") == ["saturated"]


def test_open_lattices_are_a_family_of_their_own():
    periodic, open_ones = family({16: 5.5, 32: 5.25}), family({16: 4.0, 32: 4.5}, boundary="open")
    across = over_sizes(periodic | {f"{name}-open": summary for name, summary in open_ones.items()})
    assert set(across) == {"finite_size/square", "finite_size/square-open"}
    assert across["finite_size/square-open"].xi_inf.values.tolist() == [4.0, 4.5]
    assert REPORT.tables(Summaries({}, across))[1].column("tiling") == ["square", "square-open"]


def test_small_worlds_are_not_extrapolated_as_if_their_rings_were_in_a_row():
    worlds = json.dumps({"graph": "small_world"})
    ((name, found),) = over_sizes(family({16: 5.5, 32: 5.25, 64: 5.1}, parameters=worlds)).items()
    assert name == "finite_size/square"
    assert np.isnan(found.xi_infinite)
    assert not found.used.any()


def test_lattices_of_one_size_have_no_extrapolation():
    assert over_sizes(family({16: 5.0})) == {}
    assert [table.key for table in REPORT.tables(Summaries({}))] == ["correlation-length"]


def test_a_zipped_axis_that_moves_the_size_has_the_labels_of_all_sizes():
    groups = {}
    for size, labels in ((6, ["b", "a"]), (8, ["a", "c"])):
        case = axis("case", labels, size=[size] * 2, delay=[0.0, 0.02])
        groups[f"square-{size}"] = group(lattice_point(TIMES), LATTICE | {"size": size}, [case])
    found, tables, _ = shown(groups)
    (dataset,) = found.across.values()
    assert [label for label, _ in schemes(dataset)] == ["b", "a", "c"]
    assert tables["finite-size"].column("scheme") == ["b", "a", "c"]


@pytest.mark.parametrize("kind", ["lattice", "kuramoto"])
def test_the_names_and_units_that_are_declared_are_those_that_come_out(kind):
    run, fixed = (lattice_point, LATTICE) if kind == "lattice" else (kuramoto_point, KURAMOTO)
    moved = axis("coupling", [0.5, 1.0])
    groups = {f"square-{n}": group(run(TIMES), fixed | {"size": n}, [moved], kind=kind) for n in (6, 8)}
    found = summaries(groups, REDUCTION)
    template = run(TIMES)(fixed | {"size": 6, "coupling": 0.5}, 0)
    units = {}
    for dataset in (*found.groups.values(), *found.across.values()):
        for name in {*dataset.variables, *dataset.dims} - {*template.variables, *template.dims, "coupling", "seed"}:
            variable = dataset.variables[name]
            assert units.setdefault(name, variable.attrs.get("units", "")) == variable.attrs.get("units", ""), name
    assert units == dict(REDUCTION.names(template))


DT = [0.0, 0.02, 0.05]
AXES_OF_DT = {
    "a plain axis of dt": [axis("dt", DT)],
    "dt and delay on two axes": [axis("dt", DT), axis("delay", [0.0, 0.03])],
    "zipped with the delay, beside another axis": [
        axis("hop", ["a", "b", "c"], delay=[0.0, 0.01, 0.0], dt=[0.0, 0.0, 0.02]),
        axis("combine", ["sum", "mean"]),
    ],
    "zipped without the delay": [axis("hop", ["a", "b"], private=[1, 2], dt=[0.0, 0.02])],
    "one value": [axis("dt", [0.02])],
    "only exact runs without delay": [axis("hop", ["a", "b"], delay=[0.0, 0.0], dt=[0.0, 0.0], private=[1, 2])],
    "a zipped axis named by numbers": [axis("hop", [1, 2, 3], delay=[0.0, 0.01, 0.0], dt=[0.0, 0.0, 0.02])],
}


@pytest.mark.parametrize("name", AXES_OF_DT)
def test_lengths_are_drawn_against_the_time_of_a_hop_however_dt_is_moved(name):
    fixed = LATTICE | ({} if "only exact" in name else {"delay": 0.01})
    _, tables, drawn = shown({"square-6": group(lattice_point(TIMES), fixed | {"size": 6}, AXES_OF_DT[name])})
    assert "against-hop" in drawn
    assert len(tables["correlation-length"].rows) == np.prod([len(a["labels"]) for a in AXES_OF_DT[name]])


def test_every_curve_against_the_hop_has_its_own_hops_in_order():
    axes = AXES_OF_DT["dt and delay on two axes"]
    _, _, drawn = shown({"square-6": group(lattice_point(TIMES), LATTICE | {"size": 6}, axes)})
    _, hops = hop_curves(drawn["against-hop"])
    np.testing.assert_allclose(hops[0], [0.0, 0.03])
    np.testing.assert_allclose(hops[1], [0.02, 0.05, 0.05, 0.08])
    axes = AXES_OF_DT["zipped with the delay, beside another axis"]
    _, _, drawn = shown({"square-6": group(lattice_point(TIMES), LATTICE | {"size": 6}, axes)})
    _, hops = hop_curves(drawn["against-hop"])
    assert hops == [[0.0, 0.01], [0.0, 0.01], [0.02], [0.02]]


def test_a_fixed_dt_is_no_axis_and_has_no_figure():
    _, _, drawn = shown({"square-6": group(lattice_point(TIMES), LATTICE | {"dt": 0.02})})
    assert "against-hop" not in drawn


AWKWARD = {
    "one sample": {"times": (9.0,)},
    "one seed": {"seeds": 1},
    "every seed failed": {"failed": (0, 1)},
    "one seed failed": {"failed": (0,)},
    "one size": {"sizes": (6,)},
    "one value": {"axes": [axis("coupling", [0.5])]},
    "three values": {"axes": [axis("delay", [0.0, 0.01, 0.03])]},
    "text and truth values": {"axes": [axis("combine", ["sum", "mean"]), axis("odd", [True, False], private=[1, 2])]},
    "a chain": {"fixed": {"tiling": "chain"}},
    "delays limit everything": {"fixed": {"delay": 3.0, "private": 0}},
    "open": {"fixed": {"boundary": "open"}},
    "one open ring": {"fixed": {"boundary": "open"}, "sizes": (1, 2)},
    "two rings": {"sizes": (2, 4)},
}


@pytest.mark.parametrize("name", AWKWARD)
def test_a_small_summary_of_any_shape_has_its_table_and_its_figures(name):
    options = dict(AWKWARD[name])
    fixed = LATTICE | options.pop("fixed", {})
    groups = small_lattices(fixed, options.pop("axes", ()), **options)
    _, tables, drawn = shown(groups)
    assert {"growth", "steady", "correlations", "evolution", *(f"phases-{group}" for group in groups)} <= set(drawn)
    assert ("finite-size" in tables) == (len(groups) > 1)
    assert ("against-delay" in drawn) == (name == "three values")


@pytest.mark.parametrize("tiling", ["chain", "square", "hexagonal", "triangular"])
def test_oscillators_of_every_tiling_have_their_table_and_their_figures(tiling):
    fixed = KURAMOTO | {"tiling": tiling}
    _, tables, _ = shown({f"{tiling}-6": group(kuramoto_point(TIMES), fixed, kind="kuramoto")})
    assert tables["correlation-length"].column("group") == [f"{tiling}-6"]


def test_a_scheme_whose_seeds_all_failed_has_a_row_without_values():
    groups = {"square-6": group(lattice_point(TIMES), LATTICE, failed=(0, 1))}
    (row,) = shown(groups)[1]["correlation-length"].texts()
    assert row == ("lattice", "square-6", "0", "not defined", "", "not defined", "not defined", "not defined", "", "",
                   "not defined", "")  # fmt: skip


def test_a_scheme_that_could_not_be_reduced_is_left_out_and_the_others_stay():
    groups = {"square-6": group(lattice_point(TIMES), LATTICE, [axis("delay", [0.0, 0.01, 0.03])])}
    found = summaries(groups, REDUCTION)
    summary = found.groups["square-6"]
    broken = summary.map(lambda v: v.where(summary.delay != 0.01) if "delay" in v.dims else v, keep_attrs=True)
    broken["reduction_error"] = ("delay", ["", "ValueError: no", ""])
    _, tables, drawn = shown(groups, Summaries({"square-6": broken}))
    assert tables["correlation-length"].column("scheme") == ["delay 0", "delay 0.03"]
    assert "against-delay" in drawn


@pytest.mark.parametrize(
    ("tiling", "sizes", "tiled"),
    [("triangular", (5, 7), ()), ("square", (1, 4), (4,)), ("chain", (1, 6), (6,)), ("hexagonal", (1, 3), (3,))],
)
def test_uncoupled_rings_where_no_tiling_lies_have_no_neighbours_and_everything_else(tiling, sizes, tiled):
    groups = small_lattices(LATTICE | {"tiling": tiling, "sharing": "none", "delay": 0.01}, sizes=sizes)
    found, tables, _ = shown(groups)
    for summary in found.groups.values():
        has_neighbours = summary.attrs["cols"] in tiled
        for name in ("local_order", "domains", "domain_size", "domain_size_weighted", "largest_domain",
                     "boundary_density", "defects", "domains_modulo_pi"):  # fmt: skip
            if not (name.startswith("defects") and tiling == "chain"):
                assert np.isfinite(summary[name]).any() == has_neighbours, name
        assert (summary.order > 0).all()
        assert summary.n_seeds == 2
        assert summary.switching_rate > 0
    assert "Uncoupled" in tables["correlation-length"].notes[0]
    assert len(tables["finite-size"].rows) == 1


def test_one_ring_alone_has_an_order_and_no_length():
    found = reduced(group(lattice_point(TIMES), LATTICE | {"sharing": "none", "size": 1}), REDUCTION)
    np.testing.assert_allclose(found.order, 1)
    for name in ("xi_inf", "xi_inf_fit", "xi_inf_second_moment", "xi_inf_lower_bound"):
        assert np.isnan(found[name]), name
    assert not found.beyond_quarter


def hops_by_hand(ends, n_rings):
    """Hops between all rings [ring, ring], each ring's neighbours visited one after the other."""
    hops = np.full((n_rings, n_rings), -1)
    for ring in range(n_rings):
        hops[ring, ring], reached = 0, [ring]
        for at in reached:
            for a, b in ends:
                if a == at and hops[ring, b] < 0:
                    hops[ring, b] = hops[ring, at] + 1
                    reached.append(b)
    return hops


def ring_lattice(n_rings):
    return {(a, b % n_rings) for a in range(n_rings) for b in (a - 1, a + 1)}


@pytest.fixture
def few_sources(monkeypatch):
    monkeypatch.setattr("isophase.analysis.lattices.graph_correlation.HOPS_AT_ONCE", 1)


def shortcuts(n_rings, chords):
    return ring_lattice(n_rings) | {pair for a, b in chords for pair in ((a, b), (b, a))}


def correlation_by_hand(phase, hops, sources):
    """C and ordered pairs for every number of hops: each pair with an end in ``sources``, both ways."""
    found = []
    for d in range(hops.max() + 1):
        pairs = [(r, s) for r, s in np.argwhere(hops == d).tolist() if r in sources or s in sources]
        cosines = [np.cos(phase[s] - phase[r]) for r, s in pairs if np.isfinite(phase[r] + phase[s])]
        found.append((np.mean(cosines), len(cosines)))
    return np.array(found).T


def test_the_correlation_on_a_graph_is_the_direct_sum_over_pairs_so_many_hops_apart():
    ends = shortcuts(24, [(0, 9), (3, 17), (12, 20)])
    phase = np.random.default_rng(3).uniform(0, 2 * np.pi, (2, 24))
    phase[0, 5] = np.nan
    got = graph_correlation(xr.DataArray(phase[:, None], dims=("time", "row", "col")),
                            graph_pairs(neighbour_table(ends, 24)))  # fmt: skip
    hops = hops_by_hand(ends, 24)
    for number in range(2):
        C, pairs = correlation_by_hand(phase[number], hops, range(24))
        np.testing.assert_allclose(got.radial[number], C, atol=1e-12)
        np.testing.assert_array_equal(got.pairs_radial[number], pairs)
    np.testing.assert_allclose(got.defined, [23 / 24, 1])


@pytest.mark.usefixtures("few_sources")
def test_from_some_of_the_rings_every_pair_with_one_of_them_counts_once_each_way():
    ends = shortcuts(40, [(0, 9), (3, 17), (12, 30)])
    phase = np.random.default_rng(3).uniform(0, 2 * np.pi, 40)
    got = graph_correlation(xr.DataArray(phase[None], dims=("row", "col")), graph_pairs(neighbour_table(ends, 40)))
    C, pairs = correlation_by_hand(phase, hops_by_hand(ends, 40), {i * 40 // 16 for i in range(16)})
    np.testing.assert_allclose(got.radial, C, atol=1e-12)
    np.testing.assert_array_equal(got.pairs_radial, pairs)


def small_world(phase, tables, **scheme):
    """A scheme of a small world with these phases [seed, time, row, col] and neighbours of every seed."""
    about = {"tiling": "chain", "boundary": "periodic", "graph": "small_world", "sharing": "weak", **scheme}
    times = np.arange(1, phase.sizes["time"] + 1)
    dataset = point_of_grid(xr.Dataset({"phase": phase}), times, [DONE] * phase.sizes["seed"], **about)
    return dataset.assign(graph_neighbours=(("seed", "ring", "neighbour"), np.stack(tables)))


def walks(seeds, times, length, xi):
    rng = np.random.default_rng(8)
    phase = xr.concat([random_walk_chains(rng, seeds, length, xi) for _ in range(times)], "time")
    return phase.transpose("seed", "time", "row", "col")


def test_without_rewiring_and_two_neighbours_a_small_world_is_the_chain():
    phase = walks(4, 6, 200, 5.0)
    table = neighbour_table(ring_lattice(200), 200)
    graph = summarise(small_world(phase, [table] * 4))
    chain = summarise(small_world(phase, [table] * 4, graph="tiling", sharing="weak"))
    assert graph.attrs["along"] == "graph"
    assert "hops" in graph.xi.attrs["comment"]
    assert graph.sizes["distance"] == chain.sizes["distance"] == 101
    np.testing.assert_allclose(graph.xi, chain.xi, rtol=0.1)
    np.testing.assert_allclose(graph.xi_fit, chain.xi_fit, rtol=0.25)
    np.testing.assert_allclose(graph.noise, chain.noise, rtol=0.35)
    for name in ("domains_modulo_pi", "boundary_density_modulo_pi", "local_order_modulo_pi", "defined"):
        np.testing.assert_allclose(graph[name], chain[name], rtol=1e-12, err_msg=name)
    pairs = ring_neighbours("chain", 1, 200, "periodic")
    np.testing.assert_allclose(graph.local_order, order_parameter(phase, pairs).local_order.mean("seed"), rtol=1e-12)
    for name, expected in domains(phase, pairs).data_vars.items():
        np.testing.assert_allclose(graph[name], expected.mean("seed"), rtol=1e-12, err_msg=name)


def test_where_phases_are_symmetric_a_small_world_without_rewiring_has_exactly_the_length_of_the_chain():
    half = walks(4, 6, 101, 5.0)
    phase = xr.concat([half, half.isel(col=slice(-2, 0, -1))], "col")  # C of it is real
    table = neighbour_table(ring_lattice(200), 200)
    graph = summarise(small_world(phase, [table] * 4))
    chain = summarise(small_world(phase, [table] * 4, graph="tiling"))
    np.testing.assert_allclose(graph.correlation, chain.correlation, atol=1e-6)
    np.testing.assert_allclose(graph.xi, chain.xi, rtol=1e-6)


def test_domains_of_a_small_world_are_those_of_its_own_graph():
    """Two halves in phase, joined where the chain is not, and every other ring opposite along the chain."""
    chords = [(a, a + 2) for a in range(0, 28, 2)] + [(a, a + 2) for a in range(1, 27, 2)]
    ends = {pair for a, b in chords for pair in ((a, b), (b, a))}
    phase = xr.DataArray(np.pi * (np.arange(30) % 2) * np.ones((1, 2, 1, 1)), dims=("seed", "time", "row", "col"))
    got = summarise(small_world(phase, [neighbour_table(ends, 30)]))
    assert (got.domains == 3).all()  # even ones, odd ones but the last, and the last, which nothing joins
    assert (got.boundary_density == 0).all()
    np.testing.assert_allclose(got.local_order, 1)
    assert (got.xi_reason == 2).all(), "longer than half"
    chain = summarise(small_world(phase, [neighbour_table(ends, 30)], graph="tiling"))
    assert (chain.domains == 1).all()


def test_a_small_world_has_no_second_moment_no_wavevector_and_no_defects_and_its_table_says_so():
    fixed = CHAIN | {"graph": "small_world", "neighbours": 4, "rewire": 0.3, "coupling": 0.8}
    groups = {f"chain-{n}": group(lattice_point(TIMES), fixed | {"size": n}) for n in (20, 30)}
    found, tables, drawn = shown(groups)
    for summary in found.groups.values():
        for name in ("xi_second_moment", "xi_inf_second_moment", "wavenumber_col", "defects", "xi_second_moment_error"):
            assert np.isnan(summary[name]).all(), name
        assert summary.state_second_moment.attrs["flag_meanings"].split()[int(summary.state_second_moment)] == (
            "not_defined"
        )
        assert summary.sizes["distance"] < 9, "hops, not places round the circle"
        assert "graph_neighbours" not in summary
    table = tables["correlation-length"]
    assert [text[6] for text in table.texts()] == ["not defined", "not defined"]
    assert "hops" in table.notes[0]
    assert "correlations" in drawn
    assert tables["finite-size"].texts()[0][4] == "not defined"


def test_seeds_whose_graphs_have_other_diameters_are_pooled_as_far_as_all_of_them_reach():
    phase = walks(3, 2, 20, 3.0)
    tables = [neighbour_table(ring_lattice(20), 20), neighbour_table(shortcuts(20, [(0, 10)]), 20),
              np.full((20, 12), -1, np.int32)]  # fmt: skip
    dataset = small_world(phase, tables)
    dataset["status"].values[2] = 0
    got = summarise(dataset)
    assert got.sizes["distance"] == 1 + hops_by_hand(shortcuts(20, [(0, 10)]), 20).max()
    assert (got.seeds == 2).all()
    assert np.isfinite(got.correlation).all()


def test_a_chain_and_its_small_worlds_stand_in_one_group():
    graph = axis("rewired", ["chain", "0.2"], graph=["tiling", "small_world"], rewire=[0.0, 0.2])
    fixed = CHAIN | {"size": 20, "neighbours": 4}

    def run(scheme, seed):
        point = lattice_point(TIMES)(scheme, seed)
        none = ("ring", "neighbour"), np.full((20, 12), -1, np.int32)
        return point if "graph_neighbours" in point else point.assign(graph_neighbours=none)

    found, tables, _ = shown({"chain-20": group(run, fixed, [graph])})
    assert tables["correlation-length"].column("scheme") == ["chain", "0.2"]
    summary = found.groups["chain-20"]
    assert np.isnan(summary.wavenumber_col.sel(rewired="0.2")).all()
    assert np.isfinite(summary.wavenumber_col.sel(rewired="chain")).all()


def test_phases_are_read_from_the_tree_of_the_whole_store():
    groups = {"square-6": group(lattice_point(TIMES), LATTICE)}
    drawn = shown(groups)[2]["phases-square-6"]
    np.testing.assert_array_equal(drawn.axes[0].images[0].get_array(), groups["square-6"].phase.values[0, 0])


@pytest.mark.parametrize("tiling", ["square", "chain"])
def test_phases_are_of_the_first_seed_that_is_done_and_say_which(tiling):
    fixed = LATTICE | {"tiling": tiling, "sharing": "side" if tiling == "square" else "weak"}
    groups = {"group": group(lattice_point(TIMES), fixed, [axis("delay", [0.0, 0.03, 0.05])], seeds=3, failed=(0,))}
    status, found = groups["group"]["status"].values, summaries(groups, REDUCTION)
    status[1, 1] = 0  # pending
    status[2] = 2
    figure = shown(groups, found)[2]["phases-group"]
    rows = [axes.get_ylabel().splitlines()[0] for axes in figure.axes if axes.images and axes.get_ylabel()]
    assert rows == ["delay 0: seed 1", "delay 0.03: seed 2"]
    drawn = figure.axes[0].images[0].get_array()
    phase = groups["group"].phase.values[0, 1]
    np.testing.assert_array_equal(drawn, phase[0] if tiling == "square" else phase[:, 0].T)
    assert figure.get_suptitle() == "1 schemes have no finished seed"
    status[:] = 0
    assert shown(groups, found)[2]["phases-group"].get_suptitle() == "3 schemes have no finished seed"


def test_one_recorded_map_of_one_ring_can_be_drawn():
    def run(scheme, seed):
        return recorded(np.full((1, 1, 1), 1.0), (5.0,))

    shown({"square-1": group(run, KURAMOTO | {"size": 1, "boundary": "open"}, seeds=1, kind="kuramoto")})
