"""The paths of the public listener: what is read as the hook's path, and what a log may show of one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.paths import PLAIN_HOOK_PATH, TOKEN_IN_TEXT, hook_path, masked_path

PATHS_FOR_AIOHTTP = [
    "/",
    "/hooks/konvox//",
    "/hooks//konvox/a",
    "//hooks/konvox/a",
    "/hooks/konvox//a",
    "/hooks/konvox/a//",
    "/hooks/konvox/a/b",
    "/hooks/konvox/a/b?c",
    "/hooks/konvox/%61",
    "/hooks/konvox/a?b#c",
    "/hooks/konvoxa?b",
]


@pytest.mark.parametrize("token", [None, "a-token_0123456789"])
def test_the_path_to_deliver_to_is_read_again(token: str | None) -> None:
    """The receiver finds the token of a path that was made with it."""
    for end in ("", "/", "?", "?a=/b&c=%2f", "/?a"):
        found = PLAIN_HOOK_PATH.fullmatch(hook_path(token) + end)
        assert found is not None
        assert found[1] == token


@pytest.mark.parametrize("path", PATHS_FOR_AIOHTTP)
def test_a_path_that_is_not_plain_is_not_read(path: str) -> None:
    """A path that is not the hook's, or would have to be decoded, is left to aiohttp."""
    assert PLAIN_HOOK_PATH.fullmatch(path) is None


def test_a_token_is_found_in_a_text() -> None:
    """The token behind the hook's path can be cut out of a text, also where the slash is escaped."""
    for text in ("POST /hooks/konvox/s3cret HTTP/1.1", "GET /HOOKS/konvox%2Fs3cret HTTP/1.1"):
        assert "s3cret" not in TOKEN_IN_TEXT.sub(r"\1", text)
    for text in (
        "/hooks/konvox?s3cret",
        "/hooks/konvox/?s3cret",
        "/hooks/konvox/a?b=s3cret",
        "/hooks/konvox/s3cret/?s3cret",
    ):
        assert "s3cret" not in TOKEN_IN_TEXT.sub(r"\1", text)
    assert TOKEN_IN_TEXT.search("/hooks/konvox HTTP/1.1") is None


@pytest.mark.parametrize(
    ("path", "masked"),
    [
        ("/healthz", "/healthz"),
        ("/hooks/konvox", "/hooks/konvox"),
        ("/hooks/konvox/a-token", "/hooks/konvox/***"),
        ("/a-token", "/***"),
        ("/hooks/a-token/konvox", "/hooks/***/konvox"),
        ("//hooks//konvox/a-token/", "//hooks//konvox/***/"),
        ("", ""),
        ("*", "***"),
        ("/hooks/konvox?a-token", "/hooks/konvox"),
        ("/hooks/konvox/a-token/?/healthz", "/hooks/konvox/***/"),
        ("/a-token?", "/***"),
    ],
)
def test_paths_are_masked_for_the_log(path: str, masked: str) -> None:
    """A segment that may be a token is left out, wherever it is in the path."""
    assert masked_path(path) == masked


@given(st.lists(st.text(st.characters())).map("/".join))
def test_nothing_unknown_is_left_in_a_masked_path(path: str) -> None:
    """A masked path holds our own words and slashes only."""
    assert set(masked_path(path).split("/")) <= {"", "hooks", "konvox", "healthz", "***"}
