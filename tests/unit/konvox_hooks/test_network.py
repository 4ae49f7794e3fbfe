"""What the settings say about addresses: where to listen, and which proxies are trusted."""

from __future__ import annotations

from unittest.mock import patch

import pytest

from konvox_hooks.config.load import load_settings
from konvox_hooks.config.network import listening_hosts
from konvox_hooks.config.settings import Settings
from konvox_hooks.errors import UsageError


def faults(**variables: str) -> list[str]:
    """The lines of the fault that these variables (without prefix) make."""
    environment = {f"KONVOX_{name}": value for name, value in variables.items()}
    with patch.dict("os.environ", environment), pytest.raises(UsageError) as caught:
        load_settings(env_file="none")
    return str(caught.value).splitlines()


def load(**variables: str) -> Settings:
    """The settings that these variables (without prefix) make."""
    with patch.dict("os.environ", {f"KONVOX_{name}": value for name, value in variables.items()}):
        return load_settings(env_file="none")


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("127.0.0.1", ["127.0.0.1"]),
        (" 127.0.0.1 , ::1 ", ["127.0.0.1", "::1"]),
        ("[::1],127.0.0.1,::1", ["::1", "127.0.0.1"]),
        ("::", ["::"]),
    ],
)
def test_a_listener_takes_several_addresses(text: str, hosts: list[str]) -> None:
    """Addresses are separated by commas, with or without the brackets of a URL."""
    assert listening_hosts(load(HOST=text).host) == hosts


@pytest.mark.parametrize("text", [",", " , ", "[]"])
def test_a_listener_needs_an_address(text: str) -> None:
    """What names no address is refused."""
    [line] = faults(HOST=text)
    assert line.startswith("KONVOX_HOST: this names no address")


def test_trusted_proxies_are_addresses_and_networks() -> None:
    """What is neither is refused, and the fault says which entry it is."""
    assert load(TRUSTED_PROXIES="10.0.0.0/8,::1, 192.0.2.7").trusted_proxies == ["10.0.0.0/8", "::1", "192.0.2.7"]
    [line] = faults(TRUSTED_PROXIES="10.0.0.0/8,proxy.internal")
    assert line.startswith("KONVOX_TRUSTED_PROXIES: entry 2 of 2 is neither an address nor a network")
