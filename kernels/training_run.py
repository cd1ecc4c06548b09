"""What a training run of ``kernels.rnn`` records: names, dimensions, texts and units, for who reads or stores it.

Apart from ``isophase.kernels.rnn``, so that they can be known without JAX.
"""

import numpy as np

PIECE = 50  # iterations between two returns from compiled code; sequences of a piece are in memory at once
GATES: dict[str, tuple[str, ...]] = {"rnn": ("h",), "gru": ("r", "z", "n"), "lstm": ("i", "f", "g", "o")}
CURVES = {
    "loss": (("iteration",), "cross-entropy of the training batch", "nat"),
    "ti_accuracy": (("iteration",), "accuracy at time-independent symbols of the training batch", "1"),
    "td_accuracy": (("iteration",), "accuracy at time-dependent symbols of the training batch", "1"),
}
EVALUATIONS = {
    "heldout_loss": (("checkpoint",), "cross-entropy of held-out sequences", "nat"),
    "heldout_ti_accuracy": (("checkpoint",), "accuracy at time-independent symbols of held-out sequences", "1"),
    "heldout_td_accuracy": (("checkpoint",), "accuracy at time-dependent symbols of held-out sequences", "1"),
    "heldout_td_balanced_accuracy": (
        ("checkpoint",), "accuracy at time-dependent symbols of held-out sequences, mean over Theta = 0 and 1", "1",
    ),
}  # fmt: skip
WEIGHTS = {
    "recurrent_weights": (("checkpoint", "gate", "hidden", "hidden_from"), "recurrent weights W", "1"),
    "input_weights": (("checkpoint", "gate", "hidden", "symbol"), "input weights U", "1"),
    "bias": (("checkpoint", "gate", "hidden"), "bias b", "1"),
    "readout_weights": (("checkpoint", "output", "hidden"), "readout weights", "1"),
    "readout_bias": (("checkpoint", "output"), "readout bias", "1"),
}
PROBE = {
    "probe_symbols": (("probe", "time"), "symbol of the probe sequences, index into symbol", "1"),
    "probe_theta": (("probe", "time"), "Theta of the probe sequences", "1"),
    "probe_state": (
        ("probe_checkpoint", "probe", "time", "state"), "state of the network after each symbol of the probe sequences",
        "1",
    ),
}  # fmt: skip
RECORDED: dict[str, tuple[tuple[str, ...], str, str]] = {**CURVES, **EVALUATIONS, **WEIGHTS, **PROBE}
COORDINATES = {
    "iteration": ("updates done before this one", "iteration"),
    "checkpoint": ("updates done", "iteration"),
    "gate": ("gate of the cell", ""),
    "hidden": ("hidden unit", "1"),
    "hidden_from": ("hidden unit that a weight comes from", "1"),
    "symbol": ("symbol of the automaton", ""),
    "output": ("output of the readout", ""),
    "probe": ("probe sequence", "1"),
    "time": ("time from the start of the sequence", "step"),
    "state": ("state variable of the network", "1"),
    "probe_checkpoint": ("updates done", "iteration"),
}


def log_spaced(iterations: int, count: int) -> np.ndarray:
    """Numbers of updates from 0 to ``iterations``, int64, from 1 on evenly spaced in their logarithm.

    ``count`` of them, or fewer where whole numbers lie too far apart for so many; 2 are the first and the last. They
    increase, and 0 and ``iterations`` are always among them: ``train`` adds these two to the checkpoints that it is
    given. Raises ValueError for ``iterations`` that are no integer >= 0 or a ``count`` below 2.
    """
    for name, value, least in (("iterations", iterations, 0), ("count", count, 2)):
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name}={value!r}: must be an integer >= {least}")
    if iterations == 0:
        return np.zeros(1, np.int64)
    spaced = np.geomspace(1, iterations, count - 1).round() if count > 2 else np.empty(0)
    return np.unique(np.concatenate([[0], spaced, [iterations]]).astype(np.int64))
