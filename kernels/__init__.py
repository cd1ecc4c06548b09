"""One grid point: pure functions from parameters and a seed to arrays."""
