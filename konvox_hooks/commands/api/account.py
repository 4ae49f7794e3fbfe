"""Which account a command of `konvox-hooks api` works for: `--endpoint`, which each of them takes."""

from __future__ import annotations

from typing import Any, Final

import click

from konvox_hooks.config.accounts import ONE_AND_ONLY, settings_of_endpoint
from konvox_hooks.config.settings import Settings, load_settings

_ENDPOINT: Final = "konvox_hooks.api.endpoint"


class AccountCommand(click.Command):
    """A command that takes `--endpoint`. `account` reads it, so that no command has to pass it on."""

    def __init__(self, *arguments: Any, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.params.append(
            click.Option(
                ["--endpoint"],
                metavar="NAME",
                help="The account of this endpoint of KONVOX_ENDPOINTS_FILE.",
                expose_value=False,
                callback=_remember,
            )
        )


class AccountGroup(click.Group):
    """A group whose commands take `--endpoint`."""

    command_class = AccountCommand


def account() -> tuple[Settings, str]:
    """The settings of the account that the command under way works for, and the name of its endpoint.

    Raises:
        UsageError: there is no such endpoint, or there are several and none was named; or a setting is wrong.
    """
    name = click.get_current_context().meta.get(_ENDPOINT)
    return settings_of_endpoint(load_settings(), name), name or ONE_AND_ONLY


def _remember(context: click.Context, _parameter: click.Parameter, name: str | None) -> None:
    context.meta[_ENDPOINT] = name
