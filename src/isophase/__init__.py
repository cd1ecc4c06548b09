"""Parameter sweeps for the collective dynamics of recurrent networks: the public face.

``isophase.run`` runs a sweep or a function of yours over a grid, ``reduce`` and ``report`` make summaries, tables and
figures of its store, ``open`` gives the results to people who query them with xarray. ``follow`` takes networks that were
trained elsewhere, those of PyTorch by ``torch_cell``. Each is loaded when it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isophase.analysis.base import Reduction as Reduction
    from isophase.analysis.base import Report as Report
    from isophase.flows.api import reduce as reduce
    from isophase.flows.api import report as report
    from isophase.flows.api import run as run
    from isophase.kernels.rnn.torch_cells import torch_cell as torch_cell
    from isophase.networks import follow as follow
    from isophase.sweeps.kinds.base import Kind as Kind
    from isophase.sweeps.kinds.function import point as point
    from isophase.sweeps.store import open_store as open

PUBLIC = {
    "open": ("isophase.sweeps.store", "open_store"),
    "point": ("isophase.sweeps.kinds.function", "point"),
    "run": ("isophase.flows.api", "run"),
    "reduce": ("isophase.flows.api", "reduce"),
    "report": ("isophase.flows.api", "report"),
    "follow": ("isophase.networks", "follow"),
    "torch_cell": ("isophase.kernels.rnn.torch_cells", "torch_cell"),
    "Kind": ("isophase.sweeps.kinds.base", "Kind"),
    "Reduction": ("isophase.analysis.base", "Reduction"),
    "Report": ("isophase.analysis.base", "Report"),
}

__all__ = ["Kind", "Reduction", "Report", "follow", "open", "point", "reduce", "report", "run", "torch_cell"]


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"module 'isophase' has no attribute {name!r}")
    module, attribute = PUBLIC[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return __all__
