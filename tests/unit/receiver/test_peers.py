"""Who is the peer: what a trusted proxy says, and never what a stranger says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from receiver.peers import TrustedProxies, parse_network, peer_key

PROXIES = TrustedProxies([parse_network(text) for text in ("10.0.0.0/8", "::1", "::ffff:192.168.0.0/112")])


@pytest.mark.parametrize(
    ("address", "headers", "peer"),
    [
        ("203.0.113.9", [("X-Forwarded-For", "1.2.3.4")], "203.0.113.9"),  # a stranger says anything
        ("203.0.113.9", [("Forwarded", "for=1.2.3.4")], "203.0.113.9"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [("X-Forwarded-For", "1.2.3.4")], "1.2.3.4"),
        ("::ffff:10.0.0.1", [("X-Forwarded-For", "1.2.3.4")], "1.2.3.4"),
        ("192.168.0.7", [("X-Forwarded-For", "1.2.3.4")], "1.2.3.4"),
        ("10.0.0.1", [("X-Forwarded-For", "6.6.6.6, 1.2.3.4")], "1.2.3.4"),  # what a stranger put in front
        ("10.0.0.1", [("X-Forwarded-For", "6.6.6.6, 1.2.3.4, 10.9.9.9")], "1.2.3.4"),
        ("10.0.0.1", [("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-For", "1.2.3.4")], "1.2.3.4"),
        ("10.0.0.1", [("X-Forwarded-For", "10.1.1.1, 10.2.2.2")], "10.1.1.1"),
        ("10.0.0.1", [("X-Forwarded-For", "1.2.3.4:5678")], "1.2.3.4"),
        ("10.0.0.1", [("X-Forwarded-For", "2001:db8::7")], "2001:db8::7"),
        ("10.0.0.1", [("X-Forwarded-For", "[2001:db8::7]:443")], "2001:db8::7"),
        ("10.0.0.1", [("X-Forwarded-For", "1.2.3.4, unknown")], "10.0.0.1"),
        ("10.0.0.1", [("X-Forwarded-For", "1.2.3.4, evil, 10.3.3.3")], "10.3.3.3"),
        ("10.0.0.1", [("X-Forwarded-For", "")], "10.0.0.1"),
        ("10.0.0.1", [("Forwarded", "for=1.2.3.4;proto=https;by=10.0.0.1")], "1.2.3.4"),
        ("10.0.0.1", [("Forwarded", 'For="[2001:db8::7]:4711"')], "2001:db8::7"),
        ("10.0.0.1", [("Forwarded", "for=6.6.6.6, for=1.2.3.4")], "1.2.3.4"),
        ("10.0.0.1", [("Forwarded", "for=1.2.3.4"), ("X-Forwarded-For", "1.2.3.4")], "1.2.3.4"),
        ("10.0.0.1", [("Forwarded", "for=6.6.6.6"), ("X-Forwarded-For", "1.2.3.4")], "10.0.0.1"),
        ("10.0.0.1", [("Forwarded", "for=_hidden")], "10.0.0.1"),
        ("::1", [("X-Forwarded-For", "1.2.3.4")], "1.2.3.4"),
        ("fe80::1%eth0", [], "fe80::1"),
        ("", [("X-Forwarded-For", "1.2.3.4")], "unknown"),
    ],
)
def test_whose_word_counts(address: str, headers: list[tuple[str, str]], peer: str) -> None:
    """The peer is the last address that no trusted proxy has."""
    assert PROXIES.peer(address, CIMultiDict(headers)) == peer


def test_nobody_is_trusted_unless_named() -> None:
    """Without trusted proxies the other end of the connection is the peer, loopback included."""
    assert TrustedProxies().peer("127.0.0.1", CIMultiDict({"X-Forwarded-For": "1.2.3.4"})) == "127.0.0.1"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("1.2.3.4", "1.2.3.4", True),
        ("1.2.3.4", "1.2.3.5", False),
        ("2001:db8::1", "2001:db8::ffff:1:2:3", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
    ],
)
def test_a_site_is_one_peer(one: str, other: str, same: bool) -> None:
    """An IPv6 network of one site counts as one, because all its addresses may be one sender's."""
    assert (peer_key(one) == peer_key(other)) is same


@given(address=st.text(max_size=30), lines=st.lists(st.text(max_size=60), max_size=4), name=st.booleans())
def test_whatever_a_header_says_nothing_is_raised(address: str, lines: list[str], name: bool) -> None:
    """Every header leads to some peer."""
    headers = CIMultiDict([("Forwarded" if name else "X-Forwarded-For", line) for line in lines])
    for other_end in ("10.0.0.1", address):
        assert peer_key(PROXIES.peer(other_end, headers))
