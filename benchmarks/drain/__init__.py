"""Drain: how many queued events a second one worker process settles with a typed handler that does nothing."""

from benchmarks.drain import konvox_hooks, stock_arq

CONTENDERS = (konvox_hooks.CONTENDER, stock_arq.AS_IT_COMES, stock_arq.TUNED)
