"""`/api/sender-identities`: list and create."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from aiohttp import web

from konvox.sandbox.config import SandboxConfig
from konvox.sandbox.envelope import RefusedError, answer, json_object, list_answer
from konvox.sandbox.records import SenderIdentity
from konvox.sandbox.rules import refuse, text_faults
from konvox.sandbox.state import STATE, new_id, now

_LOCAL_PART = re.compile(r"[a-z0-9-]+")


def sender_faults(fields: Mapping[str, Any]) -> Iterator[str]:
    """Each rule that a request to create a sender address breaks, in words. Pure."""
    faults = list(text_faults(fields, "localPart", required=True))
    if not faults and not _LOCAL_PART.fullmatch(fields["localPart"]):
        faults.append("localPart must be lowercase letters, digits and hyphens")
    yield from faults
    yield from text_faults(fields, "displayName")


def routes(config: SandboxConfig) -> list[web.RouteDef]:
    """The calls of this resource."""

    async def list_senders(request: web.Request) -> web.Response:
        """List all sender addresses."""
        return list_answer([sender.as_json() for sender in request.app[STATE].senders])

    async def create_sender(request: web.Request) -> web.Response:
        """Create a sender address, unless it exists already."""
        fields = await json_object(request)
        refuse(sender_faults(fields))
        senders = request.app[STATE].senders
        address = f"{fields['localPart']}@{config.slug}.konvox.io"
        if any(sender.address == address for sender in senders):
            raise RefusedError(409, f"the sender address {address} exists already")
        sender = SenderIdentity(
            id=new_id(),
            local_part=fields["localPart"],
            display_name=fields.get("displayName"),
            address=address,
            created_at=now(),
        )
        senders.put(sender)
        return answer(sender.as_json(), status=201)

    return [
        web.get(config.paths.sender_identities, list_senders),
        web.post(config.paths.sender_identities, create_sender),
    ]
