"""What the pipeline adds to the kernels: time per point of fan-out, writes and status; and a re-run that finds nothing.

python -m benchmarks.pipeline [POINTS]
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

SWEEP = """
kind = "lattice"
[axes]
private = [0, 1, 2, 3]
delay = {{ start = 0.01, stop = 0.05, step = 0.01 }}
seed = {{ start = 0, count = {seeds} }}
[fixed]
size = 4
[record]
t_end = 20.0
samples = 3
"""


def main(points: int = 10_000, workers: int = 2) -> None:
    with tempfile.TemporaryDirectory() as folder:
        sweep, store = Path(folder) / "tiny.toml", Path(folder) / "tiny.zarr"
        sweep.write_text(SWEEP.format(seeds=points // 20))
        command = [
            sys.executable,
            "-m",
            "flows.cli",
            "run",
            str(sweep),
            "--store",
            str(store),
            "--workers",
            str(workers),
        ]
        started = time.perf_counter()
        first = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        whole = time.perf_counter() - started
        started = time.perf_counter()
        again = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        rerun = time.perf_counter() - started
        assert "nothing left to run" in again, again
        flow, kernels = (float(part.split(" s")[0]) for part in (first.split(" run in ")[1], first.split(" s, ")[1]))
        files = [path.stat().st_size for path in store.rglob("*") if path.is_file()]
    print(f"pipeline, {points:,} points of 16 rings, {workers} workers")
    print(f"  command {whole:.1f} s, of it flow {flow:.1f} s, kernels {kernels:.1f} s over all workers")
    print(f"  overhead per point {(flow - kernels / workers) / points * 1e3:.2f} ms (mark: 5 ms)")
    print(f"  re-run that finds nothing left {rerun:.2f} s (mark: 5 s)")
    print(f"  store: {len(files):,} files, {sum(files) / 1e6:.1f} MB")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:2]))
