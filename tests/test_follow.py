"""Everybody's networks through ``isophase.follow``: known bifurcations, PyTorch's equations, completeness, errors."""

import contextlib
import io
import operator
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.figure
import numpy as np
import pytest

import isophase
from isophase.analysis.networks.slow_points import find_slow_points

GRID = np.linspace(0.83, 1.43, 13)  # 1.0 lies between two of them
ACROSS = np.linspace(-0.33, 0.3, 8)  # so does 0.0
LINE = np.linspace(-1, 1, 8)[:, None]
PLANE = np.random.default_rng(0).normal(size=(8, 2))


def scaled(g, h, u):
    return jnp.tanh(g * h + u)


def rotated(g, h, u):
    c, s = np.cos(0.7), np.sin(0.7)
    return jnp.tanh(g * jnp.array([c * h[0] - s * h[1], s * h[0] + c * h[1]]))


def doubled(c, h, u):
    return jnp.tanh(2 * h + c)


def circling(mu, h, u):
    r = h @ h
    return jnp.array([mu * h[0] - 1.5 * h[1] - h[0] * r, 1.5 * h[0] + mu * h[1] - h[1] * r])


def meeting(mu, h, u):
    return jnp.array([mu - h[0] ** 2, -h[1]])


def parting(mu, h, u):
    return jnp.array([mu * h[0] - h[0] ** 3, -h[1]])


def types(events):
    meanings = events["type"].attrs["flag_meanings"].split()
    return [meanings[kind] for kind in events["type"].values]


def only(found, kind):
    assert types(found.events) == [kind]
    return found.events.isel(event=0)


# Known bifurcations.


@pytest.mark.parametrize(
    ("step", "path", "starts", "kind"),
    [(scaled, GRID, LINE, "pitchfork"), (scaled, -GRID, LINE, "flip"), (rotated, GRID, PLANE, "neimark_sacker")],
)
def test_a_map_of_tanh_bifurcates_at_gain_one(step, path, starts, kind):
    found = isophase.follow(step, path, starts=starts, checkpoint=GRID, bounded=True)
    event = only(found, kind)
    assert float(event["checkpoint"]) == pytest.approx(1.0, abs=1e-6)
    assert float(event["checkpoint_low"]) < 1 < float(event["checkpoint_high"])
    assert (found.complete == "complete").all()
    if kind == "neimark_sacker":
        assert float(event["angle"]) == pytest.approx(0.7, abs=1e-6)


def test_a_fold_leaves_a_slow_point_that_moves_faster_the_farther_it_is():
    shift = np.linspace(0, 1, 11)
    fold = np.sqrt(2) - np.arccosh(np.sqrt(2))
    found = isophase.follow(doubled, shift, starts=LINE, checkpoint=shift, bounded=True)
    event = only(found, "fold")
    assert float(event["checkpoint"]) == pytest.approx(fold, abs=0.02)
    assert found.branches["number"].values.tolist() == [3] * 6 + [1] * 5
    assert (found.complete == "complete").all()
    slow = found.slow_points
    assert slow["checkpoint"].values.tolist() == shift[6:].tolist()
    assert (np.diff(slow["speed"].values) > 0).all()
    # dq/dh = 0 at F' = 1: tanh^2 = 1/2
    assert np.tanh(2 * slow["h"].values[:, 0] + slow["checkpoint"].values) == pytest.approx(-np.sqrt(0.5), abs=1e-9)
    assert slow["eigenvalues"].values == pytest.approx(1, abs=1e-8)
    assert slow["q"].values == pytest.approx(slow["speed"].values ** 2 / 2)


