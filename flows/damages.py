"""What is lost or damaged in a store, as lines for people: the group, the point, the file, and what mends it."""

import sys
from collections.abc import Sequence

from isophase.sweeps.store import Damage, SweepStore

MOST_LINES = 20


def say(store: str, results: SweepStore, damages: Sequence[Damage]) -> None:
    """Say on standard error what is lost of finished points, and which command has them run again."""
    if not damages:
        return
    for line in lines(results, damages):
        print(line, file=sys.stderr)
    n = n_points(damages)
    print(
        f"{n:,} finished points are lost; `isophase verify {store} --repair` sets them to be run again", file=sys.stderr
    )


def lines(results: SweepStore | None, damages: Sequence[Damage]) -> list[str]:
    """A line for each of the first ``MOST_LINES`` damages, and one for the number of the others."""
    shown = [f"damaged: {_place(results, damage)}{damage.file} {damage.what}" for damage in damages[:MOST_LINES]]
    more = len(damages) - MOST_LINES
    return [*shown, f"damaged: {more:,} files more"] if more > 0 else shown


def _place(results: SweepStore | None, damage: Damage) -> str:
    if results is None or damage.group not in results.groups or not damage.points:
        return ""
    axes = results.groups[damage.group].group.axes
    label = ", ".join(f"{axis.name}={axis.labels[i]}" for axis, i in zip(axes, damage.points[0], strict=True))
    more = f" and {len(damage.points) - 1:,} points more" if len(damage.points) > 1 else ""
    return f"{damage.group}: {label or 'its one point'}{more}: "


def n_points(damages: Sequence[Damage]) -> int:
    """Number of different points."""
    return len({(damage.group, point) for damage in damages for point in damage.points})
