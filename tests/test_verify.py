"""Nothing of a store is lost or changed in silence: it is noticed, named, and run again to the same bits."""

import errno
import fcntl
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import isophase
from isophase.sweeps.store import (
    DONE,
    DamagedError,
    StoreError,
    exclusive,
    lost,
    read,
    repair,
    verify,
)
from isophase.sweeps.sweep import parse
from tests.damage import (
    DAMAGES,
    any_file,
    assert_mended,
    assert_same_contents,
    contents,
    copy_of,
    flip,
    is_silent,
    shards,
    summarise,
)
from tests.serial import reduce_serially, run_serially
from tests.test_command_line import run, wait_for

TOML = """
kind = "kuramoto"
[axes]
width = [0.1, 0.2, 0.3]
seed = {{ start = 0, count = {seeds} }}
[fixed]
size = 6
frequencies = "normal"
[record]
t_end = 4.0
samples = 4
"""


def small(seeds=12):
    import tomllib

    return parse(tomllib.loads(TOML.format(seeds=seeds)), name="small")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A reduced store, extended once, so that shards at the end of its grid are not full; and all that it holds."""
    location = str(tmp_path_factory.mktemp("whole") / "small.zarr")
    run_serially(location, small(12))
    run_serially(location, small(13))
    summarise(location)
    assert verify(location) == []
    return location, contents(location)


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_shard_is_noticed_and_its_points_run_again_to_the_same_bits(whole, tmp_path, how):
    location, wanted = whole
    chance = random.Random(how)
    for _ in range(int(os.environ.get("ISOPHASE_DAMAGED_SHARDS", "15")) // len(DAMAGES)):
        copy = copy_of(location, tmp_path / "s.zarr")
        path = chance.choice(shards(copy))
        DAMAGES[how](path, chance)
        file = str(path.relative_to(copy))
        found = verify(copy)
        assert file in {damage.file for damage in found}
        assert all(damage.points for damage in found)
        if how in ("removed", "truncated", "emptied"):  # seen by names and sizes alone
            assert file in {damage.file for damage in lost(read(copy))}
        assert_mended(copy, small(13), wanted)


def test_no_flipped_bit_is_silent(whole, tmp_path):
    location, wanted = whole
    chance = random.Random(11)
    for _ in range(int(os.environ.get("ISOPHASE_FLIPPED_BITS", "10"))):
        copy = copy_of(location, tmp_path / "s.zarr")
        path = any_file(copy, chance)
        flip(path, chance)
        assert not is_silent(copy, wanted), path
        assert verify(copy), path
        assert_mended(copy, small(13), wanted)


@pytest.mark.parametrize("name", ["status", "crc32", "wall_time", "width", "time"])
def test_what_is_kept_of_points_is_mended_too(whole, tmp_path, name):
    location, wanted = whole
    for how in ("removed", "emptied"):
        copy = copy_of(location, tmp_path / "s.zarr")
        (path,) = (p for p in Path(copy, "square-6").glob(f"{name}/c/**/*") if p.is_file())
        DAMAGES[how](path, random.Random(0))
        if name not in ("width", "time") or how == "removed":
            with pytest.raises(StoreError, match=name):
                read(copy)
        assert [damage.file for damage in verify(copy)] == [str(path.relative_to(copy))]
        assert_mended(copy, small(13), wanted)


@pytest.mark.parametrize("name", ["zarr.json", ".attributes"])
@pytest.mark.parametrize("how", ["removed", "emptied", "truncated", "flipped"])
def test_the_metadata_of_a_store_are_mended_from_those_of_its_groups_and_their_copy(whole, tmp_path, name, how):
    location, wanted = whole
    copy = copy_of(location, tmp_path / "s.zarr")
    DAMAGES[how](Path(copy, name), random.Random(5))
    assert [damage.file for damage in verify(copy)] == [name]
    assert not is_silent(copy, wanted)
    assert_mended(copy, small(13), wanted)


def test_a_digest_that_is_not_found_any_more_is_noticed(whole, tmp_path):
    copy = copy_of(whole[0], tmp_path / "s.zarr")
    root = Path(copy, "zarr.json")
    root.write_text(root.read_text().replace("metadata_sha256", "metadata_rha256"))
    assert verify(copy)
    repair(copy)
    assert verify(copy) == []


@pytest.mark.parametrize("more", [[], ["--repair"]])
def test_what_is_no_store_is_named_and_nothing_is_made_there(tmp_path, more):
    (tmp_path / "folder").mkdir()
    for place, reason in (("nowhere.zarr", "there is nothing at this path"), ("folder", "not a Zarr group")):
        answer = run("verify", tmp_path / place, *more)
        assert answer.returncode != 0
        assert answer.stderr.splitlines() == [f"isophase: error: store {tmp_path / place}: {reason}"]
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


def test_the_commands_name_what_is_lost_and_one_has_it_run_again(whole, tmp_path):
    location, wanted = whole
    copy = copy_of(location, tmp_path / "small.zarr")
    sweep = tmp_path / "small.toml"
    sweep.write_text(TOML.format(seeds=13))
    gone, torn = shards(copy)[0], shards(copy)[-1]
    gone.unlink()
    torn.write_bytes(torn.read_bytes()[:40])
    gone, torn = str(gone.relative_to(copy)), str(torn.relative_to(copy))
    names = [
        f"square-6: width=0.1, seed=0 and 1 points more: {gone} is missing",
        "square-6: width=0.3, seed=12: " + torn,
    ]
    for arguments in (("status", copy), ("run", sweep, "--store", copy), ("verify", copy)):
        answer = run(*arguments)
        assert answer.returncode == 1, answer.stderr
        for name in names:
            assert name in answer.stdout + answer.stderr
        assert f"isophase verify {copy} --repair" in answer.stdout + answer.stderr
    answer = run("reduce", copy, "--workers", 1, "--figures", tmp_path / "figures")
    assert answer.returncode == 1, answer.stderr
    for name in names:
        assert name in answer.stderr
    summary = isophase.open(copy)["summary/square-6"]
    assert summary.n_seeds.values.tolist() == [11, 13, 12]
    answer = run("verify", copy, "--repair")
    assert answer.returncode == 0, answer.stderr
    assert "3 points are pending again" in answer.stdout
    assert run("status", copy).returncode == 0
    run_serially(copy, small(13))
    summarise(copy)
    assert_same_contents(contents(copy), wanted)
    assert run("verify", copy).returncode == 0


def test_a_reduction_names_the_file_that_it_cannot_read(whole, tmp_path):
    """Of the right size, so that only who reads it notices."""
    copy = copy_of(whole[0], tmp_path / "small.zarr")
    path = shards(copy)[0]
    flip(path, random.Random(1))
    (failure,) = reduce_serially(copy)
    assert str(path.relative_to(copy)) in failure.error
    assert "width=0.1, seed=" in failure.error
    assert f"isophase verify {copy} --repair" in failure.error


@pytest.mark.parametrize("how", ["truncated", "emptied", "flipped"])
def test_a_torn_shard_of_pending_points_is_written_anew_without_a_look_at_it(tmp_path, how):
    location, reference = str(tmp_path / "s.zarr"), str(tmp_path / "reference.zarr")
    run_serially(location, small(), until=lambda number, shard: number == 2)
    run_serially(reference, small())
    pending = read(location).pending(small())[0]
    path = Path(location, "square-6", "phase", "c", *map(str, (o // s for o, s in zip(
        pending.origin, read(location).groups["square-6"].shard, strict=True))), "0", "0", "0")  # fmt: skip
    DAMAGES[how](path, random.Random(3))
    assert run_serially(location, small()) > 0
    assert_same_contents(contents(location), contents(reference))


def test_finished_points_that_share_a_shard_are_compared_before_they_are_written_again(tmp_path):
    location, reference = str(tmp_path / "s.zarr"), str(tmp_path / "reference.zarr")
    run_serially(location, small(13))
    results = read(location)
    assert results.groups["square-6"].shard[1] > 1
    with exclusive(location):
        again = read(location, writable=True)
        again.set_pending("square-6", [(0, 0)])
        again.flush()
    DAMAGES["swapped"](shards(location)[0], random.Random(0))
    with pytest.raises(DamagedError, match=r"square-6: data of the finished point at \[0, 1\].*verify .* --repair"):
        run_serially(location, small(13))
    repair(location)
    run_serially(location, small(13))
    run_serially(reference, small(13))
    assert_same_contents(contents(location), contents(reference))


def test_a_copy_of_a_store_is_run_by_itself(tmp_path):
    """Whatever the process has open of the store that it was copied from."""
    location = str(tmp_path / "s.zarr")
    run_serially(location, small(4), until=lambda number, shard: number == 2)
    copy = copy_of(location, tmp_path / "copy.zarr")
    before = contents(location)
    assert run_serially(copy, small(4)) > 0
    assert verify(copy) == []
    assert verify(location) == []
    assert_same_contents(contents(location), before)


def test_data_are_on_the_disk_before_their_status_is(tmp_path, monkeypatch):
    """What was brought to the disk, in order: by the name that a file had then."""
    location = str(tmp_path / "s.zarr")
    run_serially(location, small(2), until=lambda number, shard: True)
    seen, fsync = [], os.fsync

    def watched(descriptor):
        seen.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    run_serially(location, small(2))
    files = [Path(path) for path in seen if path.endswith(".partial")]  # the folders follow them
    places = [str(path.relative_to(location)) for path in files]
    data = [i for i, path in enumerate(places) if path.startswith("square-6/phase/c/")]
    status = [i for i, path in enumerate(places) if path.startswith("square-6/status/c/")]
    assert len(data) >= len(shards(location))
    done = [len([i for i in data if i < at]) for at in status[2:]]  # the first two are of its preparation
    assert done
    assert done[0] > 0
    assert done == sorted(done)
    assert max(data) < max(status)


def test_a_store_that_is_removed_while_it_is_written_is_named_and_not_made_anew(tmp_path):
    location = str(tmp_path / "s.zarr")

    def gone(number, shard):
        if number == 1:
            shutil.rmtree(location)
        return False

    with pytest.raises(StoreError, match=r"s\.zarr.*was removed or moved"):
        run_serially(location, small(), until=gone)
    assert not Path(location, "square-6").exists()


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def refuse(descriptor, operation):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StoreError, match=r"s\.zarr: cannot be locked: .*Function not implemented.*flock"):
        run_serially(str(tmp_path / "s.zarr"), small())


SLOW = """
import time, sys
import numpy as np
import isophase

@isophase.point(dims={"x": []}, seconds=5.0)
def sleeps(*, seconds: float, seed: np.random.SeedSequence) -> dict:
    '''Sleeps.'''
    time.sleep(seconds)
    return {"x": 1.0}

if __name__ == "__main__":
    isophase.run(sleeps, axes={"seconds": [600.0, 0.0], "seed": [0]}, store=sys.argv[1], workers=2)
"""


def test_finished_points_are_recorded_while_a_long_one_runs(tmp_path):
    script, location = tmp_path / "slow.py", str(tmp_path / "s.zarr")
    script.write_text(SLOW)
    process = subprocess.Popen([sys.executable, script, location], start_new_session=True)

    def recorded():
        return Path(location, "zarr.json").exists() and (isophase.open(location)["sleeps"].status.values == DONE).sum()

    try:
        wait_for(lambda: _quiet(recorded) == 1, seconds=90)
        assert process.poll() is None
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def _quiet(function):
    try:
        return function()
    except (StoreError, KeyError):  # it is being made
        return None
