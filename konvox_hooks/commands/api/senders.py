"""`konvox-hooks api senders`: list and create sender identities."""

from __future__ import annotations

import click

from konvox_hooks.commands.api.account import AccountGroup
from konvox_hooks.commands.api.calls import call, json_array, json_object, show_page, show_record
from konvox_hooks.commands.api.records import SENDERS
from konvox_hooks.terminal.formatting import example


@click.group(cls=AccountGroup, epilog=example("api senders list"))
def command() -> None:
    """List and create sender identities, the addresses that send."""


@command.command("list", epilog=example("api senders list", "api senders list --json"))
@json_array
def list_senders(*, as_json: bool) -> None:
    """List the sender identities, with warmup and daily limit."""
    show_page(call(lambda konvox: konvox.sender_identities.list_page()), SENDERS, as_json=as_json)


@command.command("create", epilog=example("api senders create --local-part ada --display-name 'Ada Lovelace'"))
@click.option("--local-part", required=True, help="The address before the @: lowercase letters, digits, hyphens.")
@click.option("--display-name", help="The name shown with the address.")
@json_object
def create_sender(*, local_part: str, display_name: str | None, as_json: bool) -> None:
    """Create a sender identity, and show it.

    Its address is the local part at your company's own domain, such as ada@yourslug.konvox.io.
    """
    created = call(lambda konvox: konvox.sender_identities.create(local_part=local_part, display_name=display_name))
    show_record(created, as_json=as_json)
