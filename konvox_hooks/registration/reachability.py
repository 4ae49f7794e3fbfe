"""Does the public URL lead to our receiver? Checked by `konvox-hooks register` and `doctor`.

The check sends a challenge (`receiver.challenge`) to the public URL, from this machine.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final
from urllib.parse import urlsplit

import aiohttp
import orjson
from yarl import URL

from konvox.proxies import open_session
from konvox.urls import is_loopback
from konvox_hooks.config.settings import Settings, variable_of
from konvox_hooks.config.urls import public_origin
from konvox_hooks.errors import CommandError
from receiver.challenge import CHALLENGE_HEADER, Challenge, make_challenge
from receiver.paths import HOOK_PATH
from receiver.responses import NOT_FOUND

REACH_SECONDS: Final = 10.0
"""How long an answer may take: as long as Konvox waits for a receiver."""

NOT_FROM_HERE: Final = "if it can be reached from the internet and only not from this machine: `register --no-check`"

_READ_BYTES: Final = 4096
"""How much of an answer is read. Our own is far shorter; a longer one is not ours."""

Resolve = Callable[[str], Awaitable[Sequence[str]]]


class ReachError(CommandError):
    """The public URL does not lead to our receiver.

    Attributes:
        fault: what was found.
        hint: what to do about it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, fault: str, hint: str) -> None:
        super().__init__(f"{variable_of('public_url')}: {fault}; {hint}")
        self.fault = fault
        self.hint = hint


class NotPublicError(ReachError):
    """The public URL is one that Konvox cannot reach from outside."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status and the beginning of the body."""

    status: int
    body: bytes


def sandbox_is_local(settings: Settings) -> bool:
    """Whether Konvox is the sandbox on this machine, which can reach this machine's own addresses."""
    return settings.api_url is not None and is_loopback(urlsplit(settings.api_url).hostname or "")


async def resolve(host: str) -> Sequence[str]:
    """The addresses of a host.

    Raises:
        OSError: it has none.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, None)
    return sorted({str(entry[4][0]) for entry in found})


async def refuse_local(public_url: str, *, resolve: Resolve = resolve) -> None:
    """Refuse a URL of this machine or of a private network.

    Raises:
        NotPublicError: it is such a URL.
        ReachError: its host has no address.
    """
    host = urlsplit(public_url).hostname or ""
    addresses = [host] if is_loopback(host) else await _addresses(host, resolve)
    local = [address for address in addresses if is_loopback(address) or is_local(address)]
    if local:
        what = f"{host} is" if local == [host] else f"{host} leads to {local[0]},"
        raise NotPublicError(
            f"{what} an address of this machine or of a private network, where Konvox cannot deliver",
            f"give it the public HTTPS origin of your proxy or tunnel; {NOT_FROM_HERE}",
        )


def is_local(address: str) -> bool:
    """Whether an IP address cannot be reached from the internet: loopback, private, link-local, reserved."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    inner = getattr(ip, "ipv4_mapped", None) or ip
    return not inner.is_global or inner.is_multicast


async def check_reach(public_url: str, settings: Settings) -> float:
    """Challenge the receiver at the public URL; returns how long the answer took, in milliseconds.

    Args:
        public_url: the receiver's origin.
        settings: must have a token or a signature.

    Raises:
        NotPublicError: Konvox could not reach the URL.
        ReachError: nothing answers, or something else than our receiver.
    """
    if not sandbox_is_local(settings):
        await refuse_local(public_url)
    origin = public_origin(public_url)
    if settings.hook_tokens:
        challenge = make_challenge("token", settings.hook_tokens[0].get_secret_value(), origin)
    else:
        challenge = make_challenge("signing secret", settings.signing_secrets[0].get_secret_value(), origin)
    started = time.perf_counter()
    answer = await _ask(challenge)
    judge(answer, challenge)
    return (time.perf_counter() - started) * 1000


def judge(answer: Answer, challenge: Challenge) -> None:
    """Accept the answer of our receiver, and explain any other. Pure.

    Raises:
        ReachError: it is not our receiver's.
    """
    if answer.status == 200 and challenge.is_answered_by(answer.body):
        return
    status = f"status {answer.status}"
    if answer.status == 404 and _is_our_404(answer.body):
        raise ReachError(
            "a receiver of konvox-hooks answers, and does not hold this token or signing secret",
            "start the receiver again with the settings of this machine, or run this with those of the receiver; "
            f"{variable_of('public_url')} must be the same, and the clocks not be minutes apart",
        )
    if 300 <= answer.status < 400:
        raise ReachError(f"it answers with a redirect ({status})", "set it to the origin that the redirect leads to")
    if answer.status in {502, 503, 504}:
        raise ReachError(
            f"a proxy answers, and finds no receiver behind it ({status})",
            f"start the receiver, and let the proxy pass {HOOK_PATH} on to KONVOX_HOST and KONVOX_PORT",
        )
    raise ReachError(
        f"something answers, and it is not this receiver ({status})",
        f"let the proxy pass POST {HOOK_PATH} and what is below it on to the receiver, headers included; "
        "a receiver of an older version must be updated",
    )


def _is_our_404(body: bytes) -> bool:
    try:
        return bool(orjson.loads(body) == NOT_FOUND.content)
    except orjson.JSONDecodeError:
        return False


async def _addresses(host: str, resolve: Resolve) -> Sequence[str]:
    try:
        async with asyncio.timeout(REACH_SECONDS):
            return await resolve(host)
    except (OSError, UnicodeError):  # a name with an empty or overlong part
        raise _no_address(host) from None


def _no_address(host: str) -> ReachError:
    return ReachError(f"there is no address for {host}", f"check the name and its DNS records; {NOT_FROM_HERE}")


async def _ask(challenge: Challenge) -> Answer:
    """Send the challenge as Konvox sends an event: a POST that follows no redirect, and 10 s for the answer."""
    headers = {CHALLENGE_HEADER: challenge.header, "Content-Type": "application/json"}
    timeout = aiohttp.ClientTimeout(total=REACH_SECONDS)
    host = urlsplit(challenge.url).hostname or ""
    try:
        async with (
            open_session(cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout) as session,
            session.post(URL(challenge.url, encoded=True), headers=headers, allow_redirects=False) as response,
        ):
            return Answer(response.status, await _beginning(response))
    except (aiohttp.ClientSSLError, aiohttp.ClientConnectorCertificateError) as error:
        hint = "give the proxy a certificate of a public authority for this name, the chain included"
        raise ReachError(f"TLS fails ({_tls_reason(error)})", hint) from None
    except aiohttp.ClientConnectorDNSError:
        raise _no_address(host) from None
    except TimeoutError:
        fault = f"no answer within {REACH_SECONDS:g} s"
    except aiohttp.ClientConnectorError as error:
        fault = f"cannot connect ({error.strerror or 'no reason given'})"
    except (aiohttp.ClientError, OSError) as error:
        fault = f"the connection broke, or what answers is no HTTP ({type(error).__name__})"
    raise ReachError(fault, f"start the receiver and the proxy, and open the firewall; {NOT_FROM_HERE}")


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    body = b""
    async for chunk in response.content.iter_chunked(_READ_BYTES):
        body += chunk
        if len(body) >= _READ_BYTES:
            break
    return body


def _tls_reason(error: aiohttp.ClientSSLError | aiohttp.ClientConnectorCertificateError) -> str:
    inner = error.certificate_error if isinstance(error, aiohttp.ClientConnectorCertificateError) else error.os_error
    return getattr(inner, "verify_message", "") or getattr(inner, "reason", "") or type(inner).__name__
