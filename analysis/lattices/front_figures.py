"""Figures of fronts: their place and roughness in time, their speed beside the selected scale, discs that grow."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.markers import CARETLEFT, CARETUP

from isophase.analysis.drawing import MARKERS, PANELS_PER_ROW, in_legend, legend, logarithmic, panel_grid
from isophase.analysis.lattices.nucleus import Discs, Nucleus
from isophase.analysis.lattices.selection import Selected
from isophase.analysis.schemes import parameters
from isophase.analysis.statistics import wilson
from isophase.analysis.tables import with_error

Panel = Sequence[tuple[str, xr.Dataset]]
CURVES = 5  # in a panel
GROWTH_LAWS = {"KPZ, t^(1/3)": (1 / 3, "--"), "Edwards-Wilkinson, t^(1/4)": (1 / 4, ":")}
AWAY = 0.12  # of the span of speeds: how far left of them those stand that healed before they had one


def in_panels(group: str, parts: Panel) -> dict[str, Panel]:
    """The schemes of a group, ``CURVES`` in each of as few panels as hold them, by their titles."""
    number = math.ceil(len(parts) / CURVES)
    chunks = [parts[at : at + CURVES] for at in range(0, len(parts), CURVES)]
    return {group if number == 1 else f"{group} ({at + 1} of {number})": part for at, part in enumerate(chunks)}


def fronts(panels: Mapping[str, Panel]) -> Figure:
    """Distance of a patch's front from its middle against time, a curve per scheme with its band of one error."""
    figure, axes = panel_grid(len(panels), 4.6, 3.4)
    for panel, (name, parts) in zip(axes, panels.items(), strict=True):
        for number, (label, part) in enumerate(parts):
            speed, error = float(part["front_speed"]), float(part["front_speed_error"])
            law = f": {with_error(speed, error)} per tau" if np.isfinite(speed) else ""
            _curve(panel, part, "front_position", f"C{number}", label + law)
        panel.set(title=name, xlabel="time (tau)", ylabel="front, from the middle of the patch\n(ring spacings)")
        panel.set_ylim(bottom=0)
        legend(panel)
    return figure


def roughness(panels: Mapping[str, Panel]) -> Figure:
    """Width of the fronts of bands against time, beside the laws of KPZ and of Edwards and Wilkinson."""
    figure, axes = panel_grid(len(panels), 4.6, 3.4, sharey=True)
    for panel, (name, parts) in zip(axes, panels.items(), strict=True):
        for number, (label, part) in enumerate(parts):
            beta, error = float(part["roughness_exponent"]), float(part["roughness_exponent_error"])
            law = f": t^({with_error(beta, error)})" if np.isfinite(beta) else ""
            _curve(panel, part, "front_roughness", f"C{number}", label + law)
        widths = [part["front_roughness"].dropna("time") for _, part in parts]
        time = np.concatenate([np.asarray(width["time"], float) for width in widths])
        span = np.array([time.min(), time.max()])
        start = max(float(width[0]) for width in widths)
        for law, (exponent, style) in GROWTH_LAWS.items():
            panel.plot(span, 1.15 * start * (span / span[0]) ** exponent, style, color="0.3", linewidth=1, label=law)
        panel.set(title=name, xlabel="time (tau)")
        logarithmic(panel, "xy")
        legend(panel)
    for panel in axes[::PANELS_PER_ROW]:
        panel.set_ylabel("roughness of the front w\n(ring spacings)")
    return figure


def _curve(panel: Axes, part: xr.Dataset, name: str, colour: Any, label: str) -> None:
    time, value, error = (np.asarray(part[key], float) for key in ("time", name, f"{name}_error"))
    panel.plot(time, value, color=colour, label=in_legend(label))
    panel.fill_between(time, value - error, value + error, color=colour, alpha=0.2, linewidth=0)


