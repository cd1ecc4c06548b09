"""The oscillator that learns to oscillate: gradient flow of two numbers, the least model of a network that learns time.

Owns the model; the networks' own paths in its plane are the leading eigenvalues that ``training`` measures.
"""

import numpy as np


def loss(mu: np.ndarray, omega: np.ndarray, target: float, length: int) -> np.ndarray:
    """``L(mu, omega) = mean over t of |exp((mu + i omega) t) - exp(i target t)|^2``, t = 0 ... length - 1.

    Parameters
    ----------
    mu, omega : growth rate (per step) and angular frequency (rad per step), of any shapes that broadcast.
    target : angular frequency to learn, rad per step.
    length : steps of a sequence.

    Source: the oscillator model of arXiv 2306.07125; a map's eigenvalue is ``exp(mu + i omega)``.
    """
    t = np.arange(length)
    mu, omega = np.expand_dims(mu, -1), np.expand_dims(omega, -1)
    return np.mean(np.exp(2 * mu * t) - 2 * np.exp(mu * t) * np.cos((omega - target) * t) + 1, axis=-1)


def gradient(mu: np.ndarray, omega: np.ndarray, target: float, length: int) -> tuple[np.ndarray, np.ndarray]:
    """``(dL/dmu, dL/domega)`` of :func:`loss`, exact; gradient flow moves against it. Arguments as there."""
    t = np.arange(length)
    mu, omega = np.expand_dims(mu, -1), np.expand_dims(omega, -1)
    away = (omega - target) * t
    along_mu = 2 * t * (np.exp(2 * mu * t) - np.exp(mu * t) * np.cos(away))
    along_omega = 2 * t * np.exp(mu * t) * np.sin(away)
    return np.mean(along_mu, axis=-1), np.mean(along_omega, axis=-1)
