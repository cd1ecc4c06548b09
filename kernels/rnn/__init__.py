"""Recurrent networks that learn timed automata: their cells, and training in JAX.

Importing this package imports JAX. It also bounds XLA's threads on the CPU, so that a process trains on **one core**
while its caller waits: the environment variable ``PJRT_NPROC``, which sizes the thread pools of XLA's CPU client, is
set to 1 before JAX starts, unless it or ``NPROC`` is set already. Who runs several processes on one machine (Dask
workers) thereby uses a core each. Two things it does not bound: compilation, some seconds per setting, which uses what
cores there are; and pools of a JAX that was started before, which then take about 1.2 cores. Results have the same bits
either way (``isophase.kernels.rnn.train``).
"""

import os

if not {"PJRT_NPROC", "NPROC"} & os.environ.keys():
    os.environ["PJRT_NPROC"] = "1"

from isophase.kernels.rnn.cells import CELLS, GATES, Weights, readout, state_size, step, weights_at
from isophase.kernels.rnn.train import OPTIMIZERS, train

__all__ = [
    "CELLS",
    "GATES",
    "OPTIMIZERS",
    "Weights",
    "readout",
    "state_size",
    "step",
    "train",
    "weights_at",
]
