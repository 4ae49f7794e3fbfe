"""`konvox-hooks api webhooks`: the endpoints that Konvox delivers events to."""

from __future__ import annotations

import sys

import click

from konvox.errors import KonvoxApiError
from konvox.inferred import SECRET_FIELDS
from konvox_hooks.commands.api.account import AccountGroup
from konvox_hooks.commands.api.calls import call, json_array, json_object, show_page, show_record
from konvox_hooks.commands.api.records import webhooks_listing
from konvox_hooks.errors import Failed
from konvox_hooks.registration.plan import masked
from konvox_hooks.terminal.formatting import example
from konvox_hooks.terminal.output import complain


@click.group(cls=AccountGroup, epilog=example("api webhooks list"))
def command() -> None:
    """List and register webhooks.

    Konvox documents no call to change or delete one: that is done in its dashboard.
    """


@command.command("list", epilog=example("api webhooks list", "api webhooks list --json"))
@click.option("--show-urls", is_flag=True, help="Show the URLs whole: whoever knows one can send you events.")
@json_array
def list_webhooks(*, show_urls: bool, as_json: bool) -> None:
    """Show the webhooks, with the ends of their URLs masked."""
    page = call(lambda konvox: konvox.webhooks.list_page())
    show_page(page, webhooks_listing(show_urls=show_urls), as_json=as_json, show_urls=show_urls)


@command.command(
    "register",
    epilog=example(
        "api webhooks register --url https://crm.example.com/hook --events contact.replied",
        "api webhooks register --url - --events contact.replied < url.txt",
    ),
)
@click.option("--url", required=True, help="Where events go; - reads it from stdin, so that no process list shows it.")
@click.option("--events", "names", required=True, metavar="A,B", help="The events' names.")
@click.option("--inactive", is_flag=True, help="Register it switched off.")
@click.option("--show-secret", is_flag=True, help="Show the signing secret too, if Konvox answers with one.")
@json_object
def register_webhook(*, url: str, names: str, inactive: bool, show_secret: bool, as_json: bool) -> None:
    """Register any URL, and show the webhook.

    For this receiver, `konvox-hooks register` does it with the right URL, the handlers' events, and only once.
    """
    if url == "-":
        url = sys.stdin.buffer.readline().decode(errors="replace").strip()
    events = [name.strip() for name in names.split(",") if name.strip()]
    try:
        webhook = call(lambda konvox: konvox.webhooks.register(url=url, events=events, active=not inactive))
    except KonvoxApiError as error:
        # Konvox may repeat the URL when it says what is wrong with it.
        raise Failed(str(error).replace(url, masked(url))) from None
    if webhook.signing_secret is not None and not show_secret:
        complain(
            "Konvox answered with a signing secret, which is not shown without --show-secret: look for it in Konvox's "
            "dashboard, or register the URL again with --show-secret"
        )
    secret = {SECRET_FIELDS[0]: webhook.signing_secret} if show_secret and webhook.signing_secret else {}
    show_record(webhook, as_json=as_json, besides=secret)
