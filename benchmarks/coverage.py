"""How often the intervals of the lattice half hold what they are intervals of, at 4, 5 and 8 seeds.

python -m benchmarks.coverage [REPETITIONS]     # default 200; prints a table in Markdown

Every interval is the 95 % one: the ends that a summary gives, or its value and standard error with Student's t of
seeds - 1 degrees of freedom. The fields and series are those of the tests, whose true values are known: chains with
C = exp(-d / xi), series with a memory from one time to the next, rings of a spectrum. Of 200 repetitions the share
itself has a standard error of 1.5 %. It also prints how often a length without drift is called steady.
"""

import sys
from collections.abc import Callable

import numpy as np
import xarray as xr

from isophase.analysis.lattices.correlation import phase_correlation
from isophase.analysis.lattices.correlation_length import correlation_length
from isophase.analysis.lattices.differences import paired_differences
from isophase.analysis.lattices.finite_size import finite_size
from isophase.analysis.lattices.growth import growth_exponent
from isophase.analysis.lattices.steady_state import STEADY, steady_state
from isophase.analysis.lattices.structure_factor import structure_factor
from isophase.analysis.lattices.waves import waves
from isophase.analysis.statistics import mean_over_seeds, student
from tests.phase_fields import gaussian_fields, random_walk_chains, series
from tests.test_analysis_differences import summary_of
from tests.test_analysis_waves import rings_of_spectrum

SEEDS, MORE = (4, 5, 8), (4, 5, 8, 16, 32, 64)
TIME = np.geomspace(2, 200, 40)
Interval = tuple[np.ndarray, np.ndarray, float]  # low [repetition], high, and the true value


def around(value: xr.DataArray, error: xr.DataArray, seeds: int, truth: float) -> Interval:
    """The interval of a value with its standard error."""
    reach = float(student(0.95, np.array(seeds))) * np.asarray(error)
    return np.asarray(value) - reach, np.asarray(value) + reach, truth


def chains(rng: np.random.Generator, repetitions: int, seeds: int, xi: float, length: int = 384) -> xr.DataArray:
    phase = random_walk_chains(rng, repetitions * seeds, length, xi).values.reshape(repetitions, seeds, 1, length)
    return xr.DataArray(phase, dims=("repeat", "seed", "row", "col"))


def lengths(name: str) -> Callable[..., Interval]:
    """Of an estimator of the correlation length; the second moment of an exponential is 1 / (2 sinh(1 / (2 xi)))."""

    def interval(rng: np.random.Generator, repetitions: int, seeds: int) -> Interval:
        xi = 3.0
        phase = chains(rng, repetitions, seeds, xi, 768)
        found = correlation_length(phase_correlation(phase, "open"), structure_factor(phase))
        truth = 1 / (2 * np.sinh(1 / (2 * xi))) if name == "xi_second_moment" else xi
        return around(found[name], found[f"{name}_error"], seeds, truth)

    return interval


def steady(rng: np.random.Generator, repetitions: int, seeds: int) -> Interval:
    found = steady_state(*series(rng, TIME, np.full(40, 4.0), 0.1, seeds, repetitions))
    return around(found["xi_inf"], found["xi_inf_error"], seeds, 4.0)


def drift(rng: np.random.Generator, repetitions: int, seeds: int) -> Interval:
    found = steady_state(*series(rng, TIME, np.full(40, 4.0), 0.1, seeds, repetitions))
    return around(found["drift"], found["drift_error"], seeds, 0.0)


def growth(rng: np.random.Generator, repetitions: int, seeds: int) -> Interval:
    time = np.geomspace(2, 32, 8)
    walks = [chains(rng, repetitions, seeds, t**0.5, 160).values for t in time]
    phase = xr.DataArray(np.stack(walks), dims=("time", "repeat", "seed", "row", "col"), coords={"time": time})
    measured = correlation_length(phase_correlation(phase, "open"))
    found = growth_exponent(measured["xi_efold"], measured["xi_efold_without"], window=(1, 100))
    return found["growth_exponent_low"].values, found["growth_exponent_high"].values, 0.5


