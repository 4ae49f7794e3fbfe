"""The contenders: `systems` says how each is started and counted, `install` brings what it needs.

The other files are the programs of our peers: `receive`, `work`, and `fill`, which queues what is on standard input, a
body a line. Their environments hold nothing of ours but `konvox` and `benchmarks.harness.workload`.
"""
