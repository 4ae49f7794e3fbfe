"""The errors of the application. Commands raise them; `cli.run` shows the message and returns the exit code."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar


class CommandError(Exception):
    """The command ends: its message goes to stderr after `konvox-hooks: `, without a traceback.

    Attributes:
        exit_code: the exit code of the process.
    """

    exit_code: ClassVar[int] = 1


class Failed(CommandError):  # noqa: N818 - named after its exit code: the command failed
    """The command could not do what it was asked to do."""

    exit_code = 1


class UsageError(CommandError):
    """The command line or the configuration is wrong, and nothing was done."""

    exit_code = 2


class HiddenPackageError(UsageError, ImportError):
    """Python finds a file of the user instead of a package of ours.

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


class NeedsAttention(CommandError):  # noqa: N818 - named after its exit code: nothing is wrong, but a person must decide
    """Nothing is wrong, but a person has to decide or do something, as with a webhook that differs."""

    exit_code = 3
