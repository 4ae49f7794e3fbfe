"""`konvox-hooks api`: call the Konvox API by hand, with one group of commands for each of its resources."""

from __future__ import annotations

import click

from konvox_hooks.commands.api import campaigns, connections, contacts, senders, webhooks
from konvox_hooks.terminal.formatting import example


@click.group(
    epilog=example("api campaigns list --status active", "api contacts create --email ada@example.com --first-name Ada")
)
def command() -> None:
    """Call the Konvox API by hand, at KONVOX_API_URL with KONVOX_API_KEY.

    A read key can list and fetch; a full key can create, update and delete too. With --json, records have the API's own
    form: camelCase, with unknown fields. Secrets are masked.

    If KONVOX_ACCOUNTS_FILE names several accounts, choose one with --account.
    """


command.add_command(campaigns.command, "campaigns")
command.add_command(contacts.command, "contacts")
command.add_command(senders.command, "senders")
command.add_command(connections.command, "connections")
command.add_command(webhooks.command, "webhooks")
