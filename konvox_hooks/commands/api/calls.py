"""What the commands of `konvox-hooks api` share: make a call, and show the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

import click
from pydantic_core import to_json

from konvox.client import KonvoxClient
from konvox.errors import InvalidArgumentError
from konvox.resources import Page, Record
from konvox_hooks.commands.api.account import chosen_account
from konvox_hooks.commands.api.records import Listing, RecordT, as_rows, cells, wire
from konvox_hooks.config.api_client import konvox_client
from konvox_hooks.config.settings import Settings
from konvox_hooks.errors import UsageError
from konvox_hooks.process.logging import configure_logging
from konvox_hooks.terminal.output import complain, print_document, print_table

T = TypeVar("T")

json_array = click.option("--json", "as_json", is_flag=True, help="One JSON array instead of a table.")
json_object = click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")

_OPTIONS: Final = {"campaign_id": "ID", "disclaimer_accepted": "--accept-disclaimer"}
"""The client's arguments that have another name on the command line than `--` and their own."""


def call(invoke: Callable[[KonvoxClient], Awaitable[T]]) -> T:
    """Make a call with the chosen account's client.

    Args:
        invoke: makes the call, and returns its result.

    Raises:
        UsageError: a setting or the account's name is missing, or Konvox would refuse an argument.
        KonvoxApiError: the call failed.
    """
    settings, account = chosen_account()
    configure_logging(settings.log_level, settings.log_format)
    try:
        return asyncio.run(_call(settings, account, invoke))
    except InvalidArgumentError as error:
        raise UsageError(in_options(error)) from None


def in_options(error: InvalidArgumentError) -> str:
    """The message about an argument, with the name that it has on the command line."""
    if not error.argument:
        return error.message
    option = _OPTIONS.get(error.argument, "--" + error.argument.replace("_", "-"))
    return error.message.replace("=True", "").replace(error.argument, option, 1)


def show_page(
    page: Page[RecordT], listing: Listing[RecordT], *, as_json: bool, show_urls: bool = False, more: str = ""
) -> None:
    """Write a list to stdout, and the total to stderr: always with a table, otherwise only if the page is not all.

    Args:
        page: the answer.
        listing: how to show it as a table.
        as_json: write JSON instead of a table.
        show_urls: do not mask webhooks' URLs, which may hold tokens.
        more: how to get the other records, for the message.
    """
    if as_json:
        _print_wire([wire(record, show_urls=show_urls) for record in page.items])
    else:
        print_table(listing.columns, [cells(listing, record, show_urls=show_urls) for record in page.items])
    incomplete = page.total is not None and page.total > len(page.items)
    if page.total is not None and (incomplete or not as_json):
        hint = f"; {more}" if more and incomplete else ""
        complain(f"{len(page.items)} of {page.total} {listing.noun}{hint}")


def show_record(record: Record, *, as_json: bool, additional: Mapping[str, str] | None = None) -> None:
    """Write one record to stdout, with all its fields and the additional ones."""
    fields = {**wire(record), **(additional or {})}
    if as_json:
        _print_wire(fields)
    else:
        print_table(("FIELD", "VALUE"), as_rows(fields))


def _print_wire(value: Any) -> None:
    # Not `print_json`: an unknown field may hold a number that orjson cannot write.
    print_document(to_json(value).decode())


async def _call(settings: Settings, account: str, invoke: Callable[[KonvoxClient], Awaitable[T]]) -> T:
    async with konvox_client(settings, account=account) as client:
        return await invoke(client)