def test_the_slow_point_of_a_fold_is_found_however_close_it_is():
    def step(gap, h):
        return h + jnp.concatenate([gap[None] + h[:1] ** 2, 0.1 * h[:1] - 0.5 * h[1:]])

    gaps = np.array([1e-1, 1e-4, 1e-7])
    starts = np.random.default_rng(0).normal(size=(3, 6, 3))
    for gap, slow in zip(gaps, find_slow_points(step, gaps, starts), strict=True):
        assert slow.speed == pytest.approx([gap], rel=1e-6)
        assert slow.h == pytest.approx(np.zeros((1, 3)), abs=1e-6)


@pytest.mark.parametrize(("step", "kind"), [(circling, "hopf"), (meeting, "fold"), (parting, "pitchfork")])
def test_a_flow_bifurcates_where_an_eigenvalue_crosses_the_imaginary_axis(step, kind):
    found = isophase.follow(step, ACROSS, starts=PLANE, checkpoint=ACROSS, continuous=True)
    event = only(found, kind)
    assert float(event["checkpoint"]) == pytest.approx(0.0, abs=1e-5)
    if kind == "hopf":
        assert float(event["angular_frequency"]) == pytest.approx(1.5, abs=1e-6)
        assert found.branches["eigenvalues"].values.real[0, :, 0] == pytest.approx(ACROSS)
        assert found.branches["stable"].values.tolist() == [(ACROSS < 0).tolist()]
        assert (found.complete == "not known").all()


def test_a_flow_is_marginal_on_the_imaginary_axis_and_only_there():
    at = np.array([-1e-6, 0.0, 1e-6])
    found = isophase.follow(circling, at, starts=PLANE, checkpoint=at, continuous=True)
    assert found.branches["marginal"].values[0].tolist() == [False, True, False]
    assert found.branches["stable"].values[0].tolist() == [True, False, False]
    fold = isophase.follow(meeting, np.zeros(1), starts=PLANE, continuous=True).branches
    assert fold["marginal"].values[fold["exists"].values].all()


def test_a_flow_that_points_inwards_is_complete_where_its_points_are():
    found = isophase.follow(parting, ACROSS, starts=PLANE, checkpoint=ACROSS, continuous=True, bounded=True)
    assert (found.complete == "complete").all()
    alone = isophase.follow(parting, ACROSS[-1:], starts=[[1e-9, 0.0]], continuous=True, bounded=1.0)
    assert alone.complete.values.tolist() == ["incomplete"]


# What checkpoints and inputs may be.


def test_a_list_of_pytrees_and_one_stacked_pytree_give_the_same():
    rng = np.random.default_rng(1)
    stacked = {"w": rng.normal(size=(4, 3, 3)), "b": (rng.normal(size=(4, 3)).astype(np.float32), np.arange(4))}
    single = [jax.tree.map(operator.itemgetter(k), stacked) for k in range(4)]

    def step(p, h, u):
        return jnp.tanh(p["w"] @ h + p["b"][0] + 0.0 * p["b"][1] + u)

    starts = rng.uniform(-1, 1, (6, 3))
    one, other = (isophase.follow(step, given, starts=starts, bounded=True) for given in (stacked, single))
    for name in ("branches", "events", "slow_points", "complete"):
        assert getattr(one, name).identical(getattr(other, name))
    assert one.branches.sizes["checkpoint"] == 4


def test_inputs_are_followed_each_by_its_name():
    found = isophase.follow(scaled, np.full(3, 2.0), starts=LINE, inputs={"none": 0.0, "some": 0.4, "much": 0.6})
    assert found.branches["number"].sel(input="none").values.tolist() == [3, 3, 3]
    assert found.branches["number"].sel(input="much").values.tolist() == [1, 1, 1]
    assert found.branches["exists"].dtype == bool
    assert found.branches["exists"].sum("branch").equals(found.branches["number"])
    assert found.complete.dims == ("input", "checkpoint")
    assert set(found.slow_points["input"].values) == {"much"}
    one = isophase.follow(scaled, np.full(3, 2.0), starts=LINE, inputs={"some": 0.4})
    of_some = found.branches["h"].sel(input="some")
    assert np.array_equal(of_some, one.branches["h"].sel(input="some"))


