"""`konvox-hooks handlers`: show which handlers want which events, and where they come from."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout

import click

from handlers.loader import load
from handlers.registry import Handler, Registry
from handlers.stubs import handler_stub
from konvox.events import EVENT_MODELS
from konvox_hooks.config.load import load_settings
from konvox_hooks.config.settings import variable_of
from konvox_hooks.terminal.output import complain, print_json, print_table


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON array instead of a table.")
def command(*, as_json: bool) -> None:
    """Show which handlers want which events, and where they come from.

    Loads the handlers of KONVOX_HANDLERS and of installed packages, as a worker does: use it to find a module that
    cannot be imported. Documented events that no handler wants are reported on stderr.
    """
    settings = load_settings()
    # A module of handlers may print while it is imported, and stdout is for the result.
    with redirect_stdout(sys.stderr):
        registry = load(settings.handlers).registry
    if as_json:
        print_json([_as_json(handler) for handler in registry])
    else:
        print_table(("HANDLER", "EVENTS", "ATTEMPTS", "TIMEOUT", "SOURCE"), map(_as_row, registry))
    _report_unwanted_events(registry)


def _as_json(handler: Handler) -> dict[str, object]:
    return {
        "name": handler.name,
        "was": list(handler.was),
        "events": list(handler.patterns),
        "attempts": handler.attempts,
        "timeout_seconds": handler.timeout_seconds,
        "source": handler.source,
    }


def _as_row(handler: Handler) -> tuple[object, ...]:
    events = ", ".join(handler.patterns)
    return handler.name, events, handler.attempts, f"{handler.timeout_seconds:g} s", handler.source


def _report_unwanted_events(registry: Registry) -> None:
    if not len(registry):
        complain(
            "no handler is registered: events are kept, and no handler runs. "
            f"Put this into my_handlers.py and set {variable_of('handlers')}=my_handlers.py:\n\n"
            + handler_stub("contact.replied")
        )
        return
    unwanted = [event_type for event_type in EVENT_MODELS if not registry.matching(event_type)]
    if unwanted:
        complain(f"no handler wants {', '.join(unwanted)}: such events are kept, and no handler runs")
