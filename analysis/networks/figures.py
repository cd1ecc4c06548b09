"""Figures of trained networks: learning, eigenvalues through training, bifurcation beside transition, automata."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isophase.analysis.base import Figures, Summaries
from isophase.analysis.drawing import MARKERS, PANELS_PER_ROW, first_panels, in_legend, panel_grid, say_first
from isophase.analysis.networks.automaton_diagram import state_diagram
from isophase.analysis.networks.bifurcations import TYPES
from isophase.analysis.networks.finished import (
    first_symbol,
    has_second_task,
    last_clock,
    parts,
    quantiles,
    quantiles_along,
)
from isophase.analysis.networks.learning_phases import TD_TRANSITION
from isophase.analysis.networks.measurements import MEASUREMENTS
from isophase.analysis.networks.oscillator import gradient
from isophase.analysis.networks.training import oscillates_under
from isophase.analysis.schemes import parameters, schemes
from isophase.kernels.automata import TimedAutomaton, task_from

MAX_SCHEMES = 40
LEAST_ANGLE = 2 * np.pi / 1000  # rad per step: a leading eigenvalue that turns less is as good as real
LEAST_MODULUS = 1e-2  # an eigenvalue of a network that forgets at once has no place in the oscillator's plane
LONGEST = 1000  # steps of the oscillator model: longer ones move in the same directions
ITERATION = "iteration (updates)"
PHASE_LINES = {"ti_learned": ("C0", "time-independent learned"), "td_halfway": ("C3", "time: halfway")}
Shown = list[tuple[str, xr.Dataset]]  # label and summary of a scheme with finished seeds


def figures(summaries: Summaries, tree: Any = None) -> Figures:
    """All figures of a reduced ``flipflop`` store, by name, drawn when called; those of networks where a seed is
    finished. ``tree`` is not looked at."""
    shown = [(in_legend(label), part) for label, _, part in parts(summaries.groups)]
    clocks = [(label, part) for label, part in shown if last_clock(part)]
    encoded = [(label, part) for label, part in clocks if "plane_states" in part and _encoded(part).any()]
    retrained = [(label, part) for label, part in clocks if has_second_task(part)]
    wanted: dict[str, tuple[Callable[[Shown], Figure], Shown]] = {
        "learning": (learning, shown),
        "modulus": (modulus, shown),
        "spectrum": (spectrum, shown),
        "coincidence": (coincidence, shown),
        "eigenplane": (eigenplane, encoded),
        "retraining": (retraining, retrained),
        "oscillator": (oscillator, clocks),
    }
    found: Figures = {name: partial(first_panels, draw, of, "schemes") for name, (draw, of) in wanted.items() if of}
    if len(shown) > 1:
        found["schemes"] = partial(schemes_compared, shown)
    found |= {name: partial(draw, summaries.groups) for of in MEASUREMENTS for name, draw in of.figures.items()}
    return found | {name: partial(state_diagram, tasks) for name, tasks in automata(summaries.groups)}


def automata(groups: Mapping[str, xr.Dataset]) -> Iterator[tuple[str, list[TimedAutomaton]]]:
    """Name of every state diagram, and the automata that it shows: those of a group that differ in nothing but the
    number of their clock or their probabilities."""
    for group, summary in groups.items():
        alike: dict[Any, list[TimedAutomaton]] = {}
        for _, part in schemes(summary):
            task = task_from(parameters(part))
            drawn = (task.symbols, task.states, task.table, task.initial, type(task.clock))
            alike.setdefault(drawn, []).append(task)
        for number, tasks in enumerate(alike.values(), 1):
            yield f"automaton-{group}" if number == 1 else f"automaton-{group}-{number}", tasks


def _symbols(part: xr.Dataset) -> list[str]:
    return [in_legend(str(symbol)) for symbol in part["symbol"].values]


def learning(shown: Shown) -> Figure:
    """TI and TD accuracy of every seed, with the medians of the phases; a panel per scheme."""
    figure, panels = panel_grid(len(shown), 4.4, 3.0, sharey=True)
    for panel, (label, part) in zip(panels, shown, strict=True):
        iteration = part["iteration"].values
        for name, colour, text in (("ti_accuracy", "C0", "time-independent symbols"),
                                   ("td_accuracy", "C3", "time-dependent symbols")):  # fmt: skip
            curves = part[name].transpose("seed", "iteration").values
            for curve in curves:
                panel.plot(iteration, curve, color=colour, alpha=0.25, linewidth=0.6)
            panel.plot(iteration, quantiles_along(curves)[1], color=colour, label=text)
        for name, (colour, text) in PHASE_LINES.items():
            reached = part[name].values[np.isfinite(part[name].values)]
            if reached.size:
                panel.axvline(np.median(reached), color=colour, linestyle=":", linewidth=1.2, label=text)
        panel.axhline(float(part["td_base_accuracy"]), color="0.5", linewidth=0.8, label="best without time")
        _mark_second_task(panel, part)
        panel.set(title=label, xlabel=ITERATION)
    _row_labels(panels, "fraction correct (training batch)")
    _shared_legend(figure, panels)
    return figure


def modulus(shown: Shown) -> Figure:
    """Leading modulus at the fixed points under every symbol, and TD accuracy, on one iteration axis."""
    figure, panels = panel_grid(len(shown), 4.6, 3.2)
    for panel, (label, part) in zip(panels, shown, strict=True):
        for number, symbol in enumerate(_symbols(part)):
            at = part["leading_modulus"].isel(symbol=number)
            _with_band(panel, at, "checkpoint", f"C{number}", f"leading modulus, symbol {symbol}")
        panel.axhline(1.0, color="0.4", linewidth=0.8, label="modulus 1")
        panel.set(title=label, xlabel=ITERATION)
        right = panel.twinx()
        right.spines["right"].set_visible(True)
        right.grid(False)
        _with_band(right, part["td_accuracy"], "iteration", "0.3", "accuracy at time-dependent symbols")
        right.axhline(TD_TRANSITION, color="0.3", linewidth=0.8, linestyle=":", label=f"{TD_TRANSITION:g} correct")
        _mark_second_task(panel, part)
        right.set_ylabel("fraction correct", color="0.3")
        handles = [axes.get_legend_handles_labels() for axes in (panel, right)]
        panel.legend(handles[0][0] + handles[1][0], handles[0][1] + handles[1][1], loc="lower right", fontsize=7)
    _row_labels(panels, "modulus of the leading eigenvalue")
    return figure


def _mark_second_task(panel: Axes, part: xr.Dataset) -> None:
    if has_second_task(part):
        panel.axvline(
            int(part["then_from"].max()), color="0.2", linestyle="--", linewidth=0.9, label="second task begins"
        )


def spectrum(shown: Shown) -> Figure:
    """Eigenvalues at the fixed point in the complex plane as training goes: of the first seed, under the symbol that is
    most often the first to bifurcate."""
    figure, panels = panel_grid(len(shown), 3.8, 3.4)
    for panel, (label, part) in zip(panels, shown, strict=True):
        symbol = first_symbol(part)
        one = part.isel(seed=0, symbol=symbol)
        real, imaginary = (
            one[name].transpose("checkpoint", "eigenvalue") for name in ("eigenvalue_real", "eigenvalue_imag")
        )
        checkpoint = np.broadcast_to(one["checkpoint"].values[:, None], real.shape)
        angle = np.linspace(0, 2 * np.pi, 361)
        panel.plot(np.cos(angle), np.sin(angle), color="0.4", linewidth=0.8, label="unit circle")
        drawn = panel.scatter(real, imaginary, c=checkpoint, s=3, cmap="viridis", rasterized=True)
        size = np.hypot(real.values, imaginary.values)
        limit = 1.1 * max(1.0, float(size[np.isfinite(size)].max(initial=0.0)))
        panel.set(title=f"{label}: seed {one['seed'].item()}, symbol {_symbols(part)[symbol]}", xlabel="real part",
                  xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")  # fmt: skip
        figure.colorbar(drawn, ax=panel, label=ITERATION)
    panels[0].legend(loc="lower left", fontsize=7)
    _row_labels(panels, "imaginary part")
    return figure


def coincidence(shown: Shown) -> Figure:
    """Iteration of the first bifurcation, with its bracket, against that of the transition, a marker per seed."""
    figure, panels = panel_grid(len(shown), 3.6, 3.4)
    for panel, (label, part) in zip(panels, shown, strict=True):
        x, y = part["td_halfway"].values, part["first_bifurcation"].values
        kinds = part["first_bifurcation_type"].values
        for number, kind in enumerate(TYPES):
            here = (kinds == number) & np.isfinite(x) & np.isfinite(y)
            if here.any():
                below = y - part["first_bifurcation_low"].values
                above = part["first_bifurcation_high"].values - y
                panel.errorbar(x[here], y[here], yerr=[below[here], above[here]], fmt="o", markersize=4,
                               elinewidth=0.8, color=f"C{number}", label=kind.replace("_", "-"))  # fmt: skip
        both = np.concatenate([x[np.isfinite(x)], y[np.isfinite(y)]])
        if both.size:
            low, high = 0.9 * both.min(), 1.1 * both.max() + 1
            panel.plot([low, high], [low, high], color="0.4", linewidth=0.8, label="at the same iteration")
        missing = int((~(np.isfinite(x) & np.isfinite(y))).sum())
        note = f"\n{missing} of {x.size} seeds lack one" if missing else ""
        panel.set(title=f"{label}{note}", xlabel="time learned halfway from its base rate (updates)")
        if panel.get_legend_handles_labels()[0]:
            panel.legend(loc="upper left", fontsize=7)
    _row_labels(panels, "first bifurcation (updates)")
    return figure


def schemes_compared(shown: Shown) -> Figure:
    """Transition, plateau and first bifurcation of every scheme (median, quartiles), and the seeds that learned."""
    total, shown = len(shown), shown[:MAX_SCHEMES]
    figure = Figure(figsize=(max(7.0, 0.42 * len(shown) + 2.5), 5.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    x = np.arange(len(shown))
    for number, (name, text) in enumerate((("td_halfway", "halfway"), ("plateau", "plateau"),
                                           ("first_bifurcation", "first bifurcation"))):  # fmt: skip
        low, middle, high = np.array([quantiles(part[name]) for _, part in shown]).T
        upper.errorbar(x + 0.2 * (number - 1), middle, yerr=[middle - low, high - middle], fmt=MARKERS[number],
                       markersize=4, elinewidth=0.9, label=f"{text} (median, quartiles)")  # fmt: skip
    share = np.array([int(part["learned"]) / int(part["n_seeds"]) for _, part in shown])
    low, high = (np.array([float(part[f"learned_{end}"]) for _, part in shown]) for end in ("low", "high"))
    lower.errorbar(x, share, yerr=[share - low, high - share], fmt="s", color="C3", markersize=4, elinewidth=0.9)
    upper.set(ylabel="iteration (updates)")
    figure.legend(fontsize=7, ncols=3, loc="outside upper center")
    lower.set(ylabel="learned time\n(share, 95 %)", ylim=(-0.05, 1.05))
    lower.set_xticks(x, [label for label, _ in shown], rotation=40, ha="right", fontsize=7)
    say_first(figure, len(shown), total, "schemes")
    return figure


def _encoded(part: xr.Dataset) -> xr.DataArray:
    """Seeds whose states were measured in an eigenplane."""
    return part["plane_states"].notnull().all(["probe", "time", "axis"])


def eigenplane(shown: Shown) -> Figure:
    """States of the last network in the plane of the leading eigenvectors, coloured by the time of day, with the orbit
    under one symbol alone and the fixed points under each; the first seed that has them."""
    figure, panels = panel_grid(len(shown), 3.9, 3.4)
    for panel, (label, part) in zip(panels, shown, strict=True):
        one = part.isel(seed=int(_encoded(part).values.argmax()))
        states, period = one["plane_states"].transpose("axis", "probe", "time").values, int(one["last_period"])
        settled = states[..., period:]
        clock = np.broadcast_to(np.arange(period, period + settled.shape[-1]) % period, settled.shape[1:])
        x, y = settled.reshape(2, -1)
        drawn = panel.scatter(x, y, c=clock.ravel(), s=4, cmap="twilight", rasterized=True)
        symbols = _symbols(part)
        symbol = symbols[int(one["first_bifurcation_symbol"])]
        panel.plot(*one["plane_orbit"].transpose("axis", "orbit_step").values, "k.", markersize=2,
                   label=f"orbit under {symbol} alone")  # fmt: skip
        for marker, at, name in zip(MARKERS, one["plane_fixed_points"].transpose("symbol", "axis").values,
                                    symbols, strict=False):  # fmt: skip
            panel.plot(*at, marker, color="C3", markersize=5, markerfacecolor="none",
                       label=f"fixed point under {name}")  # fmt: skip
        panel.set(title=f"{label}: seed {one['seed'].item()}", xlabel="first axis of the eigenplane", aspect="equal")
        figure.colorbar(drawn, ax=panel, label="time of day (steps)")
    _row_labels(panels, "second axis of the eigenplane")
    _shared_legend(figure, panels)
    return figure


def retraining(shown: Shown) -> Figure:
    """The second task, a row per scheme: share of seeds without a stable fixed point under each symbol alone, period of
    the leading eigenvalue (of seeds whose branch is still there), and accuracy."""
    figure = Figure(figsize=(11.0, 2.0 * len(shown) + 1.0), layout="constrained")
    rows = figure.subplots(len(shown), 3, sharex=True, sharey="col", squeeze=False)
    for (label, part), (left, middle, right) in zip(shown, rows, strict=True):
        begins = int(part["then_from"].max())
        later = part.isel(checkpoint=np.flatnonzero(part["checkpoint"].values >= begins))
        since = later["checkpoint"].values - begins
        for number, symbol in enumerate(_symbols(part)):
            one, colour = later.isel(symbol=number), f"C{number}"
            left.plot(
                since,
                oscillates_under(one).mean("seed"),
                color=colour,
                label=f"under {symbol} alone",
            )
            turning = one["leading_angle"].where(one["leading_angle"] > LEAST_ANGLE)
            period = (2 * np.pi / turning).assign_coords(checkpoint=since)
            _with_band(middle, period, "checkpoint", colour, f"under {symbol} alone")
        accuracy = part["td_accuracy"].isel(iteration=slice(begins, None))
        accuracy = accuracy.assign_coords(iteration=np.arange(accuracy.sizes["iteration"]))
        _with_band(right, accuracy, "iteration", "0.3", "time-dependent symbols")
        middle.axhline(last_clock(part), color="0.4", linewidth=0.8, label="period of the second task")
        base = float(part["then_td_base_accuracy"].max())
        right.axhline(base, color="0.5", linewidth=0.8, linestyle=":", label="best without time")
        left.set(ylabel=label, ylim=(-0.05, 1.05))
        middle.set(yscale="log")
    titles = ("share of seeds without a stable fixed point", "period of the leading eigenvalue (steps)",
              "fraction correct (training batch)")  # fmt: skip
    for title, top, bottom in zip(titles, rows[0], rows[-1], strict=True):
        top.set_title(title)
        bottom.set_xlabel("updates of the second task")
    _shared_legend(figure, [*rows[0]])
    return figure


def oscillator(shown: Shown) -> Figure:
    """Gradient flow of ``exp((mu + i omega) t)`` that learns ``exp(i omega* t)``, and on it the networks' leading
    eigenvalues through training; a path per seed, from its first complex eigenvalue."""
    figure, panels = panel_grid(len(shown), 4.2, 3.6)
    for panel, (label, part) in zip(panels, shown, strict=True):
        symbol = first_symbol(part)
        period, length = last_clock(part), int(parameters(part)["length"])
        target = 2 * np.pi / period
        modulus = part["leading_modulus"].isel(symbol=symbol).transpose("seed", "checkpoint").values
        mu = np.log(np.where(modulus > LEAST_MODULUS, modulus, np.nan))
        omega = part["leading_angle"].isel(symbol=symbol).transpose("seed", "checkpoint").values
        drawn = mu[np.isfinite(mu)]
        low, high = min(drawn.min(initial=-0.4) - 0.1, -0.5), max(drawn.max(initial=0.0) + 0.1, 0.1)
        x, y = np.linspace(low, high, 61), np.linspace(0, min(np.pi, 3 * target), 61)
        along_mu, along_omega = gradient(x, y[:, None], target, min(length, LONGEST))
        size = np.maximum(np.hypot(along_mu, along_omega), np.finfo(float).tiny)  # 0 at the target itself
        panel.streamplot(x, y, -along_mu / size, -along_omega / size, color="0.75", linewidth=0.6, density=1.1,
                         arrowsize=0.7)  # fmt: skip
        for number, (one_mu, one_omega) in enumerate(zip(mu, omega, strict=True)):
            turning = np.where(one_omega > 1e-9, one_omega, np.nan)
            panel.plot(one_mu, turning, color="C0", linewidth=0.8, alpha=0.6, label=_first(number, "networks"))
            panel.plot(one_mu[-1], turning[-1], "o", color="C0", markersize=3, label=_first(number, "their last"))
        panel.plot(0, target, "*", color="C3", markersize=10, label="target")
        panel.axvline(0, color="0.4", linewidth=0.8)
        panel.set(title=f"{label}: period {period}, symbol {_symbols(part)[symbol]}",
                  xlabel="mu: log of leading modulus (per step)", xlim=(low, high), ylim=(0, y[-1]))  # fmt: skip
        panel.legend(loc="upper left", fontsize=7)
    _row_labels(panels, "omega: its argument (rad per step)")
    return figure


def _first(number: int, label: str) -> str:
    return label if number == 0 else "_"


def _with_band(axes: Axes, values: xr.DataArray, along: str, colour: str, label: str) -> None:
    """Every seed thin, their median thick, and the band between quartiles."""
    values = values.transpose("seed", along)
    x = values[along].values
    for curve in values.values:
        axes.plot(x, curve, color=colour, alpha=0.2, linewidth=0.5)
    low, middle, high = quantiles_along(values.values)
    axes.plot(x, middle, color=colour, label=label)
    axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)


def _row_labels(panels: list[Axes], text: str) -> None:
    for panel in panels[::PANELS_PER_ROW]:
        panel.set_ylabel(text)


def _shared_legend(figure: Figure, panels: list[Axes]) -> None:
    by_label = {text: line for panel in panels for line, text in zip(*panel.get_legend_handles_labels(), strict=True)}
    figure.legend(by_label.values(), by_label.keys(), loc="outside lower center", ncols=3, fontsize=8)
