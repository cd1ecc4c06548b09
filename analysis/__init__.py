"""Trajectories to summaries: pure functions on xarray objects, their tables and figures."""
