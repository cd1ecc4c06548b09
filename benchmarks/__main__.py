"""Run every benchmark, one after another."""

import runpy

for name in ("lattice_kernel", "against_others", "pipeline"):
    runpy.run_module(f"benchmarks.{name}", run_name="__main__")
