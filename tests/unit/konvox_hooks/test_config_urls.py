"""Tests of the URLs in the settings: which are valid, and how they are shown."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from konvox.urls import MASK
from konvox_hooks.config.urls import api_base_url, mask_redis_address, public_origin, redis_address


def what_is_shown(show: Callable[[str], str], check: Callable[[str], str], url: str) -> str:
    """How a valid URL is shown, or the message about an invalid one."""
    try:
        return show(check(url))
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize(
    ("given_url", "origin"),
    [
        ("https://hooks.example.com", "https://hooks.example.com"),
        ("https://Hooks.Example.com:8443/", "https://hooks.example.com:8443"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://localhost:8080/", "http://localhost:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_an_origin_loses_its_slash(given_url: str, origin: str) -> None:
    """An HTTPS URL, and an HTTP URL of this machine, is an origin with or without a slash at its end."""
    assert public_origin(given_url) == origin


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("hooks.example.com", "begins with https://"),
        ("ftp://hooks.example.com", "begins with https://"),
        ("https://", "begins with https://"),
        ("http://hooks.example.com", "http:// is for this machine only"),
        ("http://127.0.0.1.example.com", "http:// is for this machine only"),
        ("https://hooks.example.com/hooks/konvox", "konvox-hooks adds the path"),
        ("https://user:pass@hooks.example.com", "must not hold a user"),
        ("https://hooks.example.com?a=b", "must not hold a user"),
        ("https://hooks.example.com#a", "must not hold a user"),
        ("https://hooks.example.com:port", "cannot be read"),
        ("https://hooks.example.com:70000", "cannot be read"),
        ("https://[::1", "cannot be read"),
        ("https://hooks.example.com /", "white space"),
        ("https://hooks.example\x00.com", "white space"),
    ],
)
def test_what_is_no_origin_is_refused(url: str, fault: str) -> None:
    """Each kind of invalid public URL has its own message."""
    with pytest.raises(ValueError, match=fault):
        public_origin(url)


def test_an_api_url_keeps_its_path() -> None:
    """The API's URL may have a path; only a slash at its end is removed."""
    assert api_base_url("https://app.example.com/konvox/") == "https://app.example.com/konvox"
    with pytest.raises(ValueError, match="http:// is for this machine only"):
        api_base_url("http://app.example.com")


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1",
        "redis://:p%23w@redis:6379/3",
        "rediss://redis.example.com:6380/",
        "unix:///run/redis.sock?db=1",
        "redis+sentinel://me:p%40w@s1:26379,s2:26379,s3:26379/mymaster/2?sentinel_password=x",
        "rediss+sentinel://s1,s2/mymaster",
    ],
)
def test_a_redis_url_stays_as_it_is(url: str) -> None:
    """A URL that redis-py understands is not changed."""
    assert redis_address(url) == url


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("http://127.0.0.1:6379", "must begin with redis://"),
        ("127.0.0.1:6379", "must begin with redis://|after the scheme"),
        ("redis://", "after the scheme"),
        ("redis://host:6379/zero", "after the scheme"),
        ("redis://:pa#ss@host:6379", "after the scheme"),
        ("redis://user:12/34@host:6379", "percent-encoded"),
        ("redis://:pa/ss@host:6379/0", "percent-encoded"),
        ("unix://", "the path of the socket is missing"),
        ("redis+sentinel://s1:26379,s2:26379", r"the name of the master is missing.*such as redis\+sentinel://"),
        ("redis+sentinel://:pa/ss@s1:26379/mymaster", "percent-encoded"),
        ("redis+sentinel://s1, s2/mymaster", "white space"),
    ],
)
def test_what_is_no_redis_url_is_refused(url: str, fault: str) -> None:
    """A wrong scheme, a missing host and an unquoted password each have their own message."""
    with pytest.raises(ValueError, match=fault):
        redis_address(url)


def test_a_redis_url_is_shown_without_its_secrets() -> None:
    """A masked URL shows host, port and database, but not user, password and query."""
    assert mask_redis_address("redis://me:pw@redis:6379/3") == f"redis://{MASK}@redis:6379/3"
    assert mask_redis_address("unix:///run/redis.sock?password=pw") == f"unix:///run/redis.sock?{MASK}"
    assert mask_redis_address("redis://redis") == "redis://redis"
    sentinels = "s1:26379,[::1]:26379/mymaster/0"
    assert (
        mask_redis_address(f"redis+sentinel://me:pw@{sentinels}?sentinel_password=pw")
        == f"redis+sentinel://{MASK}@{sentinels}?{MASK}"
    )


@given(password=st.text(min_size=5, max_size=40).map(lambda text: f"pw{text}"), user=st.sampled_from(["", "me"]))
def test_no_password_survives_masking(password: str, user: str) -> None:
    """Every password is refused as part of a URL, or masked."""
    assert password not in what_is_shown(
        mask_redis_address, redis_address, f"redis://{user}:{password}@redis.example/0"
    )
    for url in (
        f"redis+sentinel://{user}:{password}@s1.example,s2.example:2/master",
        f"redis+sentinel://s1.example,s2.example:2/master?sentinel_password={password}",
    ):
        assert password not in what_is_shown(mask_redis_address, redis_address, url)


@given(
    st.text(max_size=60).map("qz{}zq".format),
    st.sampled_from(["", "https://", "redis://", "http://[", "redis+sentinel://", "redis+sentinel://s1/m?"]),
)
def test_any_text_is_taken_or_explained(text: str, start: str) -> None:
    """Every text is either accepted or refused by a ValueError with our own message."""
    for check in (public_origin, api_base_url, redis_address):
        shown = what_is_shown(lambda _: "", check, start + text)
        assert text not in shown
