"""The variables by which Kubernetes links a pod to Services, where their names look like ours. Pure.

A Service named `konvox` puts KONVOX_PORT=tcp://10.0.0.1:80 and KONVOX_SERVICE_HOST into the environment of each pod of
its namespace. Docker's old links do the same. Called by `config.load`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_ADDRESS: Final = re.compile(r"(tcp|udp|sctp)://\S+")
_ALWAYS_A_LINK: Final = re.compile(
    r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)


def is_service_link(variable: str, value: str | None) -> bool:
    """Whether a variable is a service link: by its name, or by a value such as `tcp://10.0.0.1:80`."""
    named_port = variable.endswith("_PORT") and _ADDRESS.fullmatch(value or "") is not None
    return named_port or _ALWAYS_A_LINK.fullmatch(variable) is not None


def fault_of_link(variable: str, variables: Mapping[str, str | None]) -> str:
    """What is wrong with one of our variables if Kubernetes has set it; empty if it has not."""
    if not is_service_link(variable, variables.get(variable)):
        return ""
    service = variable.removesuffix("_PORT").lower().replace("_", "-")
    return (
        f"Kubernetes has set it, because there is a Service named {service}: set `enableServiceLinks: false` in the "
        f"pod's spec, or rename the Service, or set {variable} in the container's `env`"
    )
