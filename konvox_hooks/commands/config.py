"""`konvox-hooks config`: the settings in effect and their sources, with secrets masked."""

from __future__ import annotations

from difflib import get_close_matches

import click

from konvox_hooks.config.load import known_variables, load_settings, unknown_variables
from konvox_hooks.terminal.output import complain, print_json, print_table


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON array instead of a table.")
def command(*, as_json: bool) -> None:
    """Show the settings in effect, and where each comes from.

    The environment takes precedence over .env in the working directory. A secret may also be in a file that
    <VARIABLE>_FILE names. Secrets are masked. Unknown variables are reported on stderr.
    """
    for variable in unknown_variables():
        complain(_unknown_variable(variable))
    settings = load_settings()
    values = settings.effective()
    if as_json:
        print_json([value._asdict() for value in values])
    else:
        print_table(("VARIABLE", "VALUE", "SOURCE"), values)


def _unknown_variable(variable: str) -> str:
    nearest = get_close_matches(variable.upper(), sorted(known_variables()), n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else "deploy/env.example lists all settings"
    return f"warning: {variable} is not a setting; {hint}"
