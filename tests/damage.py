"""Ways in which the files of a store get lost or change, and whether anybody notices."""

import shutil
from pathlib import Path

import numpy as np
import xarray as xr

import isophase
from isophase.sweeps.store import repair, verify, write_summaries
from tests.serial import run_serially


def shards(location):
    """The files that hold what points recorded."""
    return sorted(p for p in Path(location).glob("*-*/phase/c/**/*") if p.is_file())


def remove(path, chance):
    path.unlink()


def truncate(path, chance):
    path.write_bytes(path.read_bytes()[: chance.randrange(1, path.stat().st_size)])


def empty(path, chance):
    path.write_bytes(b"")


def swap(path, chance):
    """With another shard: each is whole, and neither is where it belongs."""
    own = path.parents[4]  # that of the array's chunks: two axes of the grid and three of the array lie between
    other = chance.choice([p for p in own.rglob("*") if p.is_file() and p != path])
    content = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(content)


def flip(path, chance):
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


DAMAGES = {"removed": remove, "truncated": truncate, "emptied": empty, "swapped": swap, "flipped": flip}


def any_file(location, chance):
    """A file of a store, each byte of which is as likely."""
    files = sorted(path for path in Path(location).rglob("*") if path.is_file())
    return chance.choices(files, [path.stat().st_size for path in files])[0]


def copy_of(location, target):
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(location, target)
    return str(target)


def contents(location):
    """Everything that is read of a store, but how long it took, and when."""
    found = {}
    for node in isophase.open(location).subtree:
        dataset = node.to_dataset(inherit=False)
        for name, variable in dataset.variables.items():
            if name != "wall_time":
                found[f"{node.path}/{name}"] = np.asarray(variable.values)
        found[node.path] = {k: v for k, v in dataset.attrs.items() if k not in ("metadata_sha256", "runs", "id")}
    return found


def assert_same_contents(found, wanted):
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        if isinstance(value, dict):
            assert found[name] == value
        else:
            np.testing.assert_array_equal(found[name], value, err_msg=name)


def is_silent(location, wanted):
    """Whether other contents are read without an error."""
    try:
        found = contents(location)
    except Exception:
        return False
    try:
        assert_same_contents(found, wanted)
    except AssertionError:
        return True
    return False


def summarise(location):
    """A summary that takes no time to make."""
    values = {"xi": ("width", [1.5, np.nan, 2.5]), "label": ("width", ["a", "", "ξ"]), "n_seeds": ((), 0)}
    write_summaries(location, {"square-6": xr.Dataset(values, {"width": [0.1, 0.2, 0.3]})})


def assert_mended(location, sweep, wanted):
    """Repaired, run and summarised again, a store holds what it held."""
    repair(location)
    assert [damage for damage in verify(location) if not damage.file.startswith("summary/")] == []
    run_serially(location, sweep)
    summarise(location)
    assert verify(location) == []
    assert_same_contents(contents(location), wanted)
