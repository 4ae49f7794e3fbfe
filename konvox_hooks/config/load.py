"""Read the settings from the environment and `.env`, or say in one line each which of them are wrong.

Called by each command before it does anything else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from konvox_hooks.config.service_links import fault_of_link, is_service_link
from konvox_hooks.config.settings import PREFIX, SECRET_FIELDS, SECRET_VARIABLES, Settings, example_of, variable_of
from konvox_hooks.config.sources import FILE_SUFFIX, Source, find, read_layers
from konvox_hooks.errors import UsageError

FORMER_NAMES: Final = {"accounts_file": "endpoints_file"}
"""Settings that are also read from the variable of their former name."""


def load_settings(*, env_file: str | Path = ".env") -> Settings:
    """Read the environment and `.env`.

    Raises:
        UsageError: one line for each invalid setting, all in one message; no line holds a value.
    """
    settings, faults = examine_settings(env_file=env_file)
    if faults:
        raise UsageError("\n".join(faults.values()))
    return settings


def examine_settings(*, env_file: str | Path = ".env") -> tuple[Settings, dict[str, str]]:
    """Read the environment and `.env`, and use the default of each invalid setting. Called by `doctor`.

    Returns:
        The settings; and, by its name, one line for each setting that is invalid.

    Raises:
        UsageError: `.env` cannot be read.
    """
    layers = read_layers(Settings, env_file, secrets=SECRET_VARIABLES)
    values: dict[str, str] = {}
    sources: dict[str, Source] = {}
    faults: dict[str, str] = {}
    for name in Settings.model_fields:
        try:
            found = find(variable_of(name), layers, may_be_file=name in SECRET_FIELDS)
            if found is None and name in FORMER_NAMES:
                found = find(variable_of(FORMER_NAMES[name]), layers, may_be_file=False)
        except ValueError as error:
            faults[name] = str(error)
            continue
        if found is not None and (link := fault_of_link(variable_of(name), layers[0].variables)):
            faults[name] = link
        elif found is not None:
            values[name], sources[name] = found
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        # A secret whose file cannot be read is reported as missing too; the earlier fault is the cause, and wins.
        faults = faults_by_name(error) | faults
        # Without valid secrets, a signature scheme would be a fault as well.
        wrong = faults.keys() | ({"signature"} if "signing_secrets" in faults else set())
        settings = Settings.model_validate({name: value for name, value in values.items() if name not in wrong})
    settings._sources.update(sources)  # the only place that knows where each value came from
    return settings, {name: _line(name, faults[name]) for name in Settings.model_fields if name in faults}


def unknown_variables(*, env_file: str | Path = ".env") -> list[str]:
    """The KONVOX_ variables that are set and that nothing reads; most likely they are mistyped."""
    known = known_variables()
    names = {
        name
        for layer in read_layers(Settings, env_file, secrets=SECRET_VARIABLES)
        for name, value in layer.variables.items()
        if not is_service_link(name, value)
    }
    return sorted(name for name in names if name.upper().startswith(PREFIX) and name not in known)


def known_variables() -> frozenset[str]:
    """Every variable that is read, with the `…_FILE` ones."""
    files = {variable_of(name) + FILE_SUFFIX for name in SECRET_FIELDS}
    return frozenset({*map(variable_of, (*Settings.model_fields, *FORMER_NAMES.values())), *files})


def faults_by_name(error: ValidationError) -> dict[str, str]:
    """Why each setting is invalid, by its name, without its value."""
    faults: dict[str, str] = {}
    for details in error.errors(include_input=False, include_url=False):
        faults.setdefault(str(details["loc"][0]), _reason(details))
    return faults


def _reason(details: ErrorDetails) -> str:
    ours = details.get("ctx", {}).get("error")
    return str(ours) if ours is not None else details["msg"].replace("Input should", "this should")


def _line(name: str, reason: str) -> str:
    variable = variable_of(name)
    return f"{variable}: {reason} (example: {variable}={example_of(name)})"
