"""Write the tables, numbers and figures of docs/lattices.md from the stores of the lattice presets.

make docs          # runs what is missing of the presets (an hour on 2 cores), then this
python docs/lattices.py [FOLDER OF STORES]     # default results

The text is written by hand. What stands between ``<!-- NAME -->`` and ``<!-- /NAME -->`` is written here, and so are
the figures that the page shows. Its last line holds a fingerprint of all that its numbers come from: the presets, and
the code of kernels, measurements and seeds but for comments and docstrings. ``tests/test_docs.py`` compares it: a
change of any of them without ``make docs`` fails.
"""

import ast
import hashlib
import io
import math
import re
import sys
import tokenize
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import isophase
from isophase.analysis.drawing import drawn, style
from isophase.analysis.lattices import figures as plots
from isophase.analysis.schemes import schemes
from isophase.analysis.statistics import student, wilson
from isophase.analysis.tables import Table, with_error
from isophase.flows.formats import of_markdown
from isophase.flows.report import report_of
from isophase.sweeps.sweep import load

ROOT = Path(__file__).parent.parent
PAGE, FIGURES = ROOT / "docs" / "lattices.md", ROOT / "docs" / "figures"
PRESETS = (
    "quickstart",
    "growth",
    "domains",
    "sharing",
    "slots",
    "delay",
    "kuramoto",
    "orbits",
    "dynamics",
    "fronts",
    "nucleus",
)
SHOWN = ("figures", "report", "drawing", "tables", "names")  # of analysis: how numbers look is not what they are
SOURCES = ("kernels/lattice", "kernels", "analysis/lattices", "analysis", "sweeps/kinds", "sweeps")
NETWORKS = ("rnn", "automata", "training", "flipflop", "function", "over_seeds", "fonts", "base")
DPI = 80
MARK = re.compile(r"<!-- (?P<name>[\w-]+) -->(?P<body>.*?)<!-- /(?P=name) -->", re.DOTALL)
MADE_OF = re.compile(r"<!-- made of ([0-9a-f]{64}) -->")


def fingerprint() -> str:
    """Of presets and code that the numbers come from; comments, docstrings and how a line is broken do not count."""
    digest = hashlib.sha256()
    for folder in SOURCES:
        for path in sorted((ROOT / folder).glob("*.py")):
            if not any(part in path.stem for part in (*SHOWN, *NETWORKS)):
                digest.update(f"{folder}/{path.name}\n{_code(path)}".encode())
    for name in PRESETS:
        definition = load(name).definition()
        digest.update(f"{name} {[definition[key] for key in ('kind', 'seed', 'axes', 'fixed', 'record')]}".encode())
    return digest.hexdigest()


def _code(path: Path) -> str:
    """The text of a module without docstrings, comments and space, the same whichever Python reads it."""
    text = path.read_text(encoding="utf-8")
    lines = [list(line) for line in text.splitlines(keepends=True)]
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            for number in range(body[0].lineno - 1, body[0].end_lineno or 0):
                lines[number] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and lines[token.start[0] - 1]:
            del lines[token.start[0] - 1][token.start[1] :]
    return "".join("".join(map("".join, lines)).split())


class Stores:
    """Reduced stores of the presets in a folder, by name."""

    def __init__(self, folder: Path):
        self.folder = folder

    def table(self, preset: str, key: str) -> Table:
        return report_of(self.folder / f"{preset}.zarr").tables[key]

    def draw(self, preset: str, name: str) -> Figure:
        return report_of(self.folder / f"{preset}.zarr").figures[name]()

    def tree(self, preset: str) -> xr.DataTree:
        return isophase.open(self.folder / f"{preset}.zarr")

    def parts(self, preset: str, group: str) -> dict[str, xr.Dataset]:
        """The schemes of a group's summary by their labels."""
        return dict(schemes(self.tree(preset)[f"summary/{group}"].to_dataset().load()))


