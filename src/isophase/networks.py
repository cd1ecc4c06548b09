"""The door to everybody's networks: ``isophase.follow`` and what it returns."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import xarray as xr

from isophase.analysis.base import Figures
from isophase.analysis.drawing import drawn
from isophase.analysis.networks import followed
from isophase.analysis.networks.fixed_points import TOLERANCE
from isophase.analysis.networks.follow import follow_networks, networks
from isophase.analysis.tables import Table
from isophase.flows.formats import as_html, terminal


@dataclass(frozen=True, repr=False)
class Followed:
    """Fixed points of networks through their checkpoints. Printed, it is its tables; in a notebook too.

    Attributes
    ----------
    branches : ``h``, ``eigenvalues``, ``exists``, ``stable``, ``marginal`` over ``branch`` and ``checkpoint`` (and
        ``input``, where inputs are given); ``number`` of fixed points and ``index_sum`` over ``checkpoint``; and what
        else ``isophase.analysis.networks.fixed_points.continue_fixed_points`` gives. An input with fewer branches than
        another has some that never exist.
    events : bifurcations over ``event``, as ``isophase.analysis.networks.bifurcations.find_bifurcations`` gives them,
        with the ``input`` of each. ``type`` and ``direction`` are numbers with their meaning in the attributes. In
        continuous time ``hopf`` stands for ``neimark_sacker``, and ``angular_frequency`` (radians per unit of time)
        for ``angle``, ``resonance`` and the moduli.
    slow_points : local minima of q = |F(h) - h|^2 / 2 that are no fixed points: ``h``, ``speed`` = |F(h) - h|, ``q``
        and the ``eigenvalues`` of the Jacobian over ``slow_point``, with ``checkpoint`` (and ``input``) of each.
    complete : over ``checkpoint`` (and ``input``), ``complete`` where the indices of the fixed points found add up to
        1, as those of all fixed points do where a map takes a cube into itself; ``incomplete`` where they do not, so
        that points are missing, and a second search halfway between those found has not met them; ``not known`` where
        no such cube is known, or a point has no index. Two missing points of opposite index, as a fold leaves them, do
        not show: it is a necessary condition.
    continuous : whether the networks are flows.
    """

    branches: xr.Dataset
    events: xr.Dataset
    slow_points: xr.Dataset
    complete: xr.DataArray
    continuous: bool

    @cached_property
    def _parts(self) -> followed.Parts:
        return followed.parts(self.branches, self.events, self.slow_points, self.complete)

    @cached_property
    def tables(self) -> dict[str, Table]:
        """``fixed-points``, a row for each input, and ``events``."""
        return followed.tables(self._parts)

    @cached_property
    def figures(self) -> Figures:
        """``branches``, ``eigenvalues`` and ``speed``; each is drawn, as a matplotlib figure, when it is called."""
        return {name: partial(drawn, draw) for name, draw in followed.figures(self._parts, self.continuous).items()}

    def __str__(self) -> str:
        return terminal(list(self.tables.values()))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return as_html(list(self.tables.values()))


def follow(
    step: Callable[[Any, Any, Any], Any],
    checkpoints: Any,
    *,
    starts: Any,
    inputs: Mapping[str, Any] | None = None,
    checkpoint: Any = None,
    bounded: bool | float | None = None,
    continuous: bool = False,
    tol: float = TOLERANCE,
) -> Followed:
    """Fixed points of a recurrent network, their bifurcations and slow points, through its training or along a path.

    Parameters
    ----------
    step : ``(parameters, h [hidden], u) -> h'``, made of JAX operations, or ``isophase.torch_cell("gru")``. Compiled
        once for every function object and shape.
    checkpoints : a list of parameters (any pytree of arrays; ``state_dict``s for a cell of PyTorch), or one pytree whose
        arrays have a leading checkpoint axis. Everything is calculated in double precision.
    starts : of the searches at every checkpoint, [n, hidden], or [checkpoint, n, hidden]: states that the network
        visits, and some around them.
    inputs : constant inputs by name, of one shape; the fixed points under each are followed. Without, the input is
        zero: for a cell of PyTorch a vector, for a function the number 0.0.
    checkpoint : a number for each, as the updates done, that increases. Without: 0, 1, 2 ...
    bounded : half-width of a cube around 0 that the step takes into itself, or that the flow points into; True: 1, as
        for units with ``tanh``; False: not known. A map is followed within that cube only. Without: known of the cells
        of PyTorch but that with ``relu``, not known of others.
    continuous : ``step`` gives dh/dt. Stable is then to the left of the imaginary axis.
    tol : Euclidean norm of F(h) - h, or dh/dt, at a fixed point.

    Raises
    ------
    ValueError, TypeError : before any work, in one line that names the argument, what it is and what it must be.
    """
    given = networks(step, checkpoints, starts, inputs, checkpoint, bounded, continuous, tol)
    return Followed(*follow_networks(given), continuous=given.step.continuous)
