"""The errors of the application. The message is what the operator reads; `exit_code` is what the shell gets."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar


class CommandError(Exception):
    """A command ends here: the message stands on stderr after `konvox-hooks: `, without a traceback."""

    exit_code: ClassVar[int] = 1


class Failed(CommandError):  # noqa: N818 - an outcome, read as "the command failed"; the exit code's own name
    """The command was understood, and could not do what it was asked to."""

    exit_code = 1


class UsageError(CommandError):
    """The command line or the configuration is wrong; nothing was done."""

    exit_code = 2


class HiddenPackageError(UsageError, ImportError):
    """A file of the user's is found where a package of ours is meant.

    Attributes:
        name: the package's name.
        path: the file that hides it.
    """

    def __init__(self, package: str, culprit: Path) -> None:
        ImportError.__init__(
            self,
            f"{culprit} hides the package {package} of konvox-hooks: "
            "rename it, or take its folder off the front of Python's path (PYTHONPATH, or pytest's root folder)",
            name=package,
            path=str(culprit),
        )


class NeedsAttention(CommandError):  # noqa: N818 - not an error: nothing is wrong, a person has something to decide
    """Nothing went wrong, but something needs a person: dead letters that wait, an endpoint that differs."""

    exit_code = 3
