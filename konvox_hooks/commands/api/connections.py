"""`konvox-hooks api connections`: list and create connections, which are logins on the channels."""

from __future__ import annotations

from typing import get_args

import click

from konvox.resources import ConnectionMethod, ConnectionPlatform
from konvox_hooks.commands.api.account import AccountGroup
from konvox_hooks.commands.api.calls import call, json_array, json_object, show_page, show_record
from konvox_hooks.commands.api.records import CONNECTIONS
from konvox_hooks.terminal.formatting import example


@click.group(cls=AccountGroup, epilog=example("api connections list"))
def command() -> None:
    """List and create connections, the logins on channels."""


@command.command("list", epilog=example("api connections list", "api connections list --json"))
@json_array
def list_connections(*, as_json: bool) -> None:
    """Show the connections."""
    show_page(call(lambda konvox: konvox.connections.list_page()), CONNECTIONS, as_json=as_json)


@command.command(
    "create",
    epilog=example("api connections create --name Ada --platform linkedin --connection-method oauth_personal"),
)
@click.option("--name", required=True, help="The connection's name.")
@click.option("--platform", type=click.Choice(get_args(ConnectionPlatform)), required=True, help="The channel.")
@click.option(
    "--connection-method", type=click.Choice(get_args(ConnectionMethod)), required=True, help="How it is connected."
)
@click.option("--username", help="The user name on the platform.")
@click.option("--accept-disclaimer", is_flag=True, help="Accept Konvox's disclaimer, as socialcrabs requires.")
@json_object
def create_connection(
    *,
    name: str,
    platform: ConnectionPlatform,
    connection_method: ConnectionMethod,
    username: str | None,
    accept_disclaimer: bool,
    as_json: bool,
) -> None:
    """Create a connection, and show it."""
    created = call(
        lambda konvox: konvox.connections.create(
            name=name,
            platform=platform,
            connection_method=connection_method,
            username=username,
            disclaimer_accepted=accept_disclaimer or None,
        )
    )
    show_record(created, as_json=as_json)
