"""Where this machine reaches its own receiver. Used by `trigger` and `dev`."""

from __future__ import annotations

from konvox_hooks.config.network import listening_hosts
from konvox_hooks.config.settings import Settings, variable_of
from konvox_hooks.errors import UsageError

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound; the address that reaches such a listener


def own_origin(settings: Settings) -> str:
    """The origin at which this machine reaches the receiver.

    Raises:
        UsageError: the receiver takes a free port, which only its log names.
    """
    if settings.port == 0:
        raise UsageError(f"{variable_of('port')} is 0, a free port: pass the URL that the receiver logged with --url")
    first, *_ = listening_hosts(settings.host)
    host = _ANY_ADDRESS.get(first, first)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
