"""The public entry point for people who query results: ``isochron.open(store)``."""

from sweeps.store import open_store as open

__all__ = ["open"]
