"""The checkpoints of a training run: what is asked for is what is recorded."""

import numpy as np
import pytest

from isophase.kernels.automata import temporal_flipflop
from isophase.kernels.rnn import train
from isophase.kernels.training_run import log_spaced


@pytest.mark.parametrize("iterations", [0, 1, 2, 3, 5, 10, 100, 1000, 10**7])
@pytest.mark.parametrize("count", [2, 3, 4, 10, 100, 1000])
def test_log_spaced_checkpoints_begin_at_zero_end_at_the_last_and_are_at_most_as_many_as_asked(iterations, count):
    at = log_spaced(iterations, count)
    assert at.dtype == np.int64
    assert (at[0], at[-1]) == (0, iterations)
    assert (np.diff(at) > 0).all()
    assert len(at) <= count
    if count > 10 * iterations:
        assert at.tolist() == list(range(iterations + 1))


def test_one_log_spaced_checkpoint_after_the_initial_one_is_the_last():
    assert log_spaced(1000, 2).tolist() == [0, 1000]
    assert log_spaced(1000, 3).tolist() == [0, 1, 1000]
    assert log_spaced(1, 2).tolist() == [0, 1]


@pytest.mark.parametrize(("iterations", "count"), [(1, 2), (2, 2), (3, 2), (3, 3), (2, 30), (3, 30), (60, 2), (0, 5)])
def test_a_run_records_the_log_spaced_checkpoints_that_it_is_given_and_no_others(iterations, count):
    run = train(
        temporal_flipflop("periodic", period=4), n_hidden=2, seeds=[0], iterations=iterations, length=4, batch=2,
        learning_rate=0.01, heldout=2, probe=1, checkpoints=log_spaced(iterations, count),
    )  # fmt: skip
    np.testing.assert_array_equal(run["checkpoint"], log_spaced(iterations, count))


@pytest.mark.parametrize(
    ("iterations", "count", "named"),
    [(10, 1, "count=1: must be an integer >= 2"), (10, 2.5, "count=2.5"), (10, True, "count=True"),
     (-1, 5, "iterations=-1: must be an integer >= 0"), (1.5, 5, "iterations=1.5")],
)  # fmt: skip
def test_checkpoints_that_do_not_exist_are_refused(iterations, count, named):
    with pytest.raises(ValueError, match=named):
        log_spaced(iterations, count)
