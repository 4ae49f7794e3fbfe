"""`/api/connections`: list and create. Undocumented fields of a request are not kept, because they may be secrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from aiohttp import web

from konvox.resources import ConnectionMethod, ConnectionPlatform
from konvox.sandbox.config import SandboxConfig
from konvox.sandbox.envelope import answer, json_object, list_answer
from konvox.sandbox.records import Connection
from konvox.sandbox.rules import choice_faults, refuse, text_faults
from konvox.sandbox.state import STATE, new_id, now


def connection_faults(fields: Mapping[str, Any]) -> Iterator[str]:
    """Each rule that a request to create a connection breaks, in words. Pure."""
    yield from text_faults(fields, "name", required=True)
    yield from choice_faults(fields, "platform", get_args(ConnectionPlatform), required=True)
    yield from choice_faults(fields, "connectionMethod", get_args(ConnectionMethod), required=True)
    yield from text_faults(fields, "username")
    accepted = fields.get("disclaimerAccepted", False)
    if not isinstance(accepted, bool):
        yield "disclaimerAccepted must be true or false"
    elif fields.get("connectionMethod") == "socialcrabs" and not accepted:
        yield "disclaimerAccepted must be true for the connectionMethod socialcrabs"


def routes(config: SandboxConfig) -> list[web.RouteDef]:
    """The calls of this resource."""

    async def list_connections(request: web.Request) -> web.Response:
        """List all connections."""
        return list_answer([connection.as_json() for connection in request.app[STATE].connections])

    async def create_connection(request: web.Request) -> web.Response:
        """Create a connection."""
        fields = await json_object(request)
        refuse(connection_faults(fields))
        connection = Connection(
            id=new_id(),
            name=fields["name"],
            platform=fields["platform"],
            connection_method=fields["connectionMethod"],
            username=fields.get("username"),
            created_at=now(),
        )
        request.app[STATE].connections.put(connection)
        return answer(connection.as_json(), status=201)

    return [
        web.get(config.paths.connections, list_connections),
        web.post(config.paths.connections, create_connection),
    ]