def in_markdown(headings: list[str], rows: list[list[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def chosen(table: Table, keys: dict[str, str], where: Callable[[dict[str, str]], bool] = lambda row: True) -> str:
    """Some columns of a table, by key with another heading, and the rows of it that are wanted."""
    names = [column.key for column in table.columns]
    rows = [dict(zip(names, map(of_markdown, texts), strict=True)) for texts in table.texts()]
    return in_markdown(list(keys.values()), [[row[key] for key in keys] for row in rows if where(row)])


def number(part: xr.Dataset, name: str) -> str:
    return with_error(float(part[name]), float(part[f"{name}_error"]))


def both_errors(part: xr.Dataset, name: str = "xi_inf") -> str:
    """``2.07 ± 0.01 ± 0.12``: statistical, systematic; a lower bound, or what there is instead."""
    value, error, systematic = (float(part[f"{name}{end}"]) for end in ("", "_error", "_systematic"))
    if math.isnan(value):
        bound = float(part["xi_inf_lower_bound"])
        return f"> {bound:g}" if bound == bound else _meaning(part["state"])
    return f"{with_error(value, error)} ± {systematic:.2g}"


def _meaning(variable: xr.DataArray) -> str:
    return str(variable.attrs["flag_meanings"].split()[int(variable)]).replace("_", " ")


SIDES = {"private 0": "1 + 0", "private 1": "1 + 1", "private 2": "1 + 2"}


def growth(stores: Stores) -> str:
    rows = []
    for side in (128, 256, 512):
        for label, part in stores.parts("growth", f"square-{side}").items():
            first, last = (number(part.isel(time=at), "xi") for at in (0, -1))
            if _meaning(part["state"]) == "waves" or not last:
                last = "waves"
            rows.append([SIDES[label], str(side), first, last, _exponent(part), _meaning(part["growth_state"])])
    rows.sort(key=lambda row: row[0])
    return in_markdown(["scheme", "L", "xi at t = 10", "xi at t = 600", "exponent", "the window is"], rows)


def _exponent(part: xr.Dataset) -> str:
    if math.isnan(float(part["growth_exponent"])):
        return ""
    low, high = (float(part[f"growth_exponent_{end}"]) for end in ("low", "high"))
    systematic = float(part["growth_exponent_systematic"])
    return f"{number(part, 'growth_exponent')} ± {systematic:.2g} (95 %: {low:.3f} to {high:.3f})"


def domains(stores: Stores) -> str:
    rows = []
    parts = stores.parts("domains", "square-96")
    for private, name in SIDES.items():
        part = parts[f"{private}, pulse"]
        first, last = part.isel(time=0), part.isel(time=-1)
        walls = [number(of, "boundary_density") for of in (first, last)]
        vortices = [number(of, "defects") for of in (first, last)]
        rows.append([name, *walls, number(last, "largest_domain"), *vortices, number(last, "local_order")])
    at = f"t = {float(part['time'][-1]):.0f}"
    headings = ["scheme", "pairs out of phase, t = 10", at, "largest domain", "defects per plaquette, t = 10", at,
                "order of a ring and its neighbours"]  # fmt: skip
    return in_markdown(headings, rows)


def orders(stores: Stores) -> str:
    keys = {"scheme": "scheme", "in_phase": "rings in phase", "anti_phase": "in anti-phase",
            "walls_between": "pairs between the two", "walls_in_phase": "walls in phase",
            "walls_anti_phase": "walls in anti-phase", "staggered": "staggered C(1)",
            "doubled": "C(L/4) of 2 theta"}  # fmt: skip
    return chosen(stores.table("domains", "orders"), keys, lambda row: "pulse" in row["scheme"])


def half_planes(stores: Stores) -> str:
    """Shares of seeds whose |C| at half of the lattice exceeds 1/e in the end, with Wilson's intervals."""
    rows = []
    for label, part in stores.parts("domains", "square-96").items():
        private, initial = label.split(", ")
        each = part["correlation_of_seed"].isel(time=-1, distance=-1).values
        ordered, seeds = int((each > math.exp(-1)).sum()), len(each)
        low, high = wilson(ordered, seeds)
        rows.append([initial.replace("_", " "), SIDES[private], f"{ordered} of {seeds} ({low:.0%} to {high:.0%})"])
    rows.sort(key=lambda row: row[0] == "pulse")
    return in_markdown(["started from", "scheme", "ordered through the lattice in the end (95 %)"], rows)


def sharing(stores: Stores) -> str:
    tiled = stores.tree("sharing")["summary"]
    by_side: dict[str, dict[str, xr.Dataset]] = {}
    for group in (name for name in tiled.children if not name.startswith("finite")):
        for label, part in stores.parts("sharing", group).items():
            by_side.setdefault(label, {})[group.rpartition("-")[2]] = part
    rows = []
    for label in load("sharing").definition()["axes"][-1]["labels"]:
        small, large = by_side[label]["64"], by_side[label]["96"]
        state = "delay-limited" if bool(large["delay_limited"]) else _meaning(large["state"])
        tell = float(large["seeds_to_tell"])
        rows.append([label, both_errors(small), both_errors(large), state, "" if math.isnan(tell) else f"{tell:.0f}"])
    return in_markdown(["scheme", "xi, L = 64", "xi, L = 96", "state at L = 96", "seeds that would tell"], rows)


def sizes(stores: Stores) -> str:
    keys = {"scheme": "scheme", "xi_infinite": "xi of L to infinity", "slope": "slope", "verdict": "verdict"}
    return chosen(stores.table("sharing", "finite-size"), keys, lambda row: row["xi_infinite"] != "not defined")


def sharing_waves(stores: Stores) -> str:
    keys = {"scheme": "scheme", "group": "lattice", "wavelength": "wavelength", "coherence_length": "coherence length",
            "spirals": "spirals in the lattice", "time": "at t ="}  # fmt: skip
    found = []
    for preset in ("sharing", "growth"):
        tables = report_of(stores.folder / f"{preset}.zarr").tables
        if "waves" in tables:
            found.append(f"`{preset}`:\n\n{chosen(tables['waves'], keys)}")
    return "\n\n".join(found) or "No scheme has waves in all of its seeds."


def slots(stores: Stores) -> str:
    keys = {"scheme": "scheme", "reference": "less", "difference": "difference of xi", "low": "95 % from", "high": "to"}
    return chosen(stores.table("slots", "differences"), keys)


def delay(stores: Stores) -> str:
    parts = stores.parts("delay", "square-64")
    less = {
        row[0]: (row[3], row[4], row[5], row[6])
        for row in stores.table("delay", "differences").texts()
    }  # fmt: skip
    rows = []
    for label, part in parts.items():
        last = part.isel(time=-1)
        paired = less.get(label, ("", "", "", ""))
        interval = f"{paired[1]} to {paired[2]}" if paired[1] else ""
        rows.append([label, both_errors(part), paired[0], interval, paired[3],
                     number(last, "in_phase"), number(last, "anti_phase")])  # fmt: skip
    headings = ["delay, or dt at delay 0", "xi", "less that at delay 0, paired", "95 %", "its error if unpaired",
                "rings in phase at t = 300", "in anti-phase"]  # fmt: skip
    return in_markdown(headings, rows)


def kuramoto(stores: Stores) -> str:
    rows = []
    columns = [stores.parts("kuramoto", f"square-{side}") for side in (64, 96)]
    for label in columns[0]:
        of = [parts[label] for parts in columns]
        rows.append([label, *(both_errors(part) for part in of), *(_exponent(part) for part in of)])
    of = [stores.parts("sharing", f"square-{side}")["side 1+1"] for side in (64, 96)]
    rows.append(["rings 1 + 1", *(both_errors(part) for part in of), *(_exponent(part) for part in of)])
    return in_markdown(["", "xi, L = 64", "xi, L = 96", "exponent, L = 64", "exponent, L = 96"], rows)


def basins(stores: Stores) -> str:
    """Shares of the numbers of pulses from random states, with Wilson's intervals, where there are any."""
    summary = stores.tree("orbits")["summary/states-128"].to_dataset().load().sel(regime="standard")
    rows = []
    for size in (8, 16):
        ring = summary.sel(ring_size=size)
        for pulses in np.flatnonzero(ring["share"].fillna(0) > 0):
            share, low, high = (float(ring[f"share{end}"][pulses]) for end in ("", "_low", "_high"))
            rows.append([str(size), str(pulses), f"{share:.0%} ({low:.1%} to {high:.1%})"])
    return in_markdown(["neurons", "pulses", "share of 128 random states (95 %)"], rows)


def dynamics(stores: Stores) -> str:
    keys = {
        "scheme": "scheme",
        "state": "state",
        "lyapunov_interval": "exponent per tau, rms (95 %)",
        "lyapunov_exponent_typical": "geometric",
        "n_grew": "seeds of 5 it grows in",
        "autocorrelation_last": "C after 200 tau",
        "autocorrelation_time": "C = 1/e after",
        "periodic": "periodic rings, %",
        "period_mean": "period, tau",
        "common": "rings of one period, %",
    }
    return chosen(stores.table("dynamics", "dynamics-square-48"), keys)


def fronts(stores: Stores) -> str:
    keys = {
        "scheme": "scheme",
        "front_speed": "speed of disorder into order, per tau",
        "front_state": "the patch",
        "patch_state": "it becomes",
        "xi": "xi from pulses",
        "state": "which is",
    }
    return chosen(stores.table("fronts", "fronts-and-scale"), keys)


def sign_and_scale(stores: Stores) -> str:
    table = stores.table("fronts", "sign-and-scale")
    return chosen(table, {column.key: column.title for column in table.columns})


def roughness(stores: Stores) -> str:
    keys = {"scheme": "scheme", "roughness_exponent": "exponent of the roughness"}
    return chosen(
        stores.table("fronts", "fronts"), keys, lambda row: row["roughness_exponent"] not in ("", "no window")
    )


def nuclei(stores: Stores) -> str:
    keys = {"scheme": "scheme", "critical_nucleus": "half of the discs grow at a diameter of", "low": "above",
            "high": "below", "state": "discs"}  # fmt: skip
    return chosen(stores.table("nucleus", "critical-nucleus"), keys)


def coverage(stores: Stores) -> str:
    sys.path.insert(0, str(ROOT))
    from benchmarks.coverage import main as measure

    with redirect_stdout(io.StringIO()) as printed:
        measure()
    return printed.getvalue().strip()


HOLDS, FAILS, OPEN = "**holds**", "**does not hold**", "**cannot be told**"


def claims(stores: Stores) -> str:
    """Every statement of the abstract: a verdict drawn from the number beside it, and the study that shows it."""
    rows = [_grows(stores), *_locks(stores), *_same_orbit(stores), _scale(stores), *_order_of_scales(stores)]
    rows = [[*row[:-1], f"`isophase study {row[-1]}`"] for row in rows]
    return in_markdown(["statement", "verdict", "number ± statistical ± systematic", "command"], rows)


def _grows(stores: Stores) -> list[str]:
    part = stores.parts("growth", "square-512")["private 1"]
    low, high = (float(part[f"growth_exponent_{end}"]) for end in ("low", "high"))
    verdict = HOLDS if low > 0 else FAILS if high < 0 else OPEN
    return ["local correlations grow (1 + 1, L = 512)", verdict, f"xi ~ t^a, a = {_exponent(part)}", "growth"]


def _locks(stores: Stores) -> list[list[str]]:
    rows = []
    parts = stores.parts("domains", "square-96")
    for private, name in SIDES.items():
        last = parts[f"{private}, pulse"].isel(time=-1)
        walls, error = float(last["boundary_density"]), float(last["boundary_density_error"])
        reach = float(student(0.95, np.array(10))) * error
        thin = HOLDS if walls + reach < 0.1 else FAILS if walls - reach > 0.1 else OPEN
        value = f"{with_error(walls, error)} of the pairs are walls; largest domain {number(last, 'largest_domain')}"
        rows.append(
            [f"regions lock, thin boundaries (under a tenth of the pairs) part them ({name})", thin, value, "domains"]
        )
    return rows


def _same_orbit(stores: Stores) -> list[list[str]]:
    verdicts = {"frozen": HOLDS, "periodic": HOLDS, "chaotic": FAILS}
    rows = []
    for label, part in stores.parts("dynamics", "square-48").items():
        state = _meaning(part["dynamics_state"])
        low, high = (float(part[f"lyapunov_exponent_{end}"]) for end in ("low", "high"))
        value = (
            f"{state}: Lyapunov exponent {number(part, 'lyapunov_exponent')} per tau (95 %: {low:.3f} to {high:.3f}), "
            f"{float(part['period_common_fraction']):.0%} of the rings have one period"
        )
        rows.append(
            [f"regions settle to the same periodic orbit ({label})", verdicts.get(state, OPEN), value, "dynamics"]
        )
    return rows


def _scale(stores: Stores) -> list[str]:
    parts = stores.parts("sharing", "square-96")
    half, third = parts["side 1+1"], parts["side 1+2"]
    ratio = float(half["xi_inf"] / third["xi_inf"])
    errors = [
        ratio * math.hypot(*(float(part[name] / part["xi_inf"]) for part in (half, third)))
        for name in ("xi_inf_error", "xi_inf_systematic")
    ]
    verdict = HOLDS if abs(ratio - 1) > 3 * math.hypot(*errors) else OPEN
    value = f"xi of 1 + 1 over xi of 1 + 2 is {with_error(ratio, errors[0])} ± {errors[1]:.2g} at L = 96"
    return ["the final scale depends on how neurons are shared", verdict, value, "sharing"]


def _order_of_scales(stores: Stores) -> list[list[str]]:
    rows = []
    for side in (64, 96):
        parts = stores.parts("sharing", f"square-{side}")
        found = [both_errors(parts[f"side {name}"]) for name in ("1+0", "1+1", "1+2")]
        most = float(parts["side 1+0"]["xi_inf_lower_bound"])
        lengths = [
            most if math.isnan(x := float(parts[f"side {name}"]["xi_inf"])) else x for name in ("1+0", "1+1", "1+2")
        ]
        verdict = OPEN if math.isnan(sum(lengths)) else HOLDS if lengths == sorted(lengths)[::-1] else FAILS
        rows.append([f"the more is shared, the longer it is (L = {side})", verdict, "; ".join(found), "sharing"])
    return rows


BLOCKS: dict[str, Callable[[Stores], str]] = {
    "claims": claims,
    "growth": growth,
    "domains": domains,
    "orders": orders,
    "half-planes": half_planes,
    "dynamics": dynamics,
    "sharing": sharing,
    "sizes": sizes,
    "waves": sharing_waves,
    "slots": slots,
    "fronts": fronts,
    "sign-and-scale": sign_and_scale,
    "nuclei": nuclei,
    "roughness": roughness,
    "delay": delay,
    "kuramoto": kuramoto,
    "basins": basins,
    "coverage": coverage,
}


def waves_of_512(stores: Stores) -> Figure:
    """Of rings of 4."""
    group = stores.tree("growth")["square-512"].to_dataset()
    return drawn(lambda: plots.phase_maps(group.sel(private=[0])))


def phases_from_pulses(stores: Stores) -> Figure:
    group = stores.tree("domains")["square-96"].to_dataset()
    return drawn(lambda: plots.phase_maps(group.sel(initial=["pulse"])))


DRAWN: dict[str, Callable[[Stores], Figure]] = {
    "growth": lambda stores: stores.draw("growth", "growth"),
    "structure": lambda stores: stores.draw("growth", "structure"),
    "phases": phases_from_pulses,
    "sharing": lambda stores: stores.draw("sharing", "steady"),
    "delay": lambda stores: stores.draw("delay", "against-hop"),
    "waves": waves_of_512,
    "orbits": lambda stores: stores.draw("orbits", "orbits-period"),
    "fronts-and-scale": lambda stores: stores.draw("fronts", "fronts-and-scale"),
    "nucleus": lambda stores: stores.draw("nucleus", "nucleus"),
    "roughness": lambda stores: stores.draw("fronts", "roughness"),
    "autocorrelation": lambda stores: stores.draw("dynamics", "autocorrelation-square-48"),
    "twins": lambda stores: stores.draw("dynamics", "twins-square-48"),
}


def write(folder: Path) -> None:
    """Put everything into the page, or raise KeyError for a block or figure that nobody makes."""
    stores, text = Stores(folder), PAGE.read_text(encoding="utf-8")
    for name, draw in DRAWN.items():
        print(f"figure {name}", flush=True)
        figure = draw(stores)
        with style():
            figure.savefig(FIGURES / f"{name}.png", dpi=DPI)

    def filled(match: re.Match[str]) -> str:
        name = match["name"]
        print(f"block {name}", flush=True)
        return f"<!-- {name} -->\n{BLOCKS[name](stores)}\n<!-- /{name} -->"

    text = MARK.sub(filled, text)
    text = MADE_OF.sub(f"<!-- made of {fingerprint()} -->", text)
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "results"))
