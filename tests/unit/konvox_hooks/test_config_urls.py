"""URLs in the settings: what is right, what is wrong, and what may be shown."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from konvox_hooks.config.urls import MASK, api_base_url, mask_redis_address, public_origin, redis_address


def what_is_shown(show: Callable[[str], str], check: Callable[[str], str], url: str) -> str:
    """How a right URL is shown, or what is said about a wrong one."""
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
    """HTTPS anywhere and HTTP on this machine are origins, with or without a slash."""
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
    """Each way to write a public URL wrong has its own explanation."""
    with pytest.raises(ValueError, match=fault):
        public_origin(url)


def test_an_api_url_keeps_its_path() -> None:
    """The API may live below a path; only the slash at the end goes."""
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
    """What redis-py understands is handed on unchanged."""
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
    """A wrong scheme, a missing host and an unquoted password are each explained."""
    with pytest.raises(ValueError, match=fault):
        redis_address(url)


def test_a_redis_url_is_shown_without_its_secrets() -> None:
    """Host, port and database can be seen; user, password and query cannot."""
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
    """Whatever the password is made of, it is refused as a URL, or masked."""
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
    """No text breaks the checks in any other way than a ValueError with our own words."""
    for check in (public_origin, api_base_url, redis_address):
        shown = what_is_shown(lambda _: "", check, start + text)
        assert text not in shown