def infinite(rng: np.random.Generator, repetitions: int, seeds: int) -> Interval:
    size = np.array([32.0, 48, 64, 96, 128])
    each = 4 + 8 / size + 40 / size * rng.standard_normal((repetitions, seeds, 5))
    coords = {"size": size}
    xi = xr.DataArray(each.mean(axis=1), dims=("repeat", "size"), coords=coords)
    error = xi.copy(data=each.std(axis=1, ddof=1) / np.sqrt(seeds))
    found = finite_size(xi, error, seeds=xr.full_like(xi, seeds))
    return found["xi_infinite_low"].values, found["xi_infinite_high"].values, 4.0


def difference(rng: np.random.Generator, repetitions: int, seeds: int) -> Interval:
    axes = [{"name": "delay", "labels": [0.0, 0.1], "values": {"delay": [0.0, 0.1]}}]
    found = []
    for _ in range(repetitions):
        xi = 4 + rng.normal(0, 1, seeds) + rng.normal([[0.0], [0.5]], 0.2, (2, seeds))
        found += paired_differences(summary_of(xi, axes))
    return np.array([f.low for f in found]), np.array([f.high for f in found]), 0.5


def wavelength(rng: np.random.Generator, repetitions: int, seeds: int) -> Interval:
    """Of fields whose spectrum is a ring; the true value is that of all repetitions together."""
    fields = [rings_of_spectrum(rng, 48, 8.0, 0.1, seeds) for _ in range(repetitions)]
    found = [waves(structure_factor(phase)) for phase in fields]
    together = waves(structure_factor(xr.concat(fields, "seed")))
    value, error = (np.array([float(part[f"wavelength{end}"]) for part in found]) for end in ("", "_error"))
    return around(value, error, seeds, float(together["wavelength"]))


def mean(rng: np.random.Generator, repetitions: int, seeds: int) -> Interval:
    """Of order, domains, defects and whatever else is a mean over seeds, here of skewed numbers."""
    values = xr.Dataset({"x": (("repeat", "seed"), rng.gamma(4.0, 0.25, (repetitions, seeds)))})
    found = mean_over_seeds(values)
    return around(found["x"], found["x_error"], seeds, 1.0)


CASES: dict[str, Callable[..., Interval]] = {
    "xi, e-folding": lengths("xi_efold"),
    "xi, exponential fit": lengths("xi_fit"),
    "xi, second moment": lengths("xi_second_moment"),
    "xi_inf": steady,
    "drift": drift,
    "growth exponent": growth,
    "xi of an infinite lattice": infinite,
    "paired difference": difference,
    "wavelength": wavelength,
    "means over seeds": mean,
}


def covered(case: Callable[..., Interval], repetitions: int, seeds: int) -> tuple[float, int]:
    """Share of the repetitions whose interval holds the true value, and how many have an interval."""
    low, high, truth = case(np.random.default_rng(1000 + seeds), repetitions, seeds)
    known = np.isfinite(low) & np.isfinite(high)
    return float(((low <= truth) & (truth <= high))[known].mean()), int(known.sum())


def scatter(xi: float) -> float:
    """Relative scatter of the length of one map of 64 x 64 rings about xi, from Gaussian fields of that length."""
    fields, _ = gaussian_fields(np.random.default_rng(5), 200, 64, xi * 3**0.5, 6.0)
    each = correlation_length(phase_correlation(fields.rename(seed="map")))["xi_efold"]
    return float(each.std() / each.mean())


def power(of_a_map: float, seeds: int, repetitions: int) -> float:
    """Share of lengths without drift that are called steady."""
    found = steady_state(*series(np.random.default_rng(7), TIME, np.full(40, 4.0), of_a_map, seeds, repetitions))
    return float((found["state"] == STEADY).mean())


def main(repetitions: int = 200) -> None:
    print(f"| 95 % interval of | {' | '.join(f'{n} seeds' for n in SEEDS)} |\n|---|{'---|' * len(SEEDS)}")
    for name, case in CASES.items():
        shares = (covered(case, repetitions, seeds) for seeds in SEEDS)
        cells = [f"{share:.1%}" + ("" if n == repetitions else f" of {n}") for share, n in shares]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print(f"\n| no drift is called steady | {' | '.join(f'{n} seeds' for n in MORE)} |\n|---|{'---|' * len(MORE)}")
    for xi in (1.5, 2.5, 4.0, 9.0):
        of_a_map = scatter(xi)
        cells = [f"{power(of_a_map, seeds, 10 * repetitions):.0%}" for seeds in MORE]
        print(f"| xi = {xi:g}, L = 64: a map scatters by {of_a_map:.1%} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
