"""Where the text of a setting comes from: the environment before `.env`, and for a secret a file that either names."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

from dotenv import dotenv_values
from pydantic_settings import BaseSettings, DotEnvSettingsSource, EnvSettingsSource

from konvox_hooks.errors import UsageError

FILE_SUFFIX: Final = "_FILE"

Source = Literal["default", "environment", ".env", "file"]


class Layer(NamedTuple):
    """One place where variables stand."""

    source: Source
    variables: Mapping[str, str | None]


class Found(NamedTuple):
    """A variable's text and where it stood."""

    text: str
    source: Source


def read_layers(settings_class: type[BaseSettings], env_file: str | Path) -> list[Layer]:
    """The places to look at, the stronger first. A `.env` that is not there is no fault.

    Raises:
        UsageError: `.env` is there and cannot be read.
    """
    try:
        dotenv = DotEnvSettingsSource(settings_class, env_file=env_file).env_vars
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"{env_file} cannot be read: {reason}") from None
    return [Layer("environment", EnvSettingsSource(settings_class).env_vars), Layer(".env", dotenv)]


def find(variable: str, layers: Sequence[Layer], *, may_be_file: bool) -> Found | None:
    """The text of a variable from the first layer that has it, or None. What is empty counts as not set.

    Raises:
        ValueError: the variable and its `_FILE` are both set in one layer, or the file does not hold a value.
    """
    for source, variables in layers:
        text = _text(variables, variable)
        path = _text(variables, variable + FILE_SUFFIX) if may_be_file else ""
        if text and path:
            raise ValueError(f"{variable + FILE_SUFFIX} is set as well: keep one of the two")
        if text:
            return Found(text, source)
        if path:
            return Found(_content(variable + FILE_SUFFIX, Path(path)), "file")
    return None


def export_env_file(env_file: str | Path = ".env") -> None:
    """Hand what stands in `.env` and is not ours on to the environment of the users' handlers; the environment wins."""
    for name, value in dotenv_values(env_file).items():
        if value is not None and not name.upper().startswith("KONVOX_"):
            os.environ.setdefault(name, value)


def _text(variables: Mapping[str, str | None], variable: str) -> str:
    return (variables.get(variable) or "").strip()


def _content(variable: str, path: Path) -> str:
    # The path is not quoted: a secret that was put here by mistake is still a secret.
    try:
        content = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text, or its name is no path"
        raise ValueError(f"the file that {variable} names cannot be read: {reason}") from None
    if not content:
        raise ValueError(f"the file that {variable} names is empty")
    return content
