"""Who is at the other end of a connection: its address, or the one that a trusted proxy says it speaks for. Pure.

Called by both ways through the listener, for the log and for what is bounded per peer. A stranger can write anything
into `X-Forwarded-For` and `Forwarded`, so they are believed only as far as trusted proxies have written them: read from
the right, up to the first address that is no trusted proxy's.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Final, TypeAlias

from konvox.schemes import HeaderValues

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

UNKNOWN: Final = "unknown"
"""The peer of a connection that has no address."""

_SITE_BITS: Final = 64
"""One site has a whole IPv6 network of this size, so its addresses count as one peer."""

_MOST_HOPS: Final = 32
"""How many addresses of a header are looked at. No real way has so many proxies."""

_FORWARDED_FOR: Final = re.compile(r'(?:^|[;,\s])for\s*=\s*("[^"]*"|[^;,\s]*)', re.IGNORECASE)
_WITH_PORT: Final = re.compile(r"\[([^\]]*)\](?::\d+)?|([^:]*)(?::\d+)?")


class TrustedProxies:
    """Knows whose word about a peer counts.

    Args:
        networks: the addresses of trusted proxies.
    """

    def __init__(self, networks: Sequence[Network] = ()) -> None:
        self._networks = tuple(networks)

    def peer(self, address: str | None, headers: HeaderValues | None) -> str:
        """The address of the sender of a request.

        Args:
            address: the other end of the connection.
            headers: of the request, if it has come so far.
        """
        own = parse_address(address or "")
        if own is None:
            return address or UNKNOWN
        if headers is None or not self._trusts(own):
            return str(own)
        # A proxy writes one of the two headers and may pass the other on as a stranger wrote it. If they name
        # different peers, nobody knows which is the proxy's.
        named = {self._first_untrusted(own, hops) for hops in (_x_forwarded_for(headers), _forwarded(headers)) if hops}
        return str(named.pop()) if len(named) == 1 else str(own)

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._networks if network.version == address.version)

    def _first_untrusted(self, own: Address, hops: Sequence[str]) -> Address:
        """Read from the right; what is no address ends the way at the last proxy that is known."""
        last = own
        for hop in reversed(hops[-_MOST_HOPS:]):
            address = parse_address(hop)
            if address is None:
                break
            last = address
            if not self._trusts(address):
                break
        return last


def peer_key(peer: str) -> str:
    """What counts as one peer where something is bounded for each: an IPv4 address, or an IPv6 network of one site."""
    address = parse_address(peer)
    if address is None or address.version == 4:
        return peer
    return str(ipaddress.ip_network((address, _SITE_BITS), strict=False))


def parse_address(text: str) -> Address | None:
    """An IP address, with or without a port, brackets or a zone; None for anything else.

    An IPv4 address that is written as an IPv6 one is the IPv4 address.
    """
    text = text.strip()
    address = _address(text)
    if address is None and (found := _WITH_PORT.fullmatch(text)):
        address = _address(found[1] or found[2] or "")
    return address


def parse_network(text: str) -> Network:
    """An address or a network such as `10.0.0.0/8`.

    Raises:
        ValueError: it is neither.
    """
    network = ipaddress.ip_network(text.strip(), strict=False)
    mapped = network.network_address.ipv4_mapped if isinstance(network, ipaddress.IPv6Network) else None
    if mapped is not None and network.prefixlen >= 96:
        return ipaddress.ip_network((mapped, network.prefixlen - 96), strict=False)
    return network


def _address(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _x_forwarded_for(headers: HeaderValues) -> list[str]:
    return [hop for line in headers.getall("X-Forwarded-For", []) for hop in line.split(",")]


def _forwarded(headers: HeaderValues) -> list[str]:
    lines = headers.getall("Forwarded", [])
    return [hop.strip('"') for line in lines for hop in _FORWARDED_FOR.findall(line)]
