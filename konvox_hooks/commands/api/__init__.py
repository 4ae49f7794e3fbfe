"""`konvox-hooks api`: the Konvox API by hand, one group of commands for each of its resources."""

from __future__ import annotations

import click

from konvox_hooks.commands.api import campaigns, connections, contacts, senders, webhooks
from konvox_hooks.terminal.formatting import example


@click.group(
    epilog=example("api campaigns list --status active", "api contacts create --email ada@example.com --first-name Ada")
)
def command() -> None:
    """Call the Konvox API by hand, at KONVOX_API_URL with KONVOX_API_KEY.

    A read key lists and fetches, a full key creates, updates and deletes as well. With --json, records come in the
    API's own form: camelCase, unknown fields included. Secrets are masked.

    Where KONVOX_ACCOUNTS_FILE names several accounts, --account says which one a command is for.
    """


command.add_command(campaigns.command, "campaigns")
command.add_command(contacts.command, "contacts")
command.add_command(senders.command, "senders")
command.add_command(connections.command, "connections")
command.add_command(webhooks.command, "webhooks")
