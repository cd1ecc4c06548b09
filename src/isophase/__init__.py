"""The public face: ``isophase.open(store)`` for people who query results."""

from isophase.sweeps.store import open_store as open

__all__ = ["open"]
