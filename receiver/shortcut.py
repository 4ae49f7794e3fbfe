"""Past aiohttp's router, for the one kind of request that counts. Used by the app's runner.

Router, match info and middleware take an eighth of the time of a request (see `docs/performance.md`), and a delivery
needs none of them. Whatever is not plainly a delivery goes the usual way, and a delivery would get the same answer
there.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

RequestHandler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
Receive = Callable[[web.BaseRequest, str | None], Awaitable[web.StreamResponse]]

_DELIVERY = re.compile(r"/hooks/konvox(?:/([A-Za-z0-9_-]+))?")
"""The path of a delivery, with or without a token; without anything that would have to be decoded."""


class ShortcutRunner(web.AppRunner):
    """Runs an application with a shortcut to `receive`, which is given the request and its token.

    Args:
        app: gets all other requests.
        receive: answers a delivery.
        kwargs: as for `web.AppRunner`.
    """

    def __init__(self, app: web.Application, receive: Receive, **kwargs: Any) -> None:
        super().__init__(app, **kwargs)
        self._receive = receive

    async def setup(self) -> None:
        """Start the application, and open the shortcut."""
        await super().setup()
        server = self.server
        assert server is not None  # noqa: S101 - setup has made it
        server.request_handler = with_shortcut(server.request_handler, self._receive)


def with_shortcut(usual_way: RequestHandler, receive: Receive) -> RequestHandler:
    """A request handler that takes deliveries to `receive`, and everything else the usual way."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        # A sender who expects a "100 Continue" gets it from aiohttp's application.
        if request.method == "POST" and "Expect" not in request.headers:
            delivery = _DELIVERY.fullmatch(request.rel_url.raw_path)
            if delivery is not None:
                return await receive(request, delivery[1])
        return await usual_way(request)

    return handle