def fronts_and_scale(found: Sequence[Selected]) -> Figure:
    """Length from random pulses against the speed at which disorder takes the ordered state, a point per scheme.

    Colour: delay; marker: tiling and orientation; in it: private neurons on a side, of schemes that share as many, else
    both. Arrow up: longer than half of the lattice. Open: waves, at their wavelength. Arrow left: heals, and no speed
    is told.
    """
    figure = Figure(figsize=(8.4, 5.4), layout="constrained")
    axes = figure.add_subplot()
    schemes = [parameters(one.front) for one in found]
    delays = sorted({float(scheme.get("delay", 0.0)) for scheme in schemes})
    forms = list(dict.fromkeys(map(_form, schemes)))
    colours = {delay: mpl.colormaps["viridis"](0.9 * n / max(len(delays) - 1, 1)) for n, delay in enumerate(delays)}
    alike = len({scheme.get("shared") for scheme in schemes}) == 1
    finite = [one.speed for one in found if np.isfinite(one.speed)]
    span = max([*finite, 0.0]) - min([*finite, 0.0]) or 1.0
    left = min([*finite, 0.0]) - AWAY * span
    for one, scheme in zip(found, schemes, strict=True):
        colour, marker = colours[float(scheme.get("delay", 0.0))], MARKERS[forms.index(_form(scheme)) % len(MARKERS)]
        height, error, waves = _height(one)
        if not (np.isfinite(height) and not np.isnan(one.speed)):
            continue
        x = one.speed if np.isfinite(one.speed) else left
        axes.errorbar(x, height, error, one.error if np.isfinite(one.speed) else None, ecolor=colour, capsize=2)
        if one.coherent:
            axes.errorbar(x, height, 0.15 * height, fmt="none", color=colour, ecolor=colour, lolims=True)
        if x == left:
            axes.errorbar(x, height, xerr=0.5 * AWAY * span, fmt="none", color=colour, ecolor=colour, xuplims=True)
        axes.plot(x, height, marker, color=colour, markerfacecolor="none" if waves else colour, markersize=10)
        text = scheme.get("private") if alike else f"{scheme.get('shared')}+{scheme.get('private')}"
        axes.annotate(str(text), (x, height), ha="center", va="center_baseline", fontsize=6.5,
                      color="black" if waves or sum(colour[:3]) > 1.5 else "white")  # fmt: skip
    axes.axvline(0, color="0.5", linewidth=0.8)
    for number, form in enumerate(forms):
        axes.plot([], [], MARKERS[number % len(MARKERS)], color="0.3", label=form)
    for delay, colour in colours.items():
        axes.plot([], [], "-", color=colour, linewidth=4, label=f"delay {delay:g}")
    axes.plot([], [], "o", color="0.3", markerfacecolor="none", label="waves: their wavelength")
    axes.plot([], [], marker=CARETUP, linestyle="none", color="0.3", label="longer than half of the lattice")
    axes.plot([], [], marker=CARETLEFT, linestyle="none", color="0.3", label="heals before it has a speed")
    axes.set(
        xlabel="speed of disorder into the ordered state (ring spacings / tau)",
        title=f"in a marker: {'' if alike else 'shared and '}private neurons on each side of a ring",
        ylabel="correlation length from random pulses\n(ring spacings)",
    )
    logarithmic(axes, "y")
    legend(axes)
    return figure


def _form(scheme: Mapping[str, Any]) -> str:
    return f"{scheme.get('tiling')}{', counter-rotating' if scheme.get('orientation') == 'counter' else ''}"


def _height(one: Selected) -> tuple[float, float | None, bool]:
    """Where a scheme stands: its length, its lower bound, or the wavelength of its waves; its error; whether waves."""
    if one.coherent:
        return float(one.pulses["xi_inf_lower_bound"]), None, False
    if np.isfinite(one.scale):
        return one.scale, float(one.pulses["xi_inf_error"]), False
    waves = np.flatnonzero(one.pulses["waves"] == 1)
    if not waves.size:
        return np.nan, None, False
    last = one.pulses.isel(time=int(waves[-1]))
    return float(last["wavelength"]), float(last["wavelength_error"]), True


def nucleus(groups: Mapping[str, Sequence[Discs]]) -> Figure:
    """Fraction of discs that grow against their diameter, with its 95 % interval, and the bracket of its half."""
    figure, axes = panel_grid(len(groups), 4.6, 3.4, sharey=True)
    for panel, (name, discs) in zip(axes, groups.items(), strict=True):
        for number, one in enumerate(discs):
            known = one.number > 0
            at = one.diameter[known] * 1.02 ** (number - (len(discs) - 1) / 2)  # side by side
            grown, of = one.grown[known], one.number[known]
            fraction = grown / of
            low, high = np.array([wilson(int(k), int(n)) for k, n in zip(grown, of, strict=True)]).reshape(-1, 2).T
            label = in_legend(f"{one.label}: {_told(one.critical())}")
            panel.errorbar(at, fraction, [fraction - low, high - fraction], fmt=f"{MARKERS[number % 8]}-", markersize=4,
                           linewidth=0.8, capsize=2, color=f"C{number}", label=label)  # fmt: skip
        panel.axhline(0.5, color="0.5", linewidth=0.8, linestyle=":")
        panel.set(title=name, xlabel="diameter of the disc (ring spacings)", ylim=(-0.05, 1.05))
        logarithmic(panel, "x")
        legend(panel)
    for panel in axes[::PANELS_PER_ROW]:
        panel.set_ylabel("fraction of discs that grow (95 %)")
    return figure


def _told(found: Nucleus) -> str:
    if found.state == "bracketed":
        return f"half grow at {found.critical:.3g} ({found.low:g} to {found.high:g})"
    if found.state == "one bound":
        return f"half grow above {found.low:g}" if np.isfinite(found.low) else f"half grow below {found.high:g}"
    return found.state
