"""The Kuramoto lattice against closed forms and an independent integrator."""

import numpy as np
import pytest
import xarray as xr
from scipy.integrate import solve_ivp

from isophase.analysis.lattices.correlation import phase_correlation
from isophase.analysis.lattices.correlation_length import correlation_length
from isophase.analysis.lattices.growth import growth_exponent
from isophase.kernels.kuramoto import DISTRIBUTIONS, expected_rate, natural_frequencies, simulate_kuramoto, step_of
from isophase.kernels.lattice.tilings import SIDES, ring_neighbours

PAIR = np.array([[0, 1]])


def square_pairs(rows, cols):
    index = np.arange(rows * cols).reshape(rows, cols)
    right = np.stack([index, np.roll(index, -1, 1)], -1).reshape(-1, 2)
    down = np.stack([index, np.roll(index, -1, 0)], -1).reshape(-1, 2)
    return np.concatenate([right, down])


def difference(run):
    return np.angle(np.exp(1j * (run.phase[:, 1] - run.phase[:, 0])))


def test_two_identical_oscillators_approach_each_other_as_the_closed_form_says():
    """d phi / dt = -2 K sin phi is solved by tan(phi / 2) = tan(phi_0 / 2) exp(-2 K t)."""
    times = np.linspace(0.5, 5, 10)
    run = simulate_kuramoto(PAIR, np.zeros(2), 0.7, np.array([0.0, 2.5]), times)
    exact = 2 * np.arctan(np.tan(1.25) * np.exp(-1.4 * times))
    np.testing.assert_allclose(difference(run), exact, atol=1e-6)


def test_two_oscillators_lock_below_a_frequency_difference_of_twice_the_coupling_at_its_arcsine():
    run = simulate_kuramoto(PAIR, np.array([-0.9, 0.9]), 1.0, np.zeros(2), np.array([50.0, 60.0]))
    np.testing.assert_allclose(difference(run), np.arcsin(0.9), atol=1e-7)


def test_two_oscillators_drift_above_it_with_the_beat_of_the_closed_form():
    """Above threshold the difference turns with period 2 pi / sqrt(delta^2 - 4 K^2)."""
    period = 2 * np.pi / np.sqrt(2.4**2 - 4.0)
    run = simulate_kuramoto(PAIR, np.array([-1.2, 1.2]), 1.0, np.zeros(2), 3.0 + period * np.arange(4))
    np.testing.assert_allclose(difference(run), difference(run)[0], atol=1e-5)
    half = simulate_kuramoto(PAIR, np.array([-1.2, 1.2]), 1.0, np.zeros(2), np.array([3.0, 3.0 + period / 2]))
    assert abs(difference(half)[1] - difference(half)[0]) > 0.5


def test_a_lattice_agrees_with_an_independent_integrator():
    rng = np.random.default_rng(3)
    pairs, theta, omega = square_pairs(6, 5), rng.uniform(0, 2 * np.pi, 30), rng.normal(size=30)
    coupled = np.zeros((30, 30))
    np.add.at(coupled, (pairs[:, 0], pairs[:, 1]), 1)
    coupled += coupled.T
    times = np.linspace(1, 10, 4)
    answer = solve_ivp(
        lambda t, y: omega + 0.8 * (coupled * np.sin(y[None, :] - y[:, None])).sum(1),
        (0, 10), theta, method="DOP853", t_eval=times, rtol=1e-12, atol=1e-12,
    )  # fmt: skip
    run = simulate_kuramoto(pairs, omega, 0.8, theta, times)
    assert np.abs(np.angle(np.exp(1j * (run.phase - answer.y.T)))).max() < 1e-5


def test_the_error_falls_with_the_fourth_power_of_the_step():
    rng = np.random.default_rng(4)
    pairs, theta, omega = square_pairs(4, 4), rng.uniform(0, 2 * np.pi, 16), rng.normal(size=16)
    runs = [simulate_kuramoto(pairs, omega, 1.0, theta, np.array([4.0]), dt=dt).phase for dt in (0.1, 0.05, 0.001)]
    errors = [np.abs(np.angle(np.exp(1j * (run - runs[-1])))).max() for run in runs[:-1]]
    assert 3.5 < np.log2(errors[0] / errors[1]) < 4.5


def test_the_mean_phase_turns_with_the_mean_frequency():
    rng = np.random.default_rng(5)
    theta, omega = rng.uniform(0, 0.1, 36), rng.normal(size=36) * 0.1
    run = simulate_kuramoto(square_pairs(6, 6), omega, 1.0, theta, np.array([7.0]))
    unwrapped = np.angle(np.exp(1j * (run.phase[0] - theta.mean() - 7 * omega.mean())))
    assert abs(unwrapped.mean()) < 1e-9


