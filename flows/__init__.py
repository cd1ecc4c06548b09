"""Prefect flows over Dask: sweep, reduce, study; and the command line."""
