"""Letters of the user's text that the style's font lacks: installed fonts that have them, and what stands for those
that no font has.
"""

import contextlib
import unicodedata
from functools import cache

from matplotlib import font_manager
from matplotlib.ft2font import FaceFlags, FT2Font

FONT = "DejaVu Sans"  # matplotlib brings it along
BOXES = "Last Resort"  # a font of boxes, which has every letter
REGULAR = (400, "normal", "regular", "book", "roman")
NOT_LETTERS = "\n\r\t"


def lacking(text: str) -> frozenset[str]:
    """The letters of a text that the style's font has not."""
    return frozenset(letter for letter in set(text) - set(NOT_LETTERS) if not _own().get_char_index(ord(letter)))


@cache
def fonts_with(letters: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Names of installed fonts that have some letters, as few as there need be, and the letters that none has."""
    private = {letter for letter in letters if unicodedata.category(letter) == "Co"}  # every font has its own there
    left = set(letters) - private
    has = {name: left & covered for name, covered in _covered(frozenset(left)).items()} if left else {}
    names = []
    while has:
        best = max(has, key=lambda name: len(has[name] & left))  # of equals the first
        if not has[best] & left:
            break
        names.append(best)
        left -= has.pop(best)
    return tuple(names), frozenset(left | private)


def spelled(text: str, letters: frozenset[str]) -> str:
    """A text in which letters stand as their code points, as control characters do in a terminal."""
    return "".join(code_point(letter) if letter in letters else letter for letter in text)


def code_point(letter: str) -> str:
    return f"\\u{ord(letter):04x}" if ord(letter) < 1 << 16 else f"\\U{ord(letter):08x}"


@cache
def _own() -> FT2Font:
    path = font_manager.findfont(FONT)
    return FT2Font(path, face_index=path.face_index)


@cache
def _installed() -> tuple[font_manager.FontEntry, ...]:
    """Fonts of this machine, also those that were installed after matplotlib made its list; plain ones first."""
    known = font_manager.fontManager
    for file in sorted({*font_manager.findSystemFonts()} - {entry.fname for entry in known.ttflist}):
        with contextlib.suppress(Exception):  # it cannot be read, or is no font: as if it were not there
            known.addfont(file)

    def rank(entry: font_manager.FontEntry) -> tuple[object, ...]:
        is_plain = entry.style == "normal" and entry.weight in REGULAR
        return not is_plain, "Sans" not in entry.name, entry.name, entry.fname, entry.index

    return tuple(sorted((e for e in known.ttflist if not e.name.startswith(BOXES)), key=rank))


def _covered(letters: frozenset[str]) -> dict[str, set[str]]:
    """Which of some letters every font has that can be drawn: in outlines, of one colour."""
    found: dict[str, set[str]] = {}
    for entry in _installed():
        if entry.name in found:
            continue
        with contextlib.suppress(OSError, RuntimeError):  # it is gone since
            face = FT2Font(entry.fname, face_index=entry.index)
            drawable = FaceFlags.SCALABLE in face.face_flags and FaceFlags.COLOR not in face.face_flags
            found[entry.name] = {letter for letter in letters if drawable and face.get_char_index(ord(letter))}
    return found
