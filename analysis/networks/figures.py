"""Figures and table of trained networks: learning, eigenvalues through training, bifurcation beside transition."""

from collections.abc import Iterator, Mapping

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isophase.analysis.drawing import MARKERS, PANELS_PER_ROW, STYLE, panel_grid
from isophase.analysis.networks.attractors import CYCLE
from isophase.analysis.networks.attractors import STATES as ATTRACTORS
from isophase.analysis.networks.automaton_diagram import state_diagram
from isophase.analysis.networks.bifurcations import TYPES
from isophase.analysis.networks.coincidence import OUTCOMES
from isophase.analysis.networks.last_network import task_of
from isophase.analysis.networks.learning_phases import TD_TRANSITION
from isophase.analysis.networks.oscillator import gradient
from isophase.analysis.networks.training import oscillates
from isophase.analysis.schemes import grid_axes, schemes

MAX_PANELS = 12
Rows = tuple[tuple[str, ...], list[tuple[str, ...]]]
LEAST_ANGLE = 2 * np.pi / 1000  # rad per step: a leading eigenvalue that turns less is as good as real
LEAST_MODULUS = 1e-2  # an eigenvalue of a network that forgets at once has no place in the oscillator's plane
LONGEST = 1000  # steps of the oscillator model: longer ones move in the same directions
BAND = (0.25, 0.75)
ITERATION = "iteration (updates)"
PHASE_LINES = {"ti_learned": ("C0", "time-independent learned"), "td_halfway": ("C3", "time: halfway")}


def parts(summaries: Mapping[str, xr.Dataset]) -> Iterator[tuple[str, str, xr.Dataset]]:
    """Label, group and summary of every scheme with a finished seed."""
    for group, summary in summaries.items():
        for label, at in schemes(summary[["n_seeds"]]):
            part = summary.sel({dim: at[dim] for dim in grid_axes(summary[["n_seeds"]])})
            if int(part["n_seeds"]):
                part = part.isel(seed=np.flatnonzero(part["measured"].values == 1))
                own = label != str(summary.attrs.get("kind"))
                several = len(summaries) > 1
                yield f"{group}: {label}" if own and several else label if own else group, group, part


def figures(summaries: Mapping[str, xr.Dataset]) -> dict[str, Figure]:
    """All figures of a reduced ``flipflop`` store, by name."""
    shown = [(label, part) for label, _, part in parts(summaries)]
    drawn = {"learning": learning, "modulus": modulus, "spectrum": spectrum, "coincidence": coincidence}
    found = {name: draw(shown[:MAX_PANELS]) for name, draw in drawn.items()}
    if len(shown) > MAX_PANELS:
        for figure in found.values():
            figure.suptitle(f"the first {MAX_PANELS} of {len(shown)} schemes", fontsize=9)
    if len(shown) > 1:
        found["schemes"] = schemes_compared(shown)
    for name, summary in summaries.items():
        first = summary.isel(dict.fromkeys(grid_axes(summary[["n_seeds"]]), 0))
        found[f"automaton-{name}"] = state_diagram(task_of(first))
    clocks = [(label, part) for label, part in shown if int(part["last_period"].max())]
    encoded = [
        (label, part) for label, part in clocks if "plane_states" in part and np.isfinite(part["plane_states"]).any()
    ]
    if encoded:
        found["eigenplane"] = eigenplane(encoded[:MAX_PANELS])
    retrained = [(label, part) for label, part in clocks if "then_plateau" in part]
    if retrained:
        found["retraining"] = retraining(retrained[:MAX_PANELS])
    if clocks:
        found["oscillator"] = oscillator(clocks[:MAX_PANELS])
    return found


