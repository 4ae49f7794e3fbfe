"""The errors of the worker package."""

from __future__ import annotations


class WorkerError(Exception):
    """Handlers cannot be run as they should be."""


class LifespanError(WorkerError):
    """A module's `lifespan` failed. Its handlers cannot run, and the worker does not start without them.

    Attributes:
        exit_code: of a command that meets it: what the module needs is part of the configuration.
        module: the module's name.
    """

    exit_code = 2

    def __init__(self, module: str, error: BaseException) -> None:
        super().__init__(f"the lifespan of {module} failed: {type(error).__name__}: {error}")
        self.module = module


class NoKonvoxAccessError(WorkerError):
    """A handler used `ctx.konvox`, but the URL of the Konvox API or its key is not configured."""

    def __init__(self) -> None:
        super().__init__("ctx.konvox needs KONVOX_API_URL and KONVOX_API_KEY to be set")


class NeverAwaitedError(WorkerError):
    """A handler made a call that nobody has awaited: nothing was sent, and the attempt has failed."""

    def __init__(self, calls: str) -> None:
        super().__init__(f"{calls}, and so did not happen: write await or async with, or in a plain def ctx.run(…)")
