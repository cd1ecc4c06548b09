"""Why a cluster cannot be used, or not any more."""


class ClusterError(RuntimeError):
    """No cluster to run on: the message names its address and the reason."""


class SettingsError(ClusterError):
    """What was given or set cannot be used, however often it is tried: the message names it and what is allowed."""
