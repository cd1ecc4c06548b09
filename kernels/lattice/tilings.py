"""Tilings of the plane by rings, and which neurons the rings share on them.

Owns the geometry (tiles, sides, corners, who meets whom) and the check of a sharing scheme; the graph of neurons that
follows from it is built in ``network``. Tiles are numbered row by row, ``tile = row * cols + col``, row 0 on top.
Sides are numbered counter-clockwise, and corner ``k`` of a tile is where its side ``k`` starts when it is travelled
counter-clockwise.
"""

import math
from typing import Any

import numpy as np

SIDES = {"chain": 2, "triangular": 3, "square": 4, "hexagonal": 6}
SHARINGS = ("side", "corner", "none", "weak")
ORIENTATIONS = ("co", "counter")
COMBINES = ("sum", "mean")
BOUNDARIES = ("periodic", "open")
MAX_INT32 = np.iinfo(np.int32).max
BLOCK = 2**16  # items of a large array that are taken at a time, where their numbers would be copied to int64

# Across each side of a tile, counter-clockwise from the right: step in row and in column to the neighbour, and which
# of the neighbour's sides it is. Triangles with row + col even (the first entry) point up, their base on the row below.
# No side is side 0 of both its tiles, so that with shared sides every ring has a slot 0, and a phase, of its own.
ACROSS = {
    "chain": (((0, 1, 1), (0, -1, 0)),),
    "triangular": (((0, 1, 2), (0, -1, 0), (1, 0, 1)), ((0, 1, 1), (-1, 0, 2), (0, -1, 0))),
    "square": (((0, 1, 2), (-1, 0, 3), (0, -1, 0), (1, 0, 1)),),
    "hexagonal": (((0, 1, 3), (-1, 1, 4), (-1, 0, 5), (0, -1, 0), (1, -1, 1), (1, 0, 2)),),
}
TILES_PER_CORNER = {"triangular": 6, "square": 4, "hexagonal": 3}


def check_scheme(
    tiling: str = "square",
    *,
    rows: int,
    cols: int,
    sharing: str = "side",
    shared: int = 1,
    private: int = 1,
    orientation: str = "co",
    combine: str = "sum",
    boundary: str = "periodic",
    coupling: float = 0.1,
) -> None:
    """Refuse a sharing scheme that no lattice has; takes the arguments of ``Network.lattice`` and builds nothing.

    Raises ValueError with the argument's name, its value, the reason and what is allowed.
    """
    _check_name("tiling", tiling, tuple(SIDES))
    _check_name("sharing", sharing, SHARINGS)
    _check_name("orientation", orientation, ORIENTATIONS)
    _check_name("combine", combine, COMBINES)
    _check_name("boundary", boundary, BOUNDARIES)
    _check_whole("shared", shared, 1 if sharing in ("side", "corner") else 0)
    _check_whole("private", private, 0)
    if sharing == "corner" and shared != 1:
        raise ValueError(f"shared={shared}: must be 1 for sharing='corner', one neuron sits at each corner")
    if shared + private == 0:
        raise ValueError(
            f"shared={shared}, private={private}: together must be >= 1, a ring has one neuron or more per side"
        )
    if not (isinstance(coupling, int | float | np.number) and math.isfinite(coupling) and coupling >= 0):
        raise ValueError(f"coupling={coupling!r}: must be finite and >= 0")
    # Uncoupled rings have no neighbours that a small periodic lattice could confuse.
    check_tiles(tiling, rows, cols, "open" if sharing == "none" else boundary)
    if sharing == "corner" and tiling == "triangular" and boundary == "periodic" and cols < 4:
        raise ValueError(
            f"cols={cols}: must be >= 4 for sharing='corner' on a periodic triangular tiling, "
            "so that the six tiles round a corner are different rings"
        )
    if orientation == "counter":
        if tiling == "hexagonal":
            raise ValueError(
                "orientation='counter': must be 'co' for tiling='hexagonal', whose tiles do not two-colour "
                "(three meet at every corner)"
            )
        for name, side in (("rows", rows if tiling != "chain" else 2), ("cols", cols)):
            if boundary == "periodic" and side % 2:
                raise ValueError(
                    f"{name}={side}: must be even for orientation='counter' on periodic boundaries, "
                    "so that the tiles two-colour"
                )
    slots = int(rows) * int(cols) * SIDES[tiling] * (int(shared) + int(private))
    if slots > MAX_INT32:
        raise ValueError(f"rows={rows}, cols={cols}: {slots} slots of rings, must be at most {MAX_INT32} (int32)")


