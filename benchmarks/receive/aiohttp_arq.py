"""The plain way to build it: an aiohttp application that verifies, parses and calls `enqueue_job` for each request."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import AsyncIterator, Mapping

import orjson
from aiohttp import web
from arq import ArqRedis, create_pool
from arq.constants import default_queue_name

from benchmarks.processes import python
from benchmarks.receive.contender import Receiver
from benchmarks.store import arq_settings
from benchmarks.workload import PATH, SECRET, SIGNATURE_HEADER

REDIS = web.AppKey("redis", ArqRedis)


def verified_event(body: bytes, signature: str) -> object:
    """The event in a body whose signature is good."""
    expected = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), signature.encode()):
        raise web.HTTPUnauthorized
    return orjson.loads(body)


async def _receive(request: web.Request) -> web.Response:
    event = verified_event(await request.read(), request.headers.get(SIGNATURE_HEADER, ""))
    await request.app[REDIS].enqueue_job("handle_event", event)
    return web.json_response({"status": "accepted"})


async def _redis(app: web.Application) -> AsyncIterator[None]:
    app[REDIS] = await create_pool(arq_settings(os.environ["STORE_URL"]))
    yield
    await app[REDIS].aclose()


def main() -> None:
    """Serve until SIGTERM."""
    app = web.Application()
    app.router.add_post(PATH, _receive)
    app.cleanup_ctx.append(_redis)
    web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]), access_log=None, print=None)


def environment(port: int, store_url: str) -> Mapping[str, str]:
    """Where to listen, and where to queue."""
    return {"PORT": str(port), "STORE_URL": store_url}


async def _stored(server: ArqRedis) -> int:
    return int(await server.zcard(default_queue_name))


CONTENDER = Receiver(
    "aiohttp + `enqueue_job`",
    python("benchmarks.receive.aiohttp_arq"),
    environment,
    _stored,
    note="verify, parse, one `enqueue_job` a request",
    target_ratio=4.0,
)

if __name__ == "__main__":
    main()
