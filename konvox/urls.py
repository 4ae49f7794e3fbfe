"""What a webhook's URL must look like, and how it may be shown. Pure; used by sandbox, client, console."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

MASK = "••••"


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def url_fault(url: str) -> str | None:
    """What is wrong with a webhook's URL, or None. Konvox asks for HTTPS; plain HTTP is for this machine only."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "its host or port cannot be read"
    if any(character.isspace() or not character.isprintable() for character in url):
        return "it holds white space or control characters"
    if parts.scheme == "http" and host and is_loopback(host):
        return None
    if parts.scheme != "https" or not host:
        return "it must begin with https:// and name a host (http:// is for this machine only)"
    return None


def masked_url(url: str) -> str:
    """A webhook's URL as it may be logged: scheme, host and path; the last segment may be a token, and is masked.

    A slash at the end makes no difference: the segment before it is the last one.
    """
    try:
        parts = urlsplit(url)
        place = parts.netloc.rpartition("@")[2]
    except ValueError:
        return MASK
    path = parts.path.rstrip("/")
    folder, slash, last = path.rpartition("/")
    end = parts.path[len(path) :]
    return f"{parts.scheme}://{place}{folder}{slash}{MASK if last else ''}{end}"
