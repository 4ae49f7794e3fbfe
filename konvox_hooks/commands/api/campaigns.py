"""`konvox-hooks api campaigns`: list, show, create, change and delete campaigns."""

from __future__ import annotations

import sys
from typing import get_args

import click

from konvox.resources import CampaignChannel, CampaignStatus, CampaignStatusChange
from konvox_hooks.commands.api.account import AccountGroup
from konvox_hooks.commands.api.calls import call, json_array, json_object, show_page, show_record
from konvox_hooks.commands.api.records import CAMPAIGNS
from konvox_hooks.errors import Failed, UsageError
from konvox_hooks.terminal.formatting import example, say, shown_line

_CHANNELS = click.Choice(get_args(CampaignChannel))

_profile_id = click.option("--profile-id", metavar="ID", help="The profile that writes.")
_sender_identity_id = click.option(
    "--sender-identity-id", metavar="ID", help="The address that sends; an email campaign needs one."
)


@click.group(cls=AccountGroup, epilog=example("api campaigns list --status active"))
def command() -> None:
    """List, show, create, change and delete campaigns."""


@command.command("list", epilog=example("api campaigns list", "api campaigns list --status active --json"))
@click.option("--status", type=click.Choice(get_args(CampaignStatus)), help="Only campaigns in this status.")
@json_array
def list_campaigns(*, status: CampaignStatus | None, as_json: bool) -> None:
    """Show the campaigns, the newest first, with their targets by state."""
    show_page(call(lambda konvox: konvox.campaigns.list_page(status=status)), CAMPAIGNS, as_json=as_json)


@command.command("get", epilog=example("api campaigns get clxyz123"))
@click.argument("campaign_id", metavar="ID")
@json_object
def get_campaign(*, campaign_id: str, as_json: bool) -> None:
    """Show one campaign, with its targets by state."""
    show_record(call(lambda konvox: konvox.campaigns.get(campaign_id)), as_json=as_json)


@command.command(
    "create", epilog=example("api campaigns create --name 'Spring' --channel email --sender-identity-id clxyz123")
)
@click.option("--name", required=True, help="The campaign's name.")
@click.option("--channel", type=_CHANNELS, required=True, help="The channel to people.")
@_profile_id
@_sender_identity_id
@json_object
def create_campaign(
    *, name: str, channel: CampaignChannel, profile_id: str | None, sender_identity_id: str | None, as_json: bool
) -> None:
    """Create a campaign, and show it."""
    created = call(
        lambda konvox: konvox.campaigns.create(
            name=name, channel=channel, profile_id=profile_id, sender_identity_id=sender_identity_id
        )
    )
    show_record(created, as_json=as_json)


@command.command("update", epilog=example("api campaigns update clxyz123 --status paused"))
@click.argument("campaign_id", metavar="ID")
@click.option("--name", help="The campaign's name.")
@click.option("--channel", type=_CHANNELS, help="The channel to people.")
@_profile_id
@_sender_identity_id
@click.option("--status", type=click.Choice(get_args(CampaignStatusChange)), help="Start, pause or end it.")
@json_object
def update_campaign(
    *,
    campaign_id: str,
    name: str | None,
    channel: CampaignChannel | None,
    profile_id: str | None,
    sender_identity_id: str | None,
    status: CampaignStatusChange | None,
    as_json: bool,
) -> None:
    """Change the given fields of a campaign, and show it."""
    updated = call(
        lambda konvox: konvox.campaigns.update(
            campaign_id,
            name=name,
            channel=channel,
            profile_id=profile_id,
            sender_identity_id=sender_identity_id,
            status=status,
        )
    )
    show_record(updated, as_json=as_json)


@command.command("delete", epilog=example("api campaigns delete clxyz123"))
@click.argument("campaign_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask. Required without a terminal.")
def delete_campaign(*, campaign_id: str, yes: bool) -> None:
    """Delete a campaign and its enrollments, for good."""
    shown_id = shown_line(campaign_id)
    if not yes and not sys.stdin.isatty():
        raise UsageError("the campaign would be deleted for good, and there is no terminal to ask on: add --yes")
    if not yes and not click.confirm(f"Delete campaign {shown_id} and its enrollments for good?", err=True):
        raise Failed("nothing was deleted")
    call(lambda konvox: konvox.campaigns.delete(campaign_id))
    say(f"deleted {shown_id}")
