"""Why a cluster cannot be used, or not any more, and why a store was not reduced."""

from isophase.sweeps.store import StoreError as StoreError
from isophase.sweeps.store import StoreRefusedError as StoreRefusedError


class ClusterError(RuntimeError):
    """No cluster to run on: the message names its address and the reason."""


class SettingsError(ClusterError):
    """What was given or set cannot be used, however often it is tried: the message names it and what is allowed."""


class NothingReducedError(StoreError):
    """Every part of a reduction failed, or one of a refinement: the store's summary is as it was."""
