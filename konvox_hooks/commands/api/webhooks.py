"""`konvox-hooks api webhooks`: list and register webhooks, through which Konvox delivers events."""

from __future__ import annotations

import sys

import click

from konvox.errors import KonvoxApiError
from konvox.inferred import SECRET_FIELDS
from konvox_hooks.commands.api.account import AccountGroup
from konvox_hooks.commands.api.calls import call, json_array, json_object, show_page, show_record
from konvox_hooks.commands.api.records import webhooks_listing
from konvox_hooks.errors import Failed
from konvox_hooks.registration.event_names import UNDOCUMENTED_HELP, refuse_mistyped
from konvox_hooks.registration.plan import masked
from konvox_hooks.terminal.formatting import example
from konvox_hooks.terminal.output import complain


@click.group(cls=AccountGroup, epilog=example("api webhooks list"))
def command() -> None:
    """List and register webhooks.

    Konvox documents no call to change or delete a webhook: do that in its dashboard.
    """


@command.command("list", epilog=example("api webhooks list", "api webhooks list --json"))
@click.option("--show-urls", is_flag=True, help="Do not mask the URLs. Anybody who knows one can send you events.")
@json_array
def list_webhooks(*, show_urls: bool, as_json: bool) -> None:
    """List the webhooks, with the ends of their URLs masked."""
    page = call(lambda konvox: konvox.webhooks.list_page())
    show_page(page, webhooks_listing(show_urls=show_urls), as_json=as_json, show_urls=show_urls)


@command.command(
    "register",
    epilog=example(
        "api webhooks register --url https://crm.example.com/hook --events contact.replied",
        "api webhooks register --url - --events contact.replied < url.txt",
    ),
)
@click.option(
    "--url", required=True, help="Where Konvox delivers events; - reads it from stdin, to hide it from process lists."
)
@click.option("--events", "names", required=True, metavar="A,B", help="The names of the events.")
@click.option("--undocumented", is_flag=True, help=UNDOCUMENTED_HELP)
@click.option("--inactive", is_flag=True, help="Register it switched off.")
@click.option("--show-secret", is_flag=True, help="Show the signing secret, if Konvox answers with one.")
@json_object
def register_webhook(
    *, url: str, names: str, undocumented: bool, inactive: bool, show_secret: bool, as_json: bool
) -> None:
    """Register a webhook with any URL, and show it.

    To register this receiver, use `konvox-hooks register`: it takes the right URL and the events of the handlers, and
    registers only once.
    """
    if url == "-":
        url = sys.stdin.buffer.readline().decode(errors="replace").strip()
    events = [name.strip() for name in names.split(",") if name.strip()]
    refuse_mistyped(events, undocumented=undocumented)
    try:
        webhook = call(lambda konvox: konvox.webhooks.register(url=url, events=events, active=not inactive))
    except KonvoxApiError as error:
        # Konvox's message may repeat the URL.
        raise Failed(str(error).replace(url, masked(url))) from None
    if webhook.signing_secret is not None and not show_secret:
        complain(
            "Konvox answered with a signing secret, which only --show-secret shows: look for it in Konvox's dashboard, "
            "or register the URL again with --show-secret"
        )
    secret = {SECRET_FIELDS[0]: webhook.signing_secret} if show_secret and webhook.signing_secret else {}
    show_record(webhook, as_json=as_json, additional=secret)
