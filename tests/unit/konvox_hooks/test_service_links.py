"""Tests of the variables by which Kubernetes links Services."""

from __future__ import annotations

from pathlib import Path

import pytest

from konvox_hooks.config.load import load_settings, unknown_variables
from konvox_hooks.config.service_links import is_service_link
from konvox_hooks.errors import UsageError

LINKS = {
    "KONVOX_SERVICE_HOST": "10.0.0.1",
    "KONVOX_SERVICE_PORT": "80",
    "KONVOX_SERVICE_PORT_HTTP": "80",
    "KONVOX_PORT_80_TCP": "tcp://10.0.0.1:80",
    "KONVOX_PORT_80_TCP_PROTO": "tcp",
    "KONVOX_PORT_80_TCP_PORT": "80",
    "KONVOX_PORT_80_TCP_ADDR": "10.0.0.1",
    "KONVOX_REDIS_PORT": "tcp://[fd00::1]:6379",
    "KONVOX_HOOKS_SERVICE_HOST": "10.0.0.2",
    "KONVOX_DNS_PORT": "udp://10.0.0.3:53",
}


def test_links_are_not_unknown_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The links of a Service whose name begins with ours are not reported as mistyped settings; others are."""
    for name, value in {**LINKS, "KONVOX_SERVICE_HOSTS": "x", "KONVOX_PRT": "80"}.items():
        monkeypatch.setenv(name, value)
    assert unknown_variables(env_file=tmp_path / ".env") == ["KONVOX_PRT", "KONVOX_SERVICE_HOSTS"]
    load_settings(env_file=tmp_path / ".env")


@pytest.mark.parametrize(
    ("variable", "value", "service"),
    [
        ("KONVOX_PORT", "tcp://10.0.0.1:80", "konvox"),
        ("KONVOX_PORT", "tcp://[fd00::1]:80", "konvox"),
        ("KONVOX_ADMIN_PORT", "tcp://10.0.0.1:80", "konvox-admin"),
    ],
)
def test_a_link_in_the_place_of_a_setting_is_explained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, value: str, service: str
) -> None:
    """A port that Kubernetes has set is refused with the Service's name and the ways out."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(
        UsageError, match=f"^{variable}: .*Service named {service}: .*enableServiceLinks: false"
    ) as fault:
        load_settings(env_file=tmp_path / ".env")
    assert "\n" not in str(fault.value)
    assert fault.value.exit_code == 2


@pytest.mark.parametrize("value", ["8080", "", "http://10.0.0.1", None])
def test_a_port_is_no_link(value: str | None) -> None:
    """A port of ours is recognised by its value."""
    assert not is_service_link("KONVOX_PORT", value)
