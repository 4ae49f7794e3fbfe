"""What the settings say about addresses: where to listen, and which proxies are trusted. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from receiver.peers import Network, parse_network


def listening_hosts(value: str) -> list[str]:
    """The addresses of a comma-separated text, without the brackets that an IPv6 one may have in a URL."""
    parts = (part.strip() for part in value.split(","))
    return list(dict.fromkeys(part.removeprefix("[").removesuffix("]") for part in parts if part.strip("[]")))


def trusted_networks(entries: Sequence[str]) -> list[Network]:
    """The networks of trusted proxies.

    Raises:
        ValueError: an entry is no address and no network.
    """
    networks = []
    for position, entry in enumerate(entries, start=1):
        try:
            networks.append(parse_network(entry))
        except ValueError:
            raise ValueError(
                f"entry {position} of {len(entries)} is neither an address nor a network such as 10.0.0.0/8"
            ) from None
    return networks