@pytest.mark.parametrize(("name", "quartile"), [("normal", 0.6745), ("uniform", 0.5), ("lorentz", 1.0)])
def test_frequencies_follow_the_named_distribution(name, quartile):
    omega = natural_frequencies(name, 2.0, 200_000, 1)
    np.testing.assert_allclose(np.quantile(omega, [0.25, 0.5, 0.75]), [-2 * quartile, 0, 2 * quartile], atol=0.02)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"neighbours": np.array([[0, 2]])}, "neighbours"),
        ({"frequencies": np.zeros(3)}, "frequencies"),
        ({"phases": np.array([0.0, np.nan])}, "phases"),
        ({"coupling": np.inf}, "coupling=inf"),
        ({"sample_times": np.array([2.0, 1.0])}, "sample_times"),
        ({"dt": 0.0}, "dt=0.0"),
    ],
)
def test_bad_input_is_refused_by_name(change, named):
    good = {
        "neighbours": PAIR,
        "frequencies": np.zeros(2),
        "coupling": 1.0,
        "phases": np.zeros(2),
        "sample_times": np.ones(1),
    }
    with pytest.raises(ValueError, match=named):
        simulate_kuramoto(**(good | change))
    with pytest.raises(ValueError, match="frequencies='cauchy'"):
        natural_frequencies("cauchy", 1.0, 3, 0)


def test_identical_oscillators_on_a_square_lattice_coarsen_about_as_the_square_root_of_time():
    """z = 2 up to a logarithm (Yurke et al., Phys. Rev. E 47, 1525 (1993)): exponents lie somewhat below 1/2."""
    times = np.geomspace(2.0, 60.0, 12)
    pairs, maps = square_pairs(64, 64), []
    for seed in range(6):
        theta = np.random.default_rng(seed).uniform(0, 2 * np.pi, 64**2)
        maps.append(simulate_kuramoto(pairs, np.zeros(64**2), 1.0, theta, times, dt=0.1).phase.reshape(-1, 64, 64))
    phase = xr.DataArray(np.stack(maps), dims=("seed", "time", "row", "col"), coords={"time": times})
    lengths = correlation_length(phase_correlation(phase))
    found = growth_exponent(lengths.xi_efold, lengths.xi_efold_without, window=(2.0, 60.0))
    assert found.growth_exponent_error < 0.05
    assert 0.35 < found.growth_exponent < 0.52


@pytest.mark.parametrize("n", [1, 16, 1024, 65536])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_the_largest_frequency_of_many_is_above_the_expected_one_as_often_as_below(name, n):
    width = 0.0 if name == "identical" else 0.3
    drawn = [np.abs(natural_frequencies(name, width, n, seed)).max() for seed in range(200)]
    expected = expected_rate(name, width, n, coupling=0.0, sides=4)
    if name == "identical":
        assert expected == max(drawn) == 0
        return
    assert 0.5 * expected < np.median(drawn) < 2 * expected
    assert np.mean(np.array(drawn) < expected) == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / 200))


def test_the_expected_rate_of_lorentzian_frequencies_grows_with_their_number_and_of_others_hardly():
    rates = {name: [expected_rate(name, 1.0, n, 0.0, 4) for n in (1024, 65536)] for name in DISTRIBUTIONS[1:]}
    assert rates["lorentz"][1] / rates["lorentz"][0] == pytest.approx(64, rel=0.01)
    assert rates["lorentz"][1] == pytest.approx(2 * 65536 / np.pi / np.log(2), rel=1e-4)
    assert 1 < rates["normal"][1] / rates["normal"][0] < 1.4
    assert rates["uniform"] == pytest.approx([1, 1], abs=1e-3)
    assert expected_rate("identical", 0.0, 9, -1.5, 6) == 18
    assert expected_rate("uniform", 2.0, 10**9, 1.0, 3) == pytest.approx(8)


@pytest.mark.parametrize("tiling", SIDES)
@pytest.mark.parametrize(("name", "width"), [("identical", 0.0), ("normal", 0.5), ("uniform", 3.0), ("lorentz", 0.1)])
def test_a_run_takes_about_as_many_steps_as_its_expected_rate_says(tiling, name, width):
    rows, cols = (1, 256) if tiling == "chain" else (16, 16)
    pairs = ring_neighbours(tiling, rows, cols, "periodic")
    steps = []
    for seed in range(15):
        omega = natural_frequencies(name, width, 256, seed)
        steps.append(1 / simulate_kuramoto(pairs, omega, 0.7, np.zeros(256), np.array([1e-6])).dt)
    predicted = 1 / step_of(expected_rate(name, width, 256, 0.7, SIDES[tiling]))
    assert 0.5 < predicted / np.median(steps) < 2
    if name == "identical":
        assert predicted == pytest.approx(steps[0], rel=1e-12)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(("cauchy", 1.0, 3, 1.0, 4), "frequencies='cauchy': must be one of identical"),
     (("normal", -1.0, 3, 1.0, 4), "width=-1.0: must be finite and >= 0"),
     (("normal", 1.0, 0, 1.0, 4), "n=0: must be >= 1")],
)  # fmt: skip
def test_an_expected_rate_of_what_cannot_be_drawn_is_refused_by_name(arguments, named):
    with pytest.raises(ValueError, match=named):
        expected_rate(*arguments)