def learning(shown: list[tuple[str, xr.Dataset]]) -> Figure:
    """TI and TD accuracy of every seed, with the medians of the phases; a panel per scheme."""
    with mpl.rc_context(STYLE):
        figure, panels = panel_grid(len(shown), 4.4, 3.0, sharey=True)
        for panel, (label, part) in zip(panels, shown, strict=True):
            iteration = part["iteration"].values
            for name, colour, text in (("ti_accuracy", "C0", "time-independent symbols"),
                                       ("td_accuracy", "C3", "time-dependent symbols")):  # fmt: skip
                for curve in part[name].transpose("seed", "iteration").values:
                    panel.plot(iteration, curve, color=colour, alpha=0.25, linewidth=0.6)
                panel.plot(iteration, part[name].median("seed"), color=colour, label=text)
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


def modulus(shown: list[tuple[str, xr.Dataset]]) -> Figure:
    """Leading modulus at the fixed points under every symbol, and TD accuracy, on one iteration axis."""
    with mpl.rc_context(STYLE):
        figure, panels = panel_grid(len(shown), 4.6, 3.2)
        for panel, (label, part) in zip(panels, shown, strict=True):
            for number, symbol in enumerate(part["symbol"].values):
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
    begins = int(part["then_from"].max())
    if begins < part.sizes["iteration"]:
        panel.axvline(begins, color="0.2", linestyle="--", linewidth=0.9, label="second task begins")