def test_events_carry_their_input():
    found = isophase.follow(scaled, GRID, starts=LINE, inputs={"none": 0.0, "much": 1.0}, checkpoint=GRID)
    assert types(found.events) == ["pitchfork"]
    assert found.events["input"].values.tolist() == ["none"]


# Completeness.


def flip_flop(gain, h, u):
    return jnp.tanh(gain * h)  # three units alone: 27 fixed points


def test_27_points_of_three_units_are_complete_and_fewer_are_not():
    every = np.stack(np.meshgrid(*[[-1.0, 0.0, 1.0]] * 3), axis=-1).reshape(-1, 3)
    found = isophase.follow(flip_flop, np.array([2.0]), starts=every, bounded=True)
    assert int(found.branches["number"][0]) == 27
    assert found.branches["index_sum"].values.tolist() == [1.0]
    assert found.complete.values.tolist() == ["complete"]
    few = isophase.follow(flip_flop, np.array([2.0]), starts=every[13:14], bounded=True)  # the origin
    assert few.branches["index_sum"].values.tolist() == [-1.0]
    assert few.complete.values.tolist() == ["incomplete"]


def test_a_gated_cell_that_stands_still_far_outside_has_no_fixed_point_there():
    of = {"weight_ih_l0": np.zeros((6, 1)), "weight_hh_l0": np.zeros((6, 2)), "bias_ih_l0": np.zeros(6)}
    of["weight_hh_l0"][2:4] = np.eye(2)  # the update gate
    starts = np.array([[60.0, 60.0], [0.3, -0.2]])
    found = isophase.follow(isophase.torch_cell("gru"), [of], starts=starts)
    assert found.branches["h"].values[:, 0] == pytest.approx(np.zeros((1, 2)), abs=1e-12)
    assert found.branches["dimension"].values.tolist() == [0]
    assert found.complete.values.tolist() == ["complete"]


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_a_cell_takes_its_box_into_itself(cell):
    step, of = isophase.torch_cell(cell), state_dict(cell, 2, scale=2.0)
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        own, x = step.parameters_of(of), rng.normal(size=2)
        box = np.asarray(step.box(own, x))
        for side in rng.choice([-1.0, 1.0], (100, len(box))):
            assert (np.abs(step(own, box * side, x)) < box).all()


def test_between_two_stable_points_the_one_that_is_missing_is_looked_for():
    found = isophase.follow(flip_flop, np.array([2.0, 2.1]), starts=[[0.9, 0.9, 0.9], [-0.9, -0.9, -0.9]], bounded=True)
    assert found.branches["number"].values.tolist() == [3, 3]
    assert np.abs(found.branches["h"].values).min(axis=(0, 2)) == pytest.approx(0, abs=1e-9)


def test_completeness_is_not_known_without_a_cube_nor_on_a_line_attractor():
    assert isophase.follow(scaled, np.array([0.5]), starts=LINE).complete.values.tolist() == ["not known"]
    line = isophase.follow(lambda a, h, u: jnp.array([h[0], a * h[1]]), np.array([0.5]), starts=PLANE, bounded=True)
    assert line.complete.values.tolist() == ["not known"]
    assert np.isnan(line.branches["index_sum"].values).all()


# PyTorch.


