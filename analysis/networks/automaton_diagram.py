"""The state diagram of a timed automaton: states on a circle, an arrow per transition, labelled by its symbols."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch

from isophase.kernels.automata import PeriodicClock, RelativeClock, TimedAutomaton

RADIUS = 0.3  # of a state, where the circle of states has radius 1
BEND = 0.25  # of arrows, so that there and back do not lie on one another
COLOURS = ("C0", "C3")  # of Theta = 0 and 1


def state_diagram(tasks: Sequence[TimedAutomaton]) -> Figure:
    """Draw automata that differ in nothing but the number of their clock, as one; labels say ``symbol``, or
    ``symbol | Theta = 0`` where the clock decides."""
    task = tasks[0]
    with mpl.rc_context({"axes.grid": False}):
        figure = Figure(figsize=(5.2, 3.8), layout="constrained")
        axes = figure.add_subplot(aspect="equal")
        angle = np.pi - 2 * np.pi * np.arange(len(task.states)) / len(task.states)
        at = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        for (source, target), labels in transitions(task).items():
            _arrow(axes, at[source], at[target], labels)
        for number, (place, name) in enumerate(zip(at, task.states, strict=True)):
            axes.add_patch(Circle(place, RADIUS, facecolor="white", edgecolor="0.2", linewidth=1.4, zorder=3))
            if number == task.initial:
                axes.add_patch(Circle(place, 0.85 * RADIUS, fill=False, edgecolor="0.2", linewidth=0.8, zorder=4))
            axes.text(place[0], place[1], name, ha="center", va="center", zorder=5)
        axes.set_title(f"{clock_text(tasks)}\ndouble ring: initial state", fontsize=8)
        axes.set(xlim=(-2.5, 2.5), ylim=(-1.9, 1.9))
        axes.set_axis_off()
        return figure


def clock_text(tasks: Sequence[TimedAutomaton]) -> str:
    """When Theta is 1, with every number that the clocks of the automata have."""
    periods = sorted({task.clock.period for task in tasks if isinstance(task.clock, PeriodicClock)})
    if periods:
        return f"Theta = 1 in the second half of every {_listed(periods)} steps"
    thresholds = sorted({task.clock.threshold for task in tasks if isinstance(task.clock, RelativeClock)})
    return f"Theta = 1 once more than {_listed(thresholds)} steps have passed since the last symbol"


def _listed(numbers: list[int]) -> str:
    return " or ".join(filter(None, (", ".join(map(str, numbers[:-1])), str(numbers[-1]))))


def transitions(task: TimedAutomaton) -> dict[tuple[int, int], list[tuple[str, int | None]]]:
    """By (state, next state): the symbols that lead there, each with the Theta that it takes, or None for either."""
    early, late = np.asarray(task.table)
    found: dict[tuple[int, int], list[tuple[str, int | None]]] = {}
    for state in range(len(task.states)):
        for number, symbol in enumerate(task.symbols):
            here = ((early, 0), (late, 1))
            if early[state, number] == late[state, number]:
                found.setdefault((state, int(early[state, number])), []).append((symbol, None))
            else:
                for table, theta in here:
                    found.setdefault((state, int(table[state, number])), []).append((symbol, theta))
    return found


def _arrow(axes: Axes, source: np.ndarray, target: np.ndarray, labels: list[tuple[str, int | None]]) -> None:
    style: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 12, "color": "0.3", "linewidth": 1.1}
    away = source / np.linalg.norm(source)
    if np.array_equal(source, target):
        side = np.array([-away[1], away[0]])
        start, end = source + RADIUS * (0.8 * away + 0.6 * side), source + RADIUS * (0.8 * away - 0.6 * side)
        axes.add_patch(FancyArrowPatch(start, end, connectionstyle="arc3,rad=-1.6", **style))
        place = source + (RADIUS + 0.62) * away
    else:
        along = (target - source) / np.linalg.norm(target - source)
        side = np.array([along[1], -along[0]])
        start, end = source + RADIUS * (along - 0.4 * side), target - RADIUS * (along + 0.4 * side)
        axes.add_patch(FancyArrowPatch(start, end, connectionstyle=f"arc3,rad={-BEND}", **style))
        place = 0.6 * source + 0.4 * target - side * (BEND * np.linalg.norm(target - source) / 2 + 0.2)
    for line, (symbol, theta) in enumerate(labels):
        text = symbol if theta is None else f"{symbol} | Θ = {theta}"
        colour = "0.2" if theta is None else COLOURS[theta]
        offset = 0.17 * ((len(labels) - 1) / 2 - line)
        axes.text(place[0], place[1] + offset, text, ha="center", va="center", color=colour, fontsize=8, zorder=6,
                  bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5})  # fmt: skip
