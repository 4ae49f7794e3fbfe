"""Tests of the check that a URL leads to our receiver."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from konvox_hooks.config.settings import Settings
from konvox_hooks.registration.reachability import (
    Answer,
    NotPublicError,
    ReachError,
    Resolve,
    is_local,
    judge,
    refuse_local,
    sandbox_is_local,
)
from receiver.challenge import make_challenge


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("0.0.0.0", True),
        ("10.1.2.3", True),
        ("172.16.0.1", True),
        ("192.168.1.1", True),
        ("169.254.169.254", True),
        ("100.64.0.1", True),
        ("192.0.2.1", True),
        ("224.0.0.1", True),
        ("::1", True),
        ("::", True),
        ("fe80::1", True),
        ("fe80::1%eth0", True),
        ("fd00::1", True),
        ("ff02::1", True),
        ("::ffff:10.0.0.1", True),
        ("::ffff:8.8.8.8", False),
        ("8.8.8.8", False),
        ("172.32.0.1", False),
        ("2001:4860:4860::8888", False),
    ],
)
def test_which_addresses_are_local(address: str, local: bool) -> None:
    """Every address that the internet does not lead to is local."""
    assert is_local(address) == local


def resolving_to(*addresses: str) -> Resolve:
    """Replaces a name server."""

    async def resolve(host: str) -> Sequence[str]:
        """Return the addresses of any host."""
        if not addresses:
            raise OSError("no such name")
        return addresses

    return resolve


@pytest.mark.parametrize(
    ("url", "addresses"),
    [
        ("http://localhost:8080", ()),
        ("https://me.localhost", ()),
        ("http://[::1]:8080", ()),
        ("https://10.0.0.1", ("10.0.0.1",)),
        ("https://hooks.example.com", ("192.168.1.1",)),
        ("https://hooks.example.com", ("8.8.8.8", "fd00::1")),
    ],
)
async def test_local_urls_are_refused(url: str, addresses: tuple[str, ...]) -> None:
    """A URL is refused if any of the addresses that its host has is local."""
    with pytest.raises(NotPublicError, match="where Konvox cannot deliver") as refused:
        await refuse_local(url, resolve=resolving_to(*addresses))
    assert refused.value.exit_code == 2


async def test_a_public_url_is_not_refused() -> None:
    """A URL whose host has public addresses only is not refused."""
    await refuse_local("https://hooks.example.com", resolve=resolving_to("8.8.8.8", "2001:4860:4860::8888"))


async def test_a_name_without_an_address_is_a_fault() -> None:
    """The message about a host without an address names the host, and what to look at."""
    with pytest.raises(ReachError, match=r"no address for hooks\.example\.com; check the name and its DNS"):
        await refuse_local("https://hooks.example.com", resolve=resolving_to())


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".example.com"])
async def test_a_name_that_no_dns_can_hold_is_a_fault(host: str) -> None:
    """A name that DNS cannot hold is not looked up."""
    with pytest.raises(ReachError, match="no address for"):
        await refuse_local(f"https://{host}")


@pytest.mark.parametrize(
    ("status", "body", "fault", "hint"),
    [
        (404, b'{"error":"not found"}', "does not hold this token", "start the receiver again"),
        (404, b"<h1>Not Found</h1>", "not this receiver", "POST /hooks/konvox"),
        (200, b'{"challenge":"00"}', "not this receiver", "POST /hooks/konvox"),
        (200, b'{"status":"accepted"}', "not this receiver", "POST /hooks/konvox"),
        (401, b"", "status 401", "POST /hooks/konvox"),
        (308, b"", "redirect", "the redirect leads to"),
        (502, b"", "no receiver behind it", "start the receiver"),
    ],
)
def test_what_answers_is_told_apart(status: int, body: bytes, fault: str, hint: str) -> None:
    """Each kind of answer has a hint of its own."""
    with pytest.raises(ReachError) as failed:
        judge(Answer(status, body), make_challenge("token", "a-token-0123456789", "https://hooks.example.com"))
    assert fault in failed.value.fault
    assert hint in failed.value.hint
    assert failed.value.exit_code == 1


@pytest.mark.parametrize(
    ("api_url", "local"),
    [
        (None, False),
        ("http://127.0.0.1:8090", True),
        ("http://localhost:8090", True),
        ("https://konvox.example", False),
    ],
)
def test_only_a_sandbox_here_may_have_local_receivers(api_url: str | None, local: bool) -> None:
    """A sandbox on this machine can deliver to this machine's own addresses, and Konvox elsewhere cannot."""
    assert sandbox_is_local(Settings(api_url=api_url)) == local