def spectrum(shown: list[tuple[str, xr.Dataset]]) -> Figure:
    """Eigenvalues at the fixed point in the complex plane as training goes: the first seed, the first symbol."""
    with mpl.rc_context(STYLE):
        figure, panels = panel_grid(len(shown), 3.8, 3.4)
        drawn = None
        for panel, (label, part) in zip(panels, shown, strict=True):
            one = part.isel(seed=0, symbol=_time_dependent(part))
            real, imaginary = (
                one[name].transpose("checkpoint", "eigenvalue") for name in ("eigenvalue_real", "eigenvalue_imag")
            )
            checkpoint = np.broadcast_to(one["checkpoint"].values[:, None], real.shape)
            angle = np.linspace(0, 2 * np.pi, 361)
            panel.plot(np.cos(angle), np.sin(angle), color="0.4", linewidth=0.8, label="unit circle")
            drawn = panel.scatter(real, imaginary, c=checkpoint, s=3, cmap="viridis", rasterized=True)
            limit = 1.1 * max(1.0, float(np.nanmax(np.hypot(real, imaginary))))
            panel.set(title=f"{label}: seed {one['seed'].item()}, symbol {one['symbol'].item()}", xlabel="real part",
                      xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")  # fmt: skip
            figure.colorbar(drawn, ax=panel, label=ITERATION)
        panels[0].legend(loc="lower left", fontsize=7)
        _row_labels(panels, "imaginary part")
        return figure


def coincidence(shown: list[tuple[str, xr.Dataset]]) -> Figure:
    """Iteration of the first bifurcation, with its bracket, against that of the transition, a marker per seed."""
    with mpl.rc_context(STYLE):
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


def schemes_compared(shown: list[tuple[str, xr.Dataset]]) -> Figure:
    """Transition, plateau and first bifurcation of every scheme (median, quartiles), and the seeds that learned."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(max(5.0, 0.42 * len(shown) + 2.5), 5.6), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
        x = np.arange(len(shown))
        for number, (name, text) in enumerate((("td_halfway", "halfway"), ("plateau", "plateau"),
                                               ("first_bifurcation", "first bifurcation"))):  # fmt: skip
            quantiles = np.array([_quantiles(part[name]) for _, part in shown]).T
            low, middle, high = quantiles
            upper.errorbar(x + 0.2 * (number - 1), middle, yerr=[middle - low, high - middle], fmt=MARKERS[number],
                           markersize=4, elinewidth=0.9, label=f"{text} (median, quartiles)")  # fmt: skip
        share = np.array([int(part["learned"]) / int(part["n_seeds"]) for _, part in shown])
        low, high = (np.array([float(part[f"learned_{end}"]) for _, part in shown]) for end in ("low", "high"))
        lower.errorbar(x, share, yerr=[share - low, high - share], fmt="s", color="C3", markersize=4, elinewidth=0.9)
        upper.set(ylabel="iteration (updates)")
        upper.legend(fontsize=7, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
        lower.set(ylabel="learned time\n(share, 95 %)", ylim=(-0.05, 1.05))
        lower.set_xticks(x, [label for label, _ in shown], rotation=40, ha="right", fontsize=7)
        return figure


def _quantiles(values: xr.DataArray) -> np.ndarray:
    known = values.values[np.isfinite(values.values)]
    return np.quantile(known, (BAND[0], 0.5, BAND[1])) if known.size else np.full(3, np.nan)


def eigenplane(shown: list[tuple[str, xr.Dataset]]) -> Figure:
    """States of the last network in the plane of the leading eigenvectors, coloured by the time of day, with the orbit
    under one symbol alone and the fixed points under each; first seed."""
    with mpl.rc_context(STYLE):
        figure, panels = panel_grid(len(shown), 3.9, 3.4)
        for panel, (label, part) in zip(panels, shown, strict=True):
            one = part.isel(seed=0)
            states, period = one["plane_states"].transpose("axis", "probe", "time").values, int(one["last_period"])
            settled = states[..., period:]
            clock = np.broadcast_to(np.arange(period, period + settled.shape[-1]) % period, settled.shape[1:])
            x, y = settled.reshape(2, -1)
            drawn = panel.scatter(x, y, c=clock.ravel(), s=4, cmap="twilight", rasterized=True)
            symbol = one["symbol"].values[int(one["first_bifurcation_symbol"])]
            panel.plot(*one["plane_orbit"].transpose("axis", "orbit_step").values, "k.", markersize=2,
                       label=f"orbit under {symbol} alone")  # fmt: skip
            for marker, at, name in zip(MARKERS, one["plane_fixed_points"].transpose("symbol", "axis").values,
                                        one["symbol"].values, strict=False):  # fmt: skip
                panel.plot(*at, marker, color="C3", markersize=5, markerfacecolor="none",
                           label=f"fixed point under {name}")  # fmt: skip
            panel.set(
                title=f"{label}: seed {one['seed'].item()}", xlabel="first axis of the eigenplane", aspect="equal"
            )
            figure.colorbar(drawn, ax=panel, label="time of day (steps)")
        _row_labels(panels, "second axis of the eigenplane")
        _shared_legend(figure, panels)
        return figure


def retraining(shown: list[tuple[str, xr.Dataset]]) -> Figure:
    """The second task, a row per scheme: share of seeds without a stable fixed point under each symbol alone, period of
    the leading eigenvalue (of seeds whose branch is still there), and accuracy."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11.0, 2.0 * len(shown) + 1.0), layout="constrained")
        rows = figure.subplots(len(shown), 3, sharex=True, sharey="col", squeeze=False)
        for (label, part), (left, middle, right) in zip(shown, rows, strict=True):
            begins = int(part["then_from"].max())
            later = part.isel(checkpoint=np.flatnonzero(part["checkpoint"].values >= begins))
            since = later["checkpoint"].values - begins
            for number, symbol in enumerate(part["symbol"].values):
                one, colour = later.isel(symbol=number), f"C{number}"
                left.plot(
                    since,
                    oscillates(one["fixed_points"], one["stable_fixed_points"]).mean("seed"),
                    color=colour,
                    label=f"under {symbol} alone",
                )
                turning = one["leading_angle"].where(one["leading_angle"] > LEAST_ANGLE)
                period = (2 * np.pi / turning).assign_coords(checkpoint=since)
                _with_band(middle, period, "checkpoint", colour, f"under {symbol} alone")
            accuracy = part["td_accuracy"].isel(iteration=slice(begins, None))
            accuracy = accuracy.assign_coords(iteration=np.arange(accuracy.sizes["iteration"]))
            _with_band(right, accuracy, "iteration", "0.3", "time-dependent symbols")
            clock = int(part["last_period"].max())
            middle.axhline(clock, color="0.4", linewidth=0.8, label="period of the second task")
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


def oscillator(shown: list[tuple[str, xr.Dataset]]) -> Figure:
    """Gradient flow of ``exp((mu + i omega) t)`` that learns ``exp(i omega* t)``, and on it the networks' leading
    eigenvalues through training; a path per seed, from its first complex eigenvalue."""
    with mpl.rc_context(STYLE):
        figure, panels = panel_grid(len(shown), 4.2, 3.6)
        for panel, (label, part) in zip(panels, shown, strict=True):
            symbol = _time_dependent(part)
            period, length = int(part["last_period"].max()), int(part["length"])
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
            panel.set(title=f"{label}: period {period}, symbol {part['symbol'].values[symbol]}",
                      xlabel="mu: log of leading modulus (per step)", xlim=(low, high), ylim=(0, y[-1]))  # fmt: skip
            panel.legend(loc="upper left", fontsize=7)
        _row_labels(panels, "omega: its argument (rad per step)")
        return figure


def _first(number: int, label: str) -> str:
    return label if number == 0 else "_"


LEARNING = ("scheme", "seeds", "learned time", "TI learned", "TD leaves base", "TD halfway", "TD 0.75", "TD 0.9",
            "plateau",
            "final TD accuracy (%)")  # fmt: skip
BIFURCATIONS = (
    "scheme", "seeds", "bifurcation", "types", "outcomes", "minus halfway (95 %)", "rank correlation (95 %)",
    "angle P / 2 pi", "modulus at halfway",
)  # fmt: skip
TIMES = (
    "scheme", "seeds", "attractors under a symbol alone", "under all in turn", "TD accuracy, 3 of n dims (%)",
    "angle and clock: correlation", "second stable null point", "distance and steps: correlation",
    "probe of elapsed steps: R2", "error (steps)",
)  # fmt: skip
ENTRAINED = ("entrained", *ATTRACTORS[1:])  # a fixed point of the map over a word has the input's period
RETRAINING = ("scheme", "seeds", "oscillate before", "stop", "by checkpoint", "oscillate again", "by checkpoint",
              "learned second task", "halfway", "oscillate at the end")  # fmt: skip
PHASES = ("ti_learned", "td_leaves_base", "td_halfway", "td_transition", "td_learned", "plateau")


def learning_rows(summaries: Mapping[str, xr.Dataset]) -> Rows:
    """Header and lines of the table of learning phases, one line for each scheme: medians over seeds (quartiles).

    ``learned time``: seeds that get four fifths of the way from the base rate to 1 at time-dependent symbols, with
    Wilson's interval of 95 %.
    """
    lines: list[tuple[str, ...]] = []
    for label, _, part in parts(summaries):
        learned = f"{int(part['learned'])} ({_percent(part['learned_low'])} to {_percent(part['learned_high'])} %)"
        phases = [_spread(part[name]) for name in PHASES]
        final = _spread(100 * part["final_td_accuracy"], ".1f")
        lines.append((label, str(int(part["n_seeds"])), learned, *phases, final))
        if "then_td_four_fifths" in part:
            learned = f"{int(np.isfinite(part['then_td_four_fifths']).sum())}"
            lines.append(("  second task", "", learned, *(_spread(part[f"then_{name}"]) for name in PHASES), ""))
        if failed := int(part["n_failed"]):
            lines.append((f"  {failed} seeds failed and are left out", *[""] * (len(LEARNING) - 1)))
    return LEARNING, lines


def bifurcation_rows(summaries: Mapping[str, xr.Dataset]) -> Rows:
    """Header and lines of the table of bifurcations, one line for each scheme.

    ``bifurcation``: median over seeds (quartiles) of the first; ``both``: seeds with it and the transition; then the
    median of its iteration minus the transition's, and Spearman's rank correlation, with bootstrap intervals; the
    argument of the leading eigenvalue of the last network, and its modulus where half is learned. Where several symbols
    have bifurcations, a line for each.
    """
    lines: list[tuple[str, ...]] = []
    for label, _, part in parts(summaries):
        symbol = _time_dependent(part)
        period = part["last_period"].values
        turns = part["leading_angle"].isel(checkpoint=-1) * xr.DataArray(period, dims="seed") / 2 / np.pi
        types, happen = (
            part["bifurcation_type"],
            np.isfinite(part["bifurcation"].transpose("seed", "symbol").values).any(axis=0),
        )

        def angle_and_modulus(number: int, turns: xr.DataArray = turns, part: xr.Dataset = part) -> tuple[str, str]:
            angle = _spread(turns.isel(symbol=number), ".2f") if (part["last_period"] > 0).all() else ""
            return angle, _spread(part["modulus_at_halfway"].isel(symbol=number), ".2f")

        lines.append(
            (
                label,
                str(int(part["n_seeds"])),
                _spread(part["first_bifurcation"]) + _located(part, None),
                _counts(part["first_bifurcation_type"].values, TYPES),
                _counts(part["outcome"].values, OUTCOMES),
                _interval(part, "median_difference", ".1f"),
                _interval(part, "rank_correlation", ".2f"),
                *angle_and_modulus(symbol),
            )
        )
        for number in np.flatnonzero(happen) if happen.sum() > 1 else ():
            one = part.isel(symbol=number)
            place = _spread(one["bifurcation"]) + _located(part, int(number))
            lines.append((f"  under {one['symbol'].item()}", "", place,
                          _counts(types.isel(symbol=number).values, TYPES), "",
                          _interval(one, "symbol_difference", ".1f"), "", *angle_and_modulus(int(number))))  # fmt: skip
    return BIFURCATIONS, lines


def time_rows(summaries: Mapping[str, xr.Dataset]) -> Rows:
    """Header and lines of the table of what the last networks do, one line for each scheme.

    Medians over seeds (quartiles), but means of accuracies.

    ``under all in turn``: the periodic input of ``last_network.LastNetwork.driven``, whose period an entrained network
    takes on. Periodic clock: accuracy of the
    restricted readout beside the full one, and the circular correlation of the angle in the eigenplane with the clock.
    Relative clock: the iteration by which a second stable point of the null symbol is there to stay, and how the steps
    since the last symbol are kept, as rank correlation with the distance to the null point and by a linear probe.
    """
    lines: list[tuple[str, ...]] = []
    for label, _, part in parts(summaries):
        readout = ""
        if "accuracy_restricted" in part and np.isfinite(part["accuracy_restricted"]).any():
            restricted, full = (100 * float(part[f"accuracy_{name}"].mean()) for name in ("restricted", "full"))
            readout = f"{restricted:.2f} ({full:.2f})"
        null = int(part["null_symbol"].max()) if not int(part["last_period"].max()) else -1
        counted = ("counting_rank_correlation", "counting_probe_r2", "counting_probe_error")
        lines.append(
            (
                label,
                str(int(part["n_seeds"])),
                "; ".join(
                    f"{name}: {_counts(part['attractor'].isel(symbol=number).values, ATTRACTORS)}"
                    for number, name in enumerate(part["symbol"].values)
                ),
                _counts(part["driven_attractor"].values, ENTRAINED)
                + _periods(part["driven_period"].values[part["driven_attractor"].values == CYCLE]),
                readout,
                _spread(part["encoding_correlation"], ".2f") if readout else "",
                _spread(part["second_stable"].isel(symbol=null)) if null >= 0 else "",
                *(_spread(part[name], ".2f") if name in part and null >= 0 else "" for name in counted),
            )
        )
    return TIMES, lines


def retraining_rows(summaries: Mapping[str, xr.Dataset]) -> Rows:
    """Header and lines of the table of second tasks of the periodic clock; no line where there is none.

    Seeds that oscillate, without a stable fixed point under the symbol whose fixed point bifurcates first most often;
    those of them that have one in the second task, and by which checkpoint; those without one (again). Updates since it
    began: medians (quartiles).
    """
    lines: list[tuple[str, ...]] = []
    for label, _, part in parts(summaries):
        if "then_plateau" not in part or not int(part["last_period"].max()):
            continue
        one = part.isel(symbol=_time_dependent(part))
        oscillating = oscillates(one["fixed_points"], one["stable_fixed_points"]).transpose("checkpoint", "seed")
        at = int(np.searchsorted(part["checkpoint"].values, int(part["then_from"].max())))
        lost, back = one["then_orbit_lost"], one["then_orbit_returns"]
        lines.append((label, str(int(part["n_seeds"])), str(int(oscillating[at].sum())),
                      str(int(np.isfinite(lost).sum())), _spread(lost), str(int(np.isfinite(back).sum())),
                      _spread(back), str(int(np.isfinite(part["then_td_four_fifths"]).sum())),
                      _spread(part["then_td_halfway"]), str(int(oscillating[-1].sum()))))  # fmt: skip
    return RETRAINING, lines


def _located(part: xr.Dataset, symbol: int | None) -> str:
    """How many bifurcations (of a symbol, else the first ones) were located between two updates, if that was tried."""
    if "refined" not in part:
        return ""
    symbols = part["first_bifurcation_symbol"].astype(int) if symbol is None else symbol
    place = part["first_bifurcation"] if symbol is None else part["bifurcation"].isel(symbol=symbol)
    return f"; {int(part['refined'].isel(symbol=symbols).sum())} of {int(np.isfinite(place).sum())} to the update"


def _periods(periods: np.ndarray) -> str:
    return f" (of {', '.join(str(period) for period in np.unique(periods.astype(int)))} words)" if periods.size else ""


def _counts(kinds: np.ndarray, names: tuple[str, ...]) -> str:
    kinds = kinds[np.isfinite(kinds)]
    often = np.bincount(kinds.astype(int), minlength=len(names))
    return ", ".join(f"{names[i].replace('_', ' ')} {often[i]}" for i in np.argsort(-often, kind="stable") if often[i])


def _interval(part: xr.Dataset, name: str, form: str) -> str:
    middle, low, high = (float(part[f"{name}{suffix}"]) for suffix in ("", "_low", "_high"))
    if not np.isfinite(middle):
        return "cannot tell"
    return (
        f"{middle:{form}} ({low:{form}} to {high:{form}})" if np.isfinite([low, high]).all() else f"{middle:{form}} (?)"
    )


def _percent(fraction: xr.DataArray) -> str:
    return f"{100 * float(fraction):.0f}"


def _spread(values: xr.DataArray, form: str = ".0f") -> str:
    low, middle, high = _quantiles(values)
    if np.isnan(middle):
        return "never"
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"


def _time_dependent(part: xr.Dataset) -> int:
    """The symbol under which the first bifurcation happens most often."""
    return int(np.bincount(part["first_bifurcation_symbol"].values.astype(int)).argmax())


def _with_band(axes: Axes, values: xr.DataArray, along: str, colour: str, label: str) -> None:
    """Every seed thin, their median thick, and the band between quartiles."""
    values = values.transpose("seed", along)
    x = values[along].values
    for curve in values.values:
        axes.plot(x, curve, color=colour, alpha=0.2, linewidth=0.5)
    low, middle, high = np.nanquantile(values.values, (BAND[0], 0.5, BAND[1]), axis=0)
    axes.plot(x, middle, color=colour, label=label)
    axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)


def _row_labels(panels: list[Axes], text: str) -> None:
    for panel in panels[::PANELS_PER_ROW]:
        panel.set_ylabel(text)


def _shared_legend(figure: Figure, panels: list[Axes]) -> None:
    by_label = {text: line for panel in panels for line, text in zip(*panel.get_legend_handles_labels(), strict=True)}
    figure.legend(by_label.values(), by_label.keys(), loc="outside lower center", ncols=3, fontsize=8)
