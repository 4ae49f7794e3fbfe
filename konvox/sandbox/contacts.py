"""`/api/contacts`: list and create."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from aiohttp import web

from konvox.resources import ContactStatus
from konvox.sandbox.config import SandboxConfig
from konvox.sandbox.envelope import answer, json_object, list_answer
from konvox.sandbox.records import Contact
from konvox.sandbox.rules import choice_faults, number_faults, refuse, text_faults
from konvox.sandbox.state import STATE, new_id, now

DEFAULT_LIMIT, MOST_LIMIT = 50, 200
MOST_OFFSET = 2**31 - 1

_OPTIONAL = ("firstName", "lastName", "companyName", "linkedinUrl", "title")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")


def contact_faults(fields: Mapping[str, Any]) -> Iterator[str]:
    """Each rule that a request to create a contact breaks, in words. Pure."""
    faults = list(text_faults(fields, "email", required=True))
    if not faults and not _EMAIL.fullmatch(fields["email"]):
        faults.append("email must be an address, such as ada@example.com")
    yield from faults
    for name in _OPTIONAL:
        yield from text_faults(fields, name)


def query_faults(query: Mapping[str, str]) -> Iterator[str]:
    """Each rule that a list's query breaks, in words. Pure."""
    yield from choice_faults(query, "status", get_args(ContactStatus))
    yield from number_faults(query, "limit", least=1, most=MOST_LIMIT)
    yield from number_faults(query, "offset", least=0, most=MOST_OFFSET)


def routes(config: SandboxConfig) -> list[web.RouteDef]:
    """The calls of this resource."""

    async def list_contacts(request: web.Request) -> web.Response:
        """List one page of contacts, the oldest first. The order is [inferred]; new contacts do not shift its pages."""
        refuse(query_faults(request.query))
        status = request.query.get("status")
        offset, limit = int(request.query.get("offset", 0)), int(request.query.get("limit", DEFAULT_LIMIT))
        found = [contact for contact in request.app[STATE].contacts if status in {None, contact.status}]
        return list_answer([contact.as_json() for contact in found[offset : offset + limit]], total=len(found))

    async def create_contact(request: web.Request) -> web.Response:
        """Create a contact, or answer with the unchanged one that has this email already."""
        fields = await json_object(request)
        refuse(contact_faults(fields))
        state = request.app[STATE]
        existing = state.contact_with(fields["email"])
        if existing is not None:
            return answer(existing.as_json())
        contact = Contact(
            id=new_id(),
            email=fields["email"],
            first_name=fields.get("firstName"),
            last_name=fields.get("lastName"),
            company_name=fields.get("companyName"),
            linkedin_url=fields.get("linkedinUrl"),
            title=fields.get("title"),
            created_at=now(),
        )
        state.add_contact(contact)
        return answer(contact.as_json(), status=201)

    return [web.get(config.paths.contacts, list_contacts), web.post(config.paths.contacts, create_contact)]
