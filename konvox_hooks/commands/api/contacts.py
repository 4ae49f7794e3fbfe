"""`konvox-hooks api contacts`: list and create contacts."""

from __future__ import annotations

from typing import get_args

import click

from konvox.api.checks import MAX_LIMIT
from konvox.client import KonvoxClient
from konvox.resources import Contact, ContactStatus, Page
from konvox_hooks.commands.api.account import AccountGroup
from konvox_hooks.commands.api.calls import call, json_array, json_object, show_page, show_record
from konvox_hooks.commands.api.records import CONTACTS
from konvox_hooks.errors import UsageError
from konvox_hooks.terminal.formatting import example
from konvox_hooks.terminal.progress import progress

_LIMIT = 50
"""The size of Konvox's pages by default."""


@click.group(cls=AccountGroup, epilog=example("api contacts list --status unsubscribed"))
def command() -> None:
    """List and create contacts."""


@command.command("list", epilog=example("api contacts list --limit 200", "api contacts list --all --json"))
@click.option("--status", type=click.Choice(get_args(ContactStatus)), help="Only contacts in this status.")
@click.option("--limit", type=click.IntRange(1, MAX_LIMIT), help=f"The most to show; {_LIMIT} by default.")
@click.option("--offset", type=click.IntRange(min=0), help="How many to skip at the beginning.")
@click.option("--all", "everything", is_flag=True, help="Show all, page by page.")
@json_array
def list_contacts(
    *, status: ContactStatus | None, limit: int | None, offset: int | None, everything: bool, as_json: bool
) -> None:
    """List contacts: one page, or all."""
    if everything and (limit is not None or offset is not None):
        raise UsageError("--all excludes --limit and --offset: give the one or the others")

    found: list[Contact] = []

    async def fetch(konvox: KonvoxClient) -> Page[Contact]:
        if not everything:
            return await konvox.contacts.list_page(status=status, limit=limit or _LIMIT, offset=offset or 0)
        async for contact in konvox.contacts.list(status=status):
            found.append(contact)  # noqa: PERF401 - one by one, because Ctrl-C says how many came
        return Page(tuple(found), len(found))

    with progress(lambda: f"{len(found):,} contacts were fetched, and none is shown"):
        page = call(fetch)
    show_page(page, CONTACTS, as_json=as_json, more="--offset shows the next ones, --all shows all")


@command.command(
    "create", epilog=example("api contacts create --email ada@example.com --first-name Ada --last-name Lovelace")
)
@click.option("--email", required=True, help="The address. It may exist already.")
@click.option("--first-name", help="The first name.")
@click.option("--last-name", help="The last name.")
@click.option("--company-name", help="Where the person works.")
@click.option("--linkedin-url", metavar="URL", help="The profile on LinkedIn.")
@click.option("--title", help="What the person does there.")
@json_object
def create_contact(
    *,
    email: str,
    first_name: str | None,
    last_name: str | None,
    company_name: str | None,
    linkedin_url: str | None,
    title: str | None,
    as_json: bool,
) -> None:
    """Create a contact and show it, or show the contact that has this email already."""
    created = call(
        lambda konvox: konvox.contacts.create(
            email=email,
            first_name=first_name,
            last_name=last_name,
            company_name=company_name,
            linkedin_url=linkedin_url,
            title=title,
        )
    )
    show_record(created, as_json=as_json)
