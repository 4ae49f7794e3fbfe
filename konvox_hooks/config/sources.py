"""The sources of a setting's text: the environment, then `.env`; for a secret also a file that one of them names.

Called by `config.load`; `export_env_file` is called before users' handlers are loaded.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

from pydantic_settings import BaseSettings, EnvSettingsSource

from konvox_hooks.config.env_syntax import read_variables
from konvox_hooks.errors import UsageError

FILE_SUFFIX: Final = "_FILE"

Source = Literal["default", "environment", ".env", "file"]


class Layer(NamedTuple):
    """One source of variables."""

    source: Source
    variables: Mapping[str, str | None]


class Found(NamedTuple):
    """A variable's text and its source."""

    text: str
    source: Source


def read_layers(settings_class: type[BaseSettings], env_file: str | Path, *, secrets: Collection[str]) -> list[Layer]:
    """The environment and `.env`, in order of precedence. `.env` need not exist.

    Args:
        settings_class: says how names are compared.
        env_file: the path of `.env`.
        secrets: the variables that `.env` has literally.

    Raises:
        UsageError: `.env` exists and cannot be read.
    """
    in_file = {name: value for name, value in _read_file(env_file, secrets).items() if value}
    return [Layer("environment", EnvSettingsSource(settings_class).env_vars), Layer(".env", in_file)]


def find(variable: str, layers: Sequence[Layer], *, may_be_file: bool) -> Found | None:
    """The text of a variable from the first layer that has it, or None. An empty text counts as not set.

    Raises:
        ValueError: one layer sets both the variable and its `_FILE`, or the file holds no value.
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
    """Put the variables of `.env` that are not ours into the environment, for users' handlers. The environment wins."""
    for name, value in _read_file(env_file).items():
        if value is not None and not name.upper().startswith("KONVOX_"):
            os.environ.setdefault(name, value)


def _read_file(env_file: str | Path, secrets: Collection[str] = ()) -> Mapping[str, str | None]:
    path = Path(env_file).expanduser()
    try:
        if not (path.is_file() or path.is_fifo()):
            return {}
        return read_variables(path.read_bytes().decode("utf-8-sig"), secrets)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"{env_file} cannot be read: {reason}") from None


def _text(variables: Mapping[str, str | None], variable: str) -> str:
    return (variables.get(variable) or "").strip()


def _content(variable: str, path: Path) -> str:
    # The message does not quote the path: somebody may have put the secret itself here.
    try:
        content = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text, or its name is no path"
        raise ValueError(f"the file that {variable} names cannot be read: {reason}") from None
    if not content:
        raise ValueError(f"the file that {variable} names is empty")
    return content
