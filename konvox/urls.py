"""Where Konvox may send to: the one rule for the URL of a webhook, and how such a URL may be shown. Pure.

Called by the API client and the sandbox for a webhook's URL; by the settings for the public URL and that of the API.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

from konvox.errors import InvalidUrlError

MASK = "••••"


def check_web_url(url: str) -> SplitResult:
    """The parts of a URL that is HTTPS, as Konvox asks for; plain HTTP passes for this machine only.

    That exception lets a sandbox on this machine deliver.

    Raises:
        InvalidUrlError: it is not such a URL.
    """
    if any(character.isspace() or not character.isprintable() for character in url):
        raise InvalidUrlError("must be an https:// URL without white space and control characters")
    parts = split_url(url)
    if parts is None:
        raise InvalidUrlError("must be an https:// URL: its host or port cannot be read")
    if parts.scheme not in {"https", "http"} or not parts.hostname:
        raise InvalidUrlError("must be a URL that begins with https:// and names a host")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise InvalidUrlError(
            "must begin with https://; http:// is for this machine only, such as http://127.0.0.1:8080"
        )
    return parts


def split_url(url: str) -> SplitResult | None:
    """The parts of a URL, or None where its host or port cannot be read."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # urllib checks the port when it is read
    except ValueError:
        return None
    return parts


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def is_own_host(header: str | None, own: Sequence[str]) -> bool:
    """Whether a request's `Host` names the server that it came to: loopback, or one of its own names or addresses.

    A browser always sends the name that it believes to talk to. Without a header it was no browser.
    """
    if header is None:
        return True
    parts = split_url(f"//{header}")
    name = "" if parts is None or header != parts.netloc or parts.username is not None else (parts.hostname or "")
    name = name.removesuffix(".")
    return bool(name) and (is_loopback(name) or name in {_canonical(host) for host in own})


def _canonical(host: str) -> str:
    """A name or an address as it stands in a URL's host."""
    host = host.lower().partition("%")[0].removeprefix("[").removesuffix("]").removesuffix(".")
    return host.removeprefix("::ffff:") if "." in host else host


def masked_url(url: str) -> str:
    """A webhook's URL as it may be logged: scheme, host and path. Its last segment is masked: it may be a token.

    A slash at the end makes no difference: the segment before it is the last one.
    """
    try:
        parts = urlsplit(url)
        host_and_port = parts.netloc.rpartition("@")[2]
    except ValueError:
        return MASK
    path = parts.path.rstrip("/")
    folder, slash, last = path.rpartition("/")
    slashes = parts.path[len(path) :]
    return f"{parts.scheme}://{host_and_port}{folder}{slash}{MASK if last else ''}{slashes}"
