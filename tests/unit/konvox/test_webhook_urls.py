"""Tests of how a webhook's URL is masked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from konvox.urls import masked_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:secret@a.example:8443/hooks/secret?secret#secret", "https://a.example:8443/hooks/••••"),
        ("https://a.example/hooks/secret", "https://a.example/hooks/••••"),
        ("https://a.example/hooks/secret/", "https://a.example/hooks/••••/"),
        ("https://a.example/hooks/secret//", "https://a.example/hooks/••••//"),
        ("https://a.example/secret/", "https://a.example/••••/"),
        ("https://a.example/", "https://a.example/"),
        ("https://a.example//", "https://a.example//"),
        ("https://a.example", "https://a.example"),
        ("https://[secret", "••••"),
    ],
)
def test_any_url_is_masked(url: str, shown: str) -> None:
    """User, password, query, fragment and the last segment are masked, with and without a slash at the end."""
    assert masked_url(url) == shown


@given(
    st.lists(st.sampled_from(["hooks", "konvox", "v1", ""]), max_size=4),
    st.sampled_from(["", "/", "//", "?a=b", "/?a=b", "/#a", "//?token"]),
)
def test_a_token_at_the_end_is_never_shown(folders: list[str], end: str) -> None:
    """A token at the end of a path is masked, whatever is before it and after it."""
    assert "t0ken" not in masked_url("/".join(["https://a.example", *folders, "t0ken"]) + end)
