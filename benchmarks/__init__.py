"""Measures receiver and worker side by side with others: `make bench`, and for hours on end `make soak`.

`measures` has a file for each measure; its docstring says what is measured, how, how often, and the target. They share
`harness`: processes, a fresh store, load, CPU time, statistics, the table. `peers` says how each contender is started
and counted. `docs/performance.md` has the method and the figures.
"""
