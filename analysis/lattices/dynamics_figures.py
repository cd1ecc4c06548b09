"""Figures of what lattices do in the end: autocorrelation, twins that part, and periods of rings."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from isophase.analysis.drawing import MAX_CURVES, coloured, first_schemes, legend, logarithmic, panel_grid

SATURATED = np.pi / np.sqrt(3)  # rad; root mean square difference of phases that know nothing of each other


def autocorrelation(summary: xr.Dataset) -> Figure:
    """Autocorrelation of the phases against lag with its band of one standard error, a curve per scheme."""
    figure, (panel,) = panel_grid(1, 5.2, 3.4)
    for colour, (label, part) in coloured(figure, summary):
        mean, error = part["autocorrelation"].values, part["autocorrelation_error"].values
        panel.plot(part["lag"], mean, color=colour, label=label)
        panel.fill_between(part["lag"].values, mean - error, mean + error, color=colour, alpha=0.2, linewidth=0)
    panel.axhline(np.exp(-1), color="0.5", linewidth=0.8, linestyle=":", label="1/e")
    panel.set(xlabel="lag (tau)", ylabel="autocorrelation of the phases", ylim=(0, 1.02))
    legend(panel)
    return figure


def twins(summary: xr.Dataset) -> Figure:
    """Difference of twins against the time since the kick, a panel per scheme.

    Mean over twins and seeds (line) and all that they span (band); of the geometric mean over rings (dotted); the
    fitted exponent over the mean range of the fits (dashed).
    """
    chosen = first_schemes(figure := Figure(), summary, "", MAX_CURVES)
    said = figure.get_suptitle()
    figure, panels = panel_grid(len(chosen), 3.1, 2.6, sharex=True, sharey=True)
    figure.suptitle(said, fontsize=9)
    for panel, (label, part) in zip(panels, chosen, strict=True):
        lag, mean = part["lag"].values, part["separation"].values
        low, high = part["separation_low"].values, part["separation_high"].values
        panel.fill_between(lag, low, high, color="C0", alpha=0.2, linewidth=0)
        panel.plot(lag, mean, color="C0", label="root mean square over rings")
        panel.plot(lag, part["separation_typical"], color="C2", linestyle=":", label="geometric mean over rings")
        exponent, start, end = (float(part[name]) for name in ("lyapunov_exponent", "fit_start", "fit_end"))
        inside = (lag >= start) & (lag <= end) & (mean > 0)
        if inside.any():
            middle = lag[inside].mean()
            height = np.exp(np.log(mean[inside]).mean())
            panel.plot(lag[inside], height * np.exp(exponent * (lag[inside] - middle)), color="C3", linestyle="--",
                       label="fitted exponent")  # fmt: skip
        panel.axhline(SATURATED, color="0.5", linewidth=0.8)
        panel.set(title=label)
        logarithmic(panel, "y")
    for number, panel in enumerate(panels):
        if number % 3 == 0:
            panel.set_ylabel("difference of phase (rad)")
        if number + 3 >= len(panels):
            panel.set_xlabel("time since the kick (tau)")
            panel.tick_params(labelbottom=True)
    by_label = {text: line for panel in panels for line, text in zip(*panel.get_legend_handles_labels(), strict=True)}
    figure.legend(by_label.values(), by_label.keys(), loc="outside lower center", ncols=3)
    return figure


def periods(summary: xr.Dataset) -> Figure:
    """Share of the rings with a period in each bin of 1 %, mean over seeds, a curve per scheme."""
    figure, (panel,) = panel_grid(1, 5.2, 3.4)
    some = np.zeros(summary.sizes["period_bin"], bool)
    for colour, (label, part) in coloured(figure, summary):
        share = part["period_share"].values
        some |= share > 0
        panel.step(part["period_bin"], np.where(share > 0, share, np.nan), where="mid", color=colour, label=label)
        panel.plot(part["period_bin"], np.where(share > 0, share, np.nan), ".", markersize=3, color=colour)
    if some.any():
        shown = summary["period_bin"].values[some]
        panel.set_xlim(0.97 * shown.min(), 1.03 * shown.max())
    panel.set(xlabel="period of a ring (tau)", ylabel="share of rings per 1 %")
    logarithmic(panel, "y")
    legend(panel)
    return figure
