"""The page docs/reference.md says what the docstrings say."""

from __future__ import annotations

import konvox_hooks
from konvox_hooks import events, testing
from tests.support import reference


def test_the_reference_is_up_to_date() -> None:
    """The page is what is made from the docstrings; `make reference` writes it again."""
    assert reference.PAGE.read_text(encoding="utf-8") == reference.page()


def test_the_reference_has_all_that_users_import() -> None:
    """Each class and function that users import has its heading, and each field of the context is described."""
    page = reference.page()
    for name in (*konvox_hooks.__all__, *events.__all__, *testing.__all__):
        if name.isupper():
            continue
        assert f"### `{name}`\n" in page, name
    for field in ("konvox", "http", "log", "once", "attempt", "state"):
        assert f"- `{field}`: " in page
    for call in ("Campaigns.update", "Contacts.list", "Webhooks.register"):
        assert f"### `{call}`\n" in page
