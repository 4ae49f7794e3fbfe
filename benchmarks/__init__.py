"""Measures receiver and worker side by side with others: `python -m benchmarks.run`, or `make bench`.

Each measure is a package (`receive`, `drain`): `measure.py` takes one sample of one contender, and each contender has a
module of its own. To add one, write such a module and name it in the package's `CONTENDERS`. The first is ours.
"""
