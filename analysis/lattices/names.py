"""Every name that the summary of a lattice and the extrapolation over sizes add to what was recorded, with its units.

An axis of a sweep can have none of them. The measurements say what the names mean.
"""

from collections.abc import Mapping

import xarray as xr

from isophase.analysis.lattices.locks import NAMES as OF_LOCKS
from isophase.analysis.lattices.measurements import MEASUREMENTS
from isophase.analysis.lattices.profiles import NAMES as OF_PROFILES
from isophase.analysis.lattices.systematics import NAMES as OF_SYSTEMATICS
from isophase.analysis.lattices.waves import NAMES as OF_WAVES

SPACINGS = "ring spacings"
SUFFIXES = {"efold": "", "fit": "_fit", "second_moment": "_second_moment"}
"""What follows the names that an estimator of the correlation length has its own of: that by e-folding needs none."""
PER_MAP = ("order", "local_order", "domains", "domain_size", "domain_size_weighted", "largest_domain",
           "boundary_density", "defects", "defects_positive", "defects_negative")  # fmt: skip
"""What is drawn from single maps of phases, all of them numbers or fractions, and their means over seeds."""

LENGTH = {"": SPACINGS, "_error": SPACINGS, "_reason": "", "_without": SPACINGS}
"""What follows ``xi`` and the estimator's suffix, of ``correlation_length``."""
STEADY = {
    "xi_inf": SPACINGS,
    "xi_inf_error": SPACINGS,
    "drift": "1",
    "drift_error": "1",
    "time_to_steady": "time",
    "time_to_steady_error": "time",
    "seeds_to_tell": "1",
    "beyond_quarter": "",
    "state": "",
    "xi_inf_without": SPACINGS,
}
"""Of ``steady_state``, for every estimator; ``time``: in the units of the sample times."""
ONCE = {
    "distance": SPACINGS,
    "correlation": "1",
    "noise": "1",
    "xi_lower_bound": SPACINGS,
    "xi_inf_lower_bound": SPACINGS,
    "steady": "",
    "spirals": "1",
    "spirals_error": "1",
    "shell": "",
    "shell_wavenumber": "rad per ring spacing",
    "structure_factor": "1",
    "structure_factor_error": "1",
    "susceptibility": "1",
    "susceptibility_error": "1",
    "seeds": "1",
    "n_seeds": "1",
    "defined": "1",
    "wavenumber_row": "rad per ring spacing",
    "wavenumber_col": "rad per ring spacing",
}
DEFECT_DECAY = {
    "defect_distance_exponent": "1",
    "defect_distance_exponent_error": "1",
    "defect_distance_exponent_low": "1",
    "defect_distance_exponent_high": "1",
    "defect_distance_state": "",
}
"""Of the distance between defects against time, as of the growth of the correlation length."""
ACROSS = {
    "size": SPACINGS,
    "xi_infinite": SPACINGS,
    "xi_infinite_error": SPACINGS,
    "xi_infinite_low": SPACINGS,
    "xi_infinite_high": SPACINGS,
    "slope": "ring spacings^2",
    "slope_error": "ring spacings^2",
    "chi2": "1",
    "dof": "1",
    "p_value": "1",
    "size_exponent": "1",
    "size_exponent_error": "1",
    "finite_size_state": "",
    "used": "",
}
"""Of the extrapolation over sizes; it has ``xi_inf``, ``xi_inf_error`` and ``beyond_quarter`` too."""


def names(template: xr.Dataset) -> Mapping[str, str]:
    """Units of every variable and dimension that summary and extrapolation add to the ``template`` of a point."""
    time = str(template["time"].attrs.get("units", ""))
    added = ONCE | ACROSS | OF_WAVES | DEFECT_DECAY | OF_PROFILES | dict.fromkeys(OF_SYSTEMATICS, SPACINGS)
    for suffix in SUFFIXES.values():
        added |= {f"xi{suffix}{part}": units for part, units in LENGTH.items()}
        added |= {suffixed(name, suffix): units for name, units in STEADY.items()}
    for kind in ("", "_modulo_pi"):
        added |= {f"{name}{kind}{part}": "1" for name in PER_MAP for part in ("", "_error")}
    added |= {f"{name}{part}": "1" for name in OF_LOCKS for part in ("", "_error")}
    if "switching_rate" in template:
        added["switching_rate_error"] = str(template["switching_rate"].attrs.get("units", ""))
    for measurement in MEASUREMENTS:
        added |= measurement.names
    return {n: time if units == "time" else units for n, units in added.items() if n not in template.variables}


def suffixed(name: str, suffix: str) -> str:
    """``xi_inf_error`` with ``_fit`` is ``xi_inf_fit_error``."""
    part = next((part for part in ("_error", "_without") if name.endswith(part)), "")
    return f"{name.removesuffix(part)}{suffix}{part}"