def check_tiles(tiling: str, rows: int, cols: int, boundary: str) -> None:
    """Refuse a lattice of tiles that does not exist, or where a tile would be its own neighbour; ValueError by name."""
    _check_name("tiling", tiling, tuple(SIDES))
    _check_name("boundary", boundary, BOUNDARIES)
    _check_whole("rows", rows, 1)
    _check_whole("cols", cols, 1)
    if tiling == "chain" and rows != 1:
        raise ValueError(f"rows={rows}: must be 1 for tiling='chain'")
    if boundary == "open":
        return
    for name, side in (("rows", rows if tiling != "chain" else 2), ("cols", cols)):
        if tiling == "triangular" and side % 2:
            raise ValueError(
                f"{name}={side}: must be even for tiling='triangular' on periodic boundaries, "
                "so that triangles pointing up meet triangles pointing down"
            )
        if side < 2:
            raise ValueError(
                f"{name}={side}: must be >= 2 on periodic boundaries, so that no ring is its own neighbour"
            )


def _check_name(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if not (isinstance(value, str) and value in allowed):
        raise ValueError(f"{name}={value!r}: must be one of {', '.join(allowed)}")


def _check_whole(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name}={value!r}: must be a whole number >= {least}")


def lattice_rings(
    tiling: str = "square",
    *,
    rows: int,
    cols: int,
    sharing: str = "side",
    shared: int = 1,
    private: int = 1,
    orientation: str = "co",
    boundary: str = "periodic",
) -> np.ndarray:
    """Rings of a lattice: neurons in the order of travel, int32 [ring, slot], ``slot < sides * (shared + private)``.

    A ring is travelled side by side, on each side the shared neurons first and then the private ones. It turns
    counter-clockwise and starts on side 0 (to the right); with ``orientation='counter'`` the rings with row + col odd
    turn clockwise, starting on side 0 too. Two rings that turn the same way run over their common side in opposite
    directions, two that turn in opposite ways in the same direction. At corners the shared neuron of side ``k``
    is that of the corner where the side starts, counter-clockwise. Tiles of a chain meet in single points: there
    ``corner`` is the same as ``side`` with ``shared=1``. A triangular tiling has half as many corners as tiles: with
    ``corner`` the neuron of each is slot 0 of two rings, which therefore have the same phase.

    Neurons are numbered by their first appearance, ring after ring. On open boundaries a side or corner at the rim
    belongs to fewer rings, and the rings keep their size. A scheme is assumed to have passed :func:`check_scheme`.
    """
    n_tiles, n_sides, per_side = rows * cols, SIDES[tiling], shared + private
    size = n_sides * per_side
    slot = np.arange(n_tiles * size, dtype=np.int32).reshape(n_tiles, n_sides, per_side)
    if sharing in ("none", "weak"):
        return slot.reshape(n_tiles, size)
    at_corner = sharing == "corner" and tiling != "chain"
    meeting = (
        _corner_meetings(tiling, rows, cols, boundary) if at_corner else _side_meetings(tiling, rows, cols, boundary)
    )
    owner_tile, owner_side = np.divmod(np.where(meeting < 0, meeting[:, :1], meeting).min(axis=1), n_sides)
    along = np.arange(shared, dtype=np.int32)
    backwards = (
        -np.arange(n_sides, dtype=np.int32) % n_sides
    )  # the order in which a clockwise ring travels its sides; its own inverse
    clockwise = np.zeros(n_tiles, bool)
    if orientation == "counter":
        clockwise = np.add(*np.divmod(np.arange(n_tiles), cols)) % 2 == 1
    owner_side = np.where(clockwise[owner_tile], backwards[owner_side], owner_side)
    first = (owner_tile * size + owner_side * per_side).reshape(n_tiles, n_sides)
    first[clockwise] = first[clockwise][:, backwards]
    # The same neuron as the slot itself, in the lowest ring that has it.
    place = slot.copy()
    place[:, :, :shared] = first[:, :, None] + along
    if orientation == "co":
        other = first != slot[:, :, 0]
        place[:, :, :shared][other] = first[other][:, None] + along[::-1]
    number = np.cumsum(place == slot, dtype=np.int32)
    number -= 1
    for start in range(0, n_tiles, BLOCK):
        place[start : start + BLOCK] = number[place[start : start + BLOCK]]
    return place.reshape(n_tiles, size)


def ring_neighbours(tiling: str, rows: int, cols: int, boundary: str) -> np.ndarray:
    """Pairs of tiles that share a side, int64 [pair, 2], lower tile first, sorted.

    Each pair is listed once, also where two tiles meet along more than one side (periodic lattices 2 tiles wide).
    Raises ValueError as :func:`check_tiles`.
    """
    check_tiles(tiling, rows, cols, boundary)
    pairs = _side_meetings(tiling, rows, cols, boundary).astype(np.int64) // SIDES[tiling]
    pairs = pairs[pairs[:, 0] < pairs[:, 1]]
    return np.stack(np.divmod(np.unique(pairs[:, 0] * (rows * cols) + pairs[:, 1]), rows * cols), axis=1)


def plaquettes(tiling: str, rows: int, cols: int, boundary: str) -> np.ndarray:
    """Rings round every corner where all tiles meet (square 4, hexagonal 3, triangular 6), int64 [plaquette, ring].

    Counter-clockwise (row 0 on top), from the ring with the lowest number. Corners at an open rim have none, and
    neither has a chain: shape (0, 0). On periodic lattices that are 2 tiles wide a ring can come twice round a
    corner. Raises ValueError as :func:`check_tiles`.
    """
    check_tiles(tiling, rows, cols, boundary)
    if tiling == "chain":
        return np.empty((0, 0), np.int64)
    meeting = _corner_meetings(tiling, rows, cols, boundary)
    return meeting[meeting[:, 0] == meeting.min(axis=1)].astype(np.int64) // SIDES[tiling]


def tile_centres(tiling: str, rows: int, cols: int) -> np.ndarray:
    """Positions (x, y) of the tiles, float [tile, 2], in units of the distance between neighbouring tiles.

    x grows with the column and y falls with the row. Rows of a hexagonal tiling are shifted by half a tile each
    (axial coordinates), so its periodic lattice is a parallelogram.
    """
    _check_name("tiling", tiling, tuple(SIDES))
    row, col = np.divmod(np.arange(rows * cols), cols)
    if tiling == "hexagonal":
        x, y = col + 0.5 * row, -math.sqrt(0.75) * row
    elif tiling == "triangular":
        x, y = math.sqrt(0.75) * col, 0.5 * ((row + col) % 2) - 1.5 * row
    else:
        x, y = 1.0 * col, -1.0 * row
    return np.stack([x, y], axis=1)


def _side_meetings(tiling: str, rows: int, cols: int, boundary: str) -> np.ndarray:
    """[tile * sides + side, 2]: the side itself and the same side as the neighbour numbers it; -1 beyond the rim."""
    return _meetings(tiling, rows, cols, boundary, corners=False)


def _corner_meetings(tiling: str, rows: int, cols: int, boundary: str) -> np.ndarray:
    """[tile * sides + corner, tiles per corner]: the corner as each tile round it numbers it, counter-clockwise."""
    return _meetings(tiling, rows, cols, boundary, corners=True)


def _meetings(tiling: str, rows: int, cols: int, boundary: str, corners: bool) -> np.ndarray:
    # An open lattice is a window on a periodic one that is so much larger that the window's rims do not meet.
    height = rows if boundary == "periodic" or tiling == "chain" else rows + 2 + rows % 2
    width = cols if boundary == "periodic" else cols + 2 + cols % 2
    n_sides = SIDES[tiling]
    integer: Any = np.int32 if height * width * n_sides <= MAX_INT32 else np.int64
    row, col = np.divmod(np.arange(height * width, dtype=integer), width)
    kinds = np.array(ACROSS[tiling], np.int8)
    down, right, facing = np.moveaxis(kinds[(row + col) % len(kinds)], -1, 0)
    neighbour = (row[:, None] + down) % height * width + (col[:, None] + right) % width
    across = neighbour * n_sides + facing
    if corners:
        # Corner k ends side k - 1; the tile across that side is the next round the corner, and starts its side there.
        across = np.roll(across, 1, axis=1)
    inside = np.flatnonzero((row < rows) & (col < cols)).astype(integer)
    meeting = np.empty((len(inside) * n_sides, TILES_PER_CORNER[tiling] if corners else 2), integer)
    meeting[:, 0] = (inside[:, None] * n_sides + np.arange(n_sides, dtype=integer)).ravel()
    for k in range(1, meeting.shape[1]):
        meeting[:, k] = across.ravel()[meeting[:, k - 1]]
    if boundary == "open":
        number = np.full(height * width, -1, integer)
        number[inside] = np.arange(len(inside))
        tile, side = np.divmod(meeting, n_sides)
        meeting = np.where(number[tile] < 0, -1, number[tile] * n_sides + side)
    return meeting