def state_dict(cell, layers, hidden=3, n_inputs=2, seed=0, prefix="", bias=True, scale=1.0):
    rng = np.random.default_rng(seed)
    gates = {"rnn": 1, "gru": 3, "lstm": 4}[cell]
    found = {}
    for layer in range(layers):
        width = n_inputs if layer == 0 else hidden
        shapes = {"weight_ih": (gates * hidden, width), "weight_hh": (gates * hidden, hidden)}
        shapes |= {"bias_ih": (gates * hidden,), "bias_hh": (gates * hidden,)} if bias else {}
        found |= {f"{prefix}{name}_l{layer}": scale * rng.normal(size=shape) for name, shape in shapes.items()}
    return found


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def documented(cell, of, x, h, c, layers, nonlinearity="tanh"):
    """PyTorch's equations, gate by gate, with [layer, hidden] states."""
    h, c, n = h.copy(), c.copy(), h.shape[-1]
    for layer in range(layers):
        w, r, b, d = (of[f"{name}_l{layer}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))

        def gate(number, w=w, r=r, b=b, d=d, x=x, layer=layer):
            rows = slice(number * n, (number + 1) * n)
            return w[rows] @ x + b[rows], r[rows] @ h[layer] + d[rows]

        if cell == "rnn":
            new = np.tanh(sum(gate(0))) if nonlinearity == "tanh" else np.maximum(0, sum(gate(0)))
        elif cell == "gru":
            reset, update = sigmoid(sum(gate(0))), sigmoid(sum(gate(1)))
            of_input, of_state = gate(2)
            candidate = np.tanh(of_input + reset * of_state)
            new = (1 - update) * candidate + update * h[layer]
        else:
            i, f, o = sigmoid(sum(gate(0))), sigmoid(sum(gate(1))), sigmoid(sum(gate(3)))
            c[layer] = f * c[layer] + i * np.tanh(sum(gate(2)))
            new = o * np.tanh(c[layer])
        h[layer] = new
        x = new
    return h, c


CELLS = [("rnn", {}), ("rnn", {"nonlinearity": "relu"}), ("gru", {}), ("lstm", {})]


def stepped(cell, options, of, h, x):
    step = isophase.torch_cell(cell, **options)
    with jax.enable_x64(True):
        return np.asarray(step(step.parameters_of(of), jnp.asarray(h), jnp.asarray(x)))


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize(("cell", "options"), CELLS)
def test_the_cells_are_those_that_pytorch_documents(cell, options, layers):
    rng = np.random.default_rng(5)
    of, x = state_dict(cell, layers), rng.normal(size=2)
    h, c = rng.normal(size=(2, layers, 3))
    new_h, new_c = documented(cell, of, x, h, c, layers, **options)
    state = np.concatenate([h.ravel(), c.ravel()]) if cell == "lstm" else h.ravel()
    wanted = np.concatenate([new_h.ravel(), new_c.ravel()]) if cell == "lstm" else new_h.ravel()
    assert stepped(cell, options, of, state, x) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(("cell", "options"), CELLS)
def test_the_cells_are_those_of_pytorch(cell, options, layers):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed, and isophase does not need it")
    made = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[cell]
    module = made(2, 3, layers, **options).double()
    rng = np.random.default_rng(5)
    x, (h, c) = rng.normal(size=2), rng.normal(size=(2, layers, 3))
    tensors = tuple(torch.tensor(part)[:, None] for part in ((h, c) if cell == "lstm" else (h,)))
    with torch.no_grad():
        _, new = module(torch.tensor(x)[None, None], tensors if cell == "lstm" else tensors[0])
    wanted = np.concatenate([part.numpy().ravel() for part in (new if cell == "lstm" else (new,))])
    state = np.concatenate([part.numpy().ravel() for part in tensors])
    assert stepped(cell, options, module.state_dict(), state, x) == pytest.approx(wanted, abs=1e-12)
    found = isophase.follow(
        isophase.torch_cell(cell, **options),
        [module.state_dict()] * 2,
        starts=np.random.default_rng(1).uniform(-1, 1, (8, len(state))),
    )
    assert found.branches["residual"].max() < 1e-9


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_state_dicts_are_followed_under_the_input_zero_and_know_their_cube(cell):
    step, dicts = isophase.torch_cell(cell), [state_dict(cell, 2, seed=3, scale=s) for s in (0.5, 0.6, 0.7)]
    width = 12 if cell == "lstm" else 6
    starts = np.random.default_rng(1).uniform(-1, 1, (16, width))
    found = isophase.follow(step, dicts, starts=starts)
    assert (found.complete == "complete").all()
    own = step.parameters_of(dicts[1])
    exists = found.branches["exists"].values[:, 1]
    with jax.enable_x64(True):
        for h in found.branches["h"].values[exists, 1]:
            assert np.asarray(step(own, h, np.zeros(2))) == pytest.approx(h, abs=1e-9)
    stacked = {name: np.stack([of[name] for of in dicts]) for name in dicts[0]}
    assert isophase.follow(step, stacked, starts=starts).branches.identical(found.branches)


def test_a_network_inside_a_model_is_found_by_the_prefix_of_its_keys():
    own = state_dict("gru", 1, prefix="encoder.") | {"readout.weight": np.zeros((1, 3))}
    step = isophase.torch_cell("gru")
    assert len(step.parameters_of(own)) == 1
    both = own | state_dict("gru", 2, prefix="decoder.")
    with pytest.raises(ValueError, match=r"has recurrent layers under 'encoder\.', 'decoder\.': must be told which"):
        step.parameters_of(both)
    assert len(isophase.torch_cell("gru", prefix="decoder.").parameters_of(both)) == 2
    cell = {name.removesuffix("_l0"): part for name, part in state_dict("gru", 1).items()}  # nn.GRUCell
    assert stepped("gru", {}, cell, np.ones(3), np.ones(2)) == pytest.approx(
        stepped("gru", {}, state_dict("gru", 1), np.ones(3), np.ones(2))
    )
    without = {name: part for name, part in state_dict("gru", 1).items() if not name.startswith("bias")}
    zero = {name: 0 * part if name.startswith("bias") else part for name, part in state_dict("gru", 1).items()}
    assert np.array_equal(
        stepped("gru", {}, without, np.ones(3), np.ones(2)), stepped("gru", {}, zero, np.ones(3), np.ones(2))
    )


def test_a_relu_network_knows_no_cube():
    step = isophase.torch_cell("rnn", nonlinearity="relu")
    found = isophase.follow(step, [state_dict("rnn", 1, scale=0.3)], starts=np.ones((2, 3)))
    assert found.complete.values.tolist() == ["not known"]


def test_flax_cells_are_steps():
    nn = pytest.importorskip("flax.linen", reason="Flax is not installed, and isophase does not need it")
    cell = nn.GRUCell(features=3)
    own = cell.init(jax.random.PRNGKey(0), jnp.zeros(3), jnp.zeros(2))
    found = isophase.follow(
        lambda p, h, u: cell.apply(p, h, u)[0],
        [own, own],
        starts=np.random.default_rng(0).normal(size=(4, 3)),
        inputs={"a": [1.0, 0.0]},
        bounded=True,
    )
    assert (found.complete == "complete").all()


def test_neither_follow_nor_the_cells_import_pytorch():
    code = (
        "import isophase, sys; isophase.follow, isophase.torch_cell('gru'); "
        "sys.exit(bool({'torch', 'flax', 'prefect'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Errors.

ONE = {"w": np.eye(2)}


def linear(p, h, u):
    return p["w"] @ h + u


def short(p, h, u):
    return h[:1]


def single(p, h, u):
    return (p["w"] @ h).astype(jnp.float32)


def several(p, h, u):
    return h, h


def undefined(p, h, u):
    return jnp.log(-1 - h**2) * p["w"][0, 0]


def wide(p, h, u):
    return p["w"] @ h + jnp.ones((2, 3)) @ u


GRU = isophase.torch_cell("gru")
REFUSED = [
    (linear, [], {}, r"checkpoints=\[\]: must be one checkpoint at least"),
    (linear, [ONE, {"v": np.eye(2)}], {}, r"checkpoints\[1\]: has another structure .*: \['v'\], not \['w'\]"),
    (linear, [ONE, {"w": np.eye(3)}], {}, r"checkpoints\[1\]\['w'\]: has shape \(3, 3\); must be \(2, 2\)"),
    (linear, [ONE, {"w": np.full((2, 2), np.nan)}], {}, r"checkpoints\[1\]\['w'\]: has values that are not finite"),
    (linear, {"w": np.stack([ONE["w"], np.nan * ONE["w"]])}, {}, r"checkpoints\['w'\]: is not finite at checkpoint 1"),
    (linear, {"w": np.ones((3, 2, 2)), "b": np.ones(2)}, {}, r"has 3 checkpoints along its leading axis; must be 2"),
    (linear, {"w": 1.0}, {}, r"checkpoints\['w'\]: is a single number; must have a leading checkpoint axis"),
    (linear, [{"w": "large"}], {}, r"checkpoints\[0\]\['w'\]: is a str; must be an array of real numbers"),
    (linear, [ONE], {"starts": np.ones(2)}, r"starts: has shape \(2,\); must be \[n, hidden\], or \[1 checkpoints"),
    (linear, [ONE], {"starts": np.ones((1, 2)) * np.nan}, r"starts: has values that are not finite"),
    (linear, [ONE], {"starts": np.ones((4, 3))}, r"fails for h of shape \(3,\) and u of shape \(\)"),
    (short, [ONE], {}, r"step\(parameters, h, u\): returns shape \(1,\) for h of shape \(2,\); must be the same shape"),
    (several, [ONE], {}, r"step\(parameters, h, u\): returns a tuple for h of shape \(2,\)"),
    (single, [ONE], {}, r"returns float32 for h in float64; must keep double precision"),
    (undefined, [ONE], {}, r"is not finite at any of the 2 starts at checkpoint 0$"),
    (undefined, [ONE], {"inputs": {"a": 0.0}}, r"at checkpoint 0 under input 'a'"),
    (wide, [ONE], {}, r"the input zero is the number 0.0: give inputs=\{name: values\}"),
    (linear, [ONE], {"inputs": {}}, r"inputs=\{\}: must be a dict of one input or more"),
    (linear, [ONE], {"inputs": {"a": [1, 2], "b": [1]}}, r"inputs\['b'\]: has shape \(1,\); must be \(2,\)"),
    (linear, [ONE], {"inputs": {"a": [1, np.inf]}}, r"inputs\['a'\]: has values that are not finite"),
    (linear, [ONE, ONE], {"checkpoint": [3, 3]}, r"checkpoint=\[3 3\]: must be 2 finite numbers that increase"),
    (linear, [{"w": 2 * np.eye(2)}], {"bounded": 1.5}, r"bounded=1.5: the step leaves the cube from -1.5 to 1.5"),
    (linear, [ONE], {"bounded": 1.0, "continuous": True}, r"bounded=1: the flow points out of the cube from -1 to 1"),
    (linear, [ONE], {"bounded": -1.0}, r"bounded=-1.0: must be the half-width of a cube, True for 1, or False"),
    (linear, [ONE], {"tol": 0.0}, r"tol=0.0: must be finite and > 0"),
    (GRU, [state_dict("lstm", 1)], {}, r"\[0\]: weight_hh_l0 has shape \(12, 3\): must be \[3 n, n\] for 'gru'"),
    (GRU, [state_dict("gru", 1)], {"starts": np.ones((1, 4))}, r"starts: their last axis has 4 states; must be 3"),
    (GRU, [state_dict("gru", 1, hidden=2)], {"inputs": {"a": [1.0]}}, r"inputs: have shape \(1,\); must be \(2,\)"),
    (GRU, [state_dict("gru", 1), state_dict("gru", 2)], {}, r"checkpoints\[1\]: has another structure"),
    (GRU, [{"weight": np.ones(2)}], {}, r"has no weight_hh_l0 of a recurrent layer; it has weight"),
    (GRU, [np.ones(2)], {}, r"checkpoints\[0\]: is a ndarray: must be a state_dict"),
    (GRU, [state_dict("gru", 1) | {"weight_hh_l0_reverse": 0}], {}, r"weight_hh_l0_reverse: bidirectional must be off"),
    (GRU, [state_dict("gru", 1)], {"continuous": True}, r"continuous=True: .* is a map, in discrete time"),
]  # fmt: skip


@pytest.mark.parametrize(("step", "checkpoints", "options", "line"), REFUSED)
def test_what_does_not_fit_is_said_in_one_line_before_any_search(step, checkpoints, options, line, monkeypatch):
    monkeypatch.setattr("isophase.analysis.networks.follow.continue_fixed_points", None)
    with pytest.raises(ValueError, match=line) as error:
        isophase.follow(step, checkpoints, **({"starts": np.ones((2, 2))} | options))
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"cell": "elman"}, "cell='elman': must be one of rnn, gru, lstm"),
        ({"cell": "rnn", "nonlinearity": "sin"}, "nonlinearity='sin': must be one of tanh, relu"),
        ({"cell": "gru", "nonlinearity": "relu"}, "nonlinearity='relu': only for cell='rnn', not 'gru'"),
    ],
)
def test_an_unknown_cell_is_refused(given, line):
    with pytest.raises(ValueError, match=re.escape(line)):
        isophase.torch_cell(**given)
    with pytest.raises(TypeError, match=r"step='gru': must be a function .* or isophase.torch_cell"):
        isophase.follow("gru", [ONE], starts=np.ones((1, 2)))


