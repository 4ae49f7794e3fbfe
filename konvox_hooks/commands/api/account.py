"""The option `--account`, which each command of `konvox-hooks api` takes."""

from __future__ import annotations

from typing import Any, Final

import click

from konvox_hooks.config.accounts import DEFAULT_ACCOUNT, settings_of_account
from konvox_hooks.config.load import load_settings
from konvox_hooks.config.settings import Settings

_ACCOUNT: Final = "konvox_hooks.api.account"


class AccountCommand(click.Command):
    """A command that takes `--account`. `chosen_account` reads it, and no command has to pass it on."""

    def __init__(self, *arguments: Any, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.params.append(
            click.Option(
                ["--account", "--endpoint"],
                metavar="NAME",
                help="An account of KONVOX_ACCOUNTS_FILE.",
                expose_value=False,
                callback=_remember,
            )
        )


class AccountGroup(click.Group):
    """A group whose commands take `--account`."""

    command_class = AccountCommand


def chosen_account() -> tuple[Settings, str]:
    """The settings and the name of the account that the current command works for.

    Raises:
        UsageError: there is no such account, there are several and none was named, or a setting is wrong.
    """
    name = click.get_current_context().meta.get(_ACCOUNT)
    return settings_of_account(load_settings(), name), name or DEFAULT_ACCOUNT


def _remember(context: click.Context, _parameter: click.Parameter, name: str | None) -> None:
    context.meta[_ACCOUNT] = name
