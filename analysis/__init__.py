"""Trajectories to summaries: pure functions on xarray objects, and the plots."""
