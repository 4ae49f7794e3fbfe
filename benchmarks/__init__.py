"""Measures receiver and worker side by side with others: `python -m benchmarks.run`, or `make bench`.

Each measure is a module or a package with `entries(*, quick)`: its contenders, ours first, and their targets.
`python -m benchmarks.soak`, or `make soak`, takes one long sample, and looks at the processes all the while.
Programs that only a peer's own environment can run are in `peers`. See `docs/performance.md`.
"""
