"""Run every benchmark, one after another."""

import runpy

for name in ("lattice_kernel", "against_others", "coverage", "pipeline", "integrity", "training", "fixed_points",
             "follow"):  # fmt: skip
    runpy.run_module(f"benchmarks.{name}", run_name="__main__")
