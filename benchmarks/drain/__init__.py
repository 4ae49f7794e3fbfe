"""Drain: how many queued events a second one worker process settles with a typed handler that does nothing."""

from benchmarks.drain import bullmq, konvox_hooks, python_peers, stock_arq

CONTENDERS = (
    konvox_hooks.CONTENDER,
    stock_arq.AS_IT_COMES,
    stock_arq.TUNED,
    bullmq.CONTENDER,
    python_peers.DRAMATIQ,
    python_peers.TASKIQ,
)
