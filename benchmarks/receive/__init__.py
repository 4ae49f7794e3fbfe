"""Receive: how many signed POSTs a second one receiver process answers with 200."""

from benchmarks.receive import aiohttp_arq, aiohttp_plain, bullmq, konvox_hooks

CONTENDERS = (
    konvox_hooks.CONTENDER,
    aiohttp_plain.CONTENDER,
    aiohttp_arq.CONTENDER,
    bullmq.CONTENDER,
    konvox_hooks.TWO,
)
