"""The critical nucleus: the diameter from which a disc of one state grows in another, of discs of several sizes.

Owns the fraction of discs that grow and the bracket of its half; what became of each disc is ``fronts``'s.
"""

from typing import NamedTuple

import numpy as np
import scipy.optimize

from isophase.analysis.statistics import wilson


class Nucleus(NamedTuple):
    """The diameter at which half of the discs grow, between ``low`` and ``high``, in the units of the diameters.

    ``state``: ``bracketed`` between two sizes; ``always grows``: half grow below the smallest size, which is ``high``;
    ``never grows``: above the largest, ``low``; ``one bound``: above ``low`` or below ``high`` alone is told;
    ``cannot tell``. What is not known is NaN.
    """

    critical: float
    low: float
    high: float
    state: str


class Discs(NamedTuple):
    """Discs of several diameters in one scheme, and what became of their seeds: [size] each."""

    label: str
    diameter: np.ndarray
    grown: np.ndarray
    healed: np.ndarray
    undecided: np.ndarray

    @property
    def number(self) -> np.ndarray:
        """Discs of each size of which anything is known."""
        return self.grown + self.healed + self.undecided

    def critical(self) -> Nucleus:
        """Where half of them grow."""
        return critical_nucleus(self.diameter, self.grown, self.healed, self.number)


def critical_nucleus(diameter: np.ndarray, grown: np.ndarray, healed: np.ndarray, number: np.ndarray) -> Nucleus:
    """The diameter at which half of the discs grow, from how many of each size did.

    ``low`` is the largest size of which, as of all smaller ones, less than half grow: the 95 % interval (Wilson) of the
    fraction that has not healed lies below 1/2. ``high`` is the smallest of which, as of all larger ones, more than
    half do, by the interval of the fraction that has grown. So discs of which neither is known widen the bracket.
    ``critical`` is where the fraction of those that have grown, of all that did either, made monotone by least squares,
    passes 1/2 between sizes, and lies in the bracket.

    Parameters
    ----------
    diameter : [size], increasing, at least one.
    grown, healed, number : [size], discs that have grown, have healed, and all of that size.

    Raises ValueError for diameters that do not increase.
    """
    if len(diameter) == 0 or not (np.diff(diameter) > 0).all():
        raise ValueError(f"diameter={diameter}: must increase")
    trials = list(zip(grown.tolist(), healed.tolist(), number.tolist(), strict=True))
    few = np.array([wilson(n - bad, n)[1] < 1 / 2 for _, bad, n in trials])  # NaN of no disc is not
    many = np.array([wilson(good, n)[0] > 1 / 2 for good, _, n in trials])
    below = int(np.logical_and.accumulate(few).sum())
    above = len(many) - int(np.logical_and.accumulate(many[::-1]).sum())
    low = float(diameter[below - 1]) if below else np.nan
    high = float(diameter[above]) if above < len(many) else np.nan
    if below and above < len(many):
        critical = float(np.clip(_half(diameter, grown, healed), low, high))
        return Nucleus(critical, low, high, "bracketed")
    if above == 0:
        return Nucleus(np.nan, np.nan, high, "always grows")
    if below == len(few):
        return Nucleus(np.nan, low, np.nan, "never grows")
    return Nucleus(np.nan, low, high, "cannot tell" if np.isnan([low, high]).all() else "one bound")


def _half(diameter: np.ndarray, grown: np.ndarray, healed: np.ndarray) -> float:
    """Where the monotone fraction passes 1/2, by straight lines between sizes."""
    decided = grown + healed
    told = decided > 0
    fraction = scipy.optimize.isotonic_regression(grown[told] / decided[told], weights=decided[told]).x
    at = diameter[told]
    last, first = np.flatnonzero(fraction < 1 / 2)[-1], np.flatnonzero(fraction > 1 / 2)[0]
    if first > last + 1:  # a plateau at 1/2
        return float(at[last + 1 : first].mean())
    part = (1 / 2 - fraction[last]) / (fraction[first] - fraction[last])
    return float(at[last] + part * (at[first] - at[last]))
