"""The oscillator model: its gradient, its minimum, and the flow to it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isophase.analysis.networks.oscillator import gradient, loss

TARGET = 2 * np.pi / 10


@given(st.floats(-0.5, 0.05), st.floats(0, np.pi), st.integers(2, 60))
def test_the_gradient_is_that_of_finite_differences(mu, omega, length):
    step = 1e-6
    along_mu = (loss(mu + step, omega, TARGET, length) - loss(mu - step, omega, TARGET, length)) / (2 * step)
    along_omega = (loss(mu, omega + step, TARGET, length) - loss(mu, omega - step, TARGET, length)) / (2 * step)
    np.testing.assert_allclose(gradient(mu, omega, TARGET, length), (along_mu, along_omega), rtol=1e-4, atol=1e-4)


def test_the_loss_is_the_direct_sum_over_complex_numbers():
    mu, omega, length = -0.1, 0.4, 25
    t = np.arange(length)
    direct = np.mean(np.abs(np.exp((mu + 1j * omega) * t) - np.exp(1j * TARGET * t)) ** 2)
    assert loss(mu, omega, TARGET, length) == pytest.approx(direct, rel=1e-12)


def test_nothing_is_lost_nor_moves_where_the_oscillator_is_the_target():
    assert loss(0.0, TARGET, TARGET, 60) == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(gradient(0.0, TARGET, TARGET, 60), 0, atol=1e-12)


def test_the_flow_from_inside_the_unit_circle_ends_on_it_at_the_target():
    point = np.array([-0.5, 0.8 * TARGET])
    for _ in range(20_000):
        point = point - 1e-4 * np.array(gradient(*point, TARGET, 30))
    np.testing.assert_allclose(point, [0, TARGET], atol=1e-6)


def test_an_oscillator_of_another_frequency_first_decays():
    along_mu, _ = gradient(-0.01, 2 * TARGET, TARGET, 60)
    assert along_mu > 0