def test_a_step_that_cannot_be_compiled_once_is_refused():
    class Unhashable:
        __hash__ = None

        def __call__(self, p, h, u):
            return h

    with pytest.raises(TypeError, match="must be hashable, as functions are"):
        isophase.follow(Unhashable(), [ONE], starts=np.ones((1, 2)))


# What people see.


@pytest.mark.parametrize("inputs", [None, {"none": 0.0, "much": 0.5}])
def test_tables_and_figures_show_what_was_found(inputs):
    found = isophase.follow(scaled, GRID, starts=LINE, checkpoint=GRID, bounded=True, inputs=inputs)
    assert found.tables["events"].column("type") == ["pitchfork"]
    assert found.tables["events"].column("branches") == [(0, 1, 2)]
    assert found.tables["fixed-points"].column("last")[0] == 3
    assert found.tables["fixed-points"].column("complete")[0] == {"complete": 13}
    assert "pitchfork" in str(found)
    assert "<table>" in found._repr_html_()
    panels = 1 if inputs is None else 2
    for name in ("branches", "eigenvalues"):
        figure = found.figures[name]()
        assert isinstance(figure, matplotlib.figure.Figure)
        assert len([axes for axes in figure.axes if axes.get_xlabel()]) == panels
    labels = found.figures["branches"]().axes[0].get_legend_handles_labels()[1]
    assert labels == ["stable", "unstable", "pitchfork"]
    assert "speed" in found.figures if inputs else "speed" not in found.figures


def test_networks_without_any_fixed_point_are_shown():
    found = isophase.follow(lambda a, h, u: h + a, np.ones(2), starts=LINE, bounded=False)
    assert found.branches["number"].values.tolist() == [0, 0]
    assert found.events.sizes["event"] == 0
    assert str(found)
    assert found.figures["branches"]()
    assert found.figures["eigenvalues"]()


def test_the_page_in_the_docs_prints_what_it_says():
    """Blocks of Python run in order; a block of text after one is what it prints."""
    page = (Path(__file__).parent.parent / "docs" / "networks.md").read_text()
    names, printed, blocks = {}, "", 0
    for kind, block in re.findall(r"^```(\w+)\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        if kind == "python":
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(block, names)
            printed, blocks = out.getvalue(), blocks + 1
        elif kind == "text":
            assert [line.rstrip() for line in printed.splitlines() if line.strip()] == [
                line.rstrip() for line in block.splitlines() if line.strip()
            ]
    assert blocks >= 2
