"""The least that aiohttp can do: an application that verifies and parses, and queues nothing at all."""

from __future__ import annotations

import os

from aiohttp import web

from benchmarks.processes import python
from benchmarks.receive.aiohttp_arq import environment, verified_event
from benchmarks.receive.contender import Receiver
from benchmarks.workload import PATH, SIGNATURE_HEADER


async def _receive(request: web.Request) -> web.Response:
    verified_event(await request.read(), request.headers.get(SIGNATURE_HEADER, ""))
    return web.json_response({"status": "accepted"})


def main() -> None:
    """Serve until SIGTERM."""
    app = web.Application()
    app.router.add_post(PATH, _receive)
    web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]), access_log=None, print=None)


CONTENDER = Receiver(
    "aiohttp alone",
    python("benchmarks.receive.aiohttp_plain"),
    environment,
    stored=None,
    note="verify, parse; the event is lost",
)

if __name__ == "__main__":
    main()
