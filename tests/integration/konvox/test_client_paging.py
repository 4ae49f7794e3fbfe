"""Tests of lists that read page by page."""

from __future__ import annotations

from typing import Any

from structlog.testing import capture_logs

from tests.integration.konvox.scripted_konvox import Reply, envelope, scripted


def contacts(first: int, count: int, total: int | None = None) -> Reply:
    """A page of contacts with ascending ids."""
    items: list[Any] = [{"id": f"c{number}", "email": f"{number}@x"} for number in range(first, first + count)]
    return envelope(items, total=total)


async def all_ids(*pages: Reply) -> tuple[list[str], list[str]]:
    """The ids that an iteration over these pages yields, and the offsets of its requests."""
    async with scripted(*pages) as konvox, konvox.client() as client:
        ids = [contact.id async for contact in client.contacts.list(status="active")]
    assert all(asked.query["limit"] == "200" and asked.query["status"] == "active" for asked in konvox.asked)
    return ids, [asked.query["offset"] for asked in konvox.asked]


async def test_pages_until_the_total_is_reached() -> None:
    """450 contacts take three requests, the last of which is short."""
    ids, offsets = await all_ids(contacts(0, 200, 450), contacts(200, 200, 450), contacts(400, 50, 450))
    assert ids == [f"c{number}" for number in range(450)]
    assert offsets == ["0", "200", "400"]


async def test_no_request_too_many_at_an_exact_end() -> None:
    """If the total is a multiple of the page size, no empty page is fetched."""
    assert (await all_ids(contacts(0, 200, 400), contacts(200, 200, 400)))[1] == ["0", "200"]


async def test_without_a_total_a_short_page_is_the_last() -> None:
    """Without a total, a short page is the last one."""
    assert (await all_ids(contacts(0, 200), contacts(200, 3)))[1] == ["0", "200"]


async def test_a_server_with_smaller_pages_loses_nothing() -> None:
    """If the server's pages are smaller than asked for, the offset follows the received records."""
    ids, offsets = await all_ids(contacts(0, 100, 250), contacts(100, 100, 250), contacts(200, 50, 250))
    assert len(ids) == 250
    assert offsets == ["0", "100", "200"]


async def test_records_that_move_to_the_next_page_come_once() -> None:
    """A contact that moves to the next page, because another was created meanwhile, is yielded once."""
    ids, _ = await all_ids(contacts(0, 200, 399), contacts(199, 199, 399))
    assert ids == [f"c{number}" for number in range(398)]


async def test_a_server_that_ignores_the_offset_ends_too() -> None:
    """The same page again ends the iteration, whatever the total is."""
    ids, offsets = await all_ids(contacts(0, 200, 1000), contacts(0, 200, 1000))
    assert len(ids) == 200
    assert len(offsets) == 2


async def test_an_empty_list_is_one_request() -> None:
    """An empty list is one request, and yields nothing."""
    assert await all_ids(contacts(0, 0, 0)) == ([], ["0"])


async def test_an_iteration_that_is_left_early_fetches_no_more() -> None:
    """An iteration fetches pages only as it reaches them."""
    async with scripted(contacts(0, 200, 450)) as konvox, konvox.client() as client:
        listing = client.contacts.list()
        assert (await anext(listing)).id == "c0"
    assert len(konvox.asked) == 1


async def test_a_list_that_konvox_cut_short_is_reported() -> None:
    """If a list without documented paging has a larger total than records, the log says so."""
    page = envelope([{"id": "c1", "name": "Spring"}], total=51)
    async with scripted(page) as konvox, konvox.client() as client:
        with capture_logs() as logs:
            assert [campaign.id async for campaign in client.campaigns.list()] == ["c1"]
    assert [(log["event"], log["received"], log["total"]) for log in logs] == [("api_list.truncated", 1, 51)]
    assert len(konvox.asked) == 1


async def test_odd_records_hide_no_others() -> None:
    """Records without an id come once each, alike or not, and the list ends although they are on every page."""
    odd: list[Any] = [None, None, {"email": None}, {"id": None, "email": "1@x"}, "text"]
    page = [*odd, *({"id": f"c{number}"} for number in range(195))]
    async with scripted(envelope(page), envelope(page)) as konvox, konvox.client() as client:
        contacts_ = [contact async for contact in client.contacts.list()]
    assert len(konvox.asked) == 2
    assert [contact.id for contact in contacts_] == [""] * 5 + [f"c{number}" for number in range(195)]
    assert [contact.email for contact in contacts_[2:4]] == [None, "1@x"]
