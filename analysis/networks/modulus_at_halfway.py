"""How large the leading eigenvalue at a fixed point is when a network has learned half of the time-dependent part."""

import numpy as np
import xarray as xr

from isophase.analysis.base import Measurement


def modulus_at_halfway(dataset: xr.Dataset, measured: xr.Dataset) -> xr.Dataset:
    """``leading_modulus`` under every symbol, interpolated linearly at ``td_halfway``; NaN for never."""
    return xr.Dataset({"modulus_at_halfway": _at(measured["leading_modulus"], measured["td_halfway"])})


def _at(values: xr.DataArray, iteration: xr.DataArray) -> xr.DataArray:
    """Values over ``checkpoint``, interpolated linearly at an iteration; NaN for never."""
    found = values.interp(checkpoint=iteration) if np.isfinite(iteration) else values.isel(checkpoint=0) * np.nan
    text = f"{values.attrs['long_name']} when half is learned"
    return found.drop_vars("checkpoint").assign_attrs(long_name=text, units=values.attrs["units"])


MODULUS_AT_HALFWAY = Measurement(modulus_at_halfway, names={"modulus_at_halfway": "1"})
