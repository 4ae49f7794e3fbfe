"""`konvox-hooks init`: the first files of a service: a handler, its test, settings with a fresh token."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from konvox_hooks.config.env_file import open_to_others
from konvox_hooks.config.settings import variable_of
from konvox_hooks.demo.scaffold import ENV_FILE, HANDLERS_FILE, make_scaffold
from konvox_hooks.errors import NeedsAttention
from konvox_hooks.shadowing import hiding_files
from konvox_hooks.terminal.formatting import example, say, shown_line
from konvox_hooks.terminal.output import PROGRAM, complain


@click.command(epilog=example("init", "init my-hooks"))
@click.argument("folder", type=click.Path(path_type=Path), default=".")
def command(*, folder: Path) -> None:
    """Make a first handler, a test for it and .env with a fresh token, in this folder or in FOLDER.

    What exists is left as it is, but for lines that .gitignore lacks. Exit code 3: something was there before. See
    whether it fits.
    """
    scaffold = make_scaffold(folder)
    for name in scaffold.made:
        say(f"made {shown_line(str(folder / name))}")
    if mode := open_to_others(folder / ENV_FILE):
        complain(
            f"{shown_line(str(folder / ENV_FILE))} is open to others ({mode:04o}), and it is for secrets: chmod 600"
        )
    if scaffold.left:
        kept = ", ".join(shown_line(str(folder / name)) for name in scaffold.left)
        raise NeedsAttention(
            f"left as it was: {kept}. See that {ENV_FILE} has {variable_of('hook_tokens')}, and names your handlers "
            f"(example: {variable_of('handlers')}=./{HANDLERS_FILE})"
        )
    _say_next(folder)
    if hiding := hiding_files(folder):
        raise NeedsAttention(
            f"rename {', '.join(shown_line(str(path)) for path in hiding)}: "
            "in a test run it hides what handlers import from konvox-hooks"
        )


def _say_next(folder: Path) -> None:
    say("\nNext:")
    if folder.resolve() != Path.cwd():
        say(f"  cd {shown_line(shlex.quote(str(folder)))}")
    for line, what in (
        (f"{PROGRAM} handlers", "see what is registered for which events"),
        (f"{PROGRAM} dev", "run it all, and again whenever you change a handler"),
        (f"{PROGRAM} trigger contact.replied", "in a second terminal: send a sample event"),
        ("pytest", "run the test of the handlers"),
    ):
        say(f"  {line:<38}  {what}")
