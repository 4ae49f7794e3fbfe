"""The errors of the worker package."""

from __future__ import annotations


class WorkerError(Exception):
    """Something about running handlers is not as it should be."""


class LifespanError(WorkerError):
    """A module's `lifespan` failed, so its handlers cannot run; the worker does not start without them.

    Attributes:
        exit_code: how a command that meets it ends: what the module needs is part of the configuration.
        module: the module.
    """

    exit_code = 2

    def __init__(self, module: str, error: BaseException) -> None:
        super().__init__(f"the lifespan of {module} failed: {type(error).__name__}: {error}")
        self.module = module


class NoKonvoxAccessError(WorkerError):
    """A handler used `ctx.konvox`, and nobody has said where the Konvox API is, or given the key to it."""

    def __init__(self) -> None:
        super().__init__("ctx.konvox needs KONVOX_API_URL and KONVOX_API_KEY to be set")
