"""Tests of the checks of Konvox in `konvox-hooks doctor`, with a real sandbox and real receivers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.konvox.scripted_konvox import KEY, Reply, ScriptedKonvox, envelope, failure, scripted
from tests.support.doctor import examined, healthy, one
from tests.support.registration import FULL, OLD_TOKEN, READ, TOKEN, Shell


@pytest.mark.parametrize(
    ("key", "api", "scope"),
    [(FULL, "ok", "ok"), (READ, "ok", "warning"), ("kvx_live_wrong", "fault", None)],
)
async def test_the_key(shell: Shell, key: str, api: str, scope: str | None) -> None:
    """The check says whether the key is valid and which scope it has, and registers nothing."""
    shell.configure(API_KEY=key)
    outcome, lines = await examined(shell)
    assert lines["konvox api"][0]["state"] == api
    assert [line["state"] for line in lines.get("konvox key", [])] == ([scope] if scope else [])
    assert key not in outcome.out + outcome.err
    assert await shell.known() == []


@pytest.mark.parametrize(
    ("replies", "check", "state", "message"),
    [
        ([failure(500, "sorry")], "konvox api", "fault", "sorry"),
        ([failure(404, "no")], "konvox api", "fault", "404"),
        ([Reply(200, b"<html>")], "konvox api", "fault", "no Konvox envelope"),
        (["drop"], "konvox api", "fault", "the connection broke"),
        ([envelope([]), failure(403, "plan limit")], "konvox key", "warning", "plan limit"),
        ([envelope([]), failure(422, "url is required")], "konvox key", "ok", "full scope"),
        ([envelope([]), failure(429, "slow down")], "konvox key", "warning", "is unknown"),
        ([envelope([]), failure(500, "sorry")], "konvox key", "warning", "is unknown"),
        ([envelope([]), envelope({"id": "wh9"}, status=201)], "konvox key", "warning", "accepted a registration"),
    ],
)
async def test_what_konvox_answers(
    shell: Shell, replies: list[Reply | str], check: str, state: str, message: str
) -> None:
    """Each answer of Konvox has its finding; every call is made once, and the one that writes is empty."""
    async with scripted(*replies) as konvox:
        shell.configure(API_URL=konvox.url, API_KEY=KEY)
        line = await one(shell, check)
    assert (line["state"], message in line["message"]) == (state, True), line
    _only_harmless(konvox, len(replies))


def _only_harmless(konvox: ScriptedKonvox, calls: int) -> None:
    assert len(konvox.asked) == calls
    assert all(asked.method == "GET" or asked.body == {} for asked in konvox.asked)


async def test_a_konvox_that_is_away_is_a_fault(shell: Shell, redis_url: str, unused_tcp_port: int) -> None:
    """A Konvox that is away is a fault, and the receiver is still checked."""
    async with healthy(shell, redis_url):
        shell.configure(API_URL=f"http://127.0.0.1:{unused_tcp_port}")
        _, lines = await examined(shell)
    assert (lines["konvox api"][0]["state"], lines["public url"][0]["state"]) == ("fault", "ok")


async def test_a_receiver_that_does_not_run_is_a_fault(shell: Shell, redis_url: str) -> None:
    """A receiver that is not running is a fault, and the webhooks are still compared."""
    async with healthy(shell, redis_url):
        pass
    _, lines = await examined(shell)
    assert lines["public url"][0]["state"] == "fault"
    assert "cannot connect" in lines["public url"][0]["message"]
    assert lines["registration"][0]["state"] == "ok"


async def test_a_local_url_with_a_konvox_elsewhere_is_a_fault(shell: Shell, redis_url: str) -> None:
    """A local public URL with a Konvox elsewhere is a fault, because Konvox could not deliver."""
    async with healthy(shell, redis_url):
        shell.configure(API_URL="https://konvox.invalid")
        line = await one(shell, "public url")
    assert (line["state"], "where Konvox cannot deliver" in line["message"]) == ("fault", True)


async def registration(shell: Shell, redis_url: str, *webhooks: dict[str, Any], **settings: str) -> list[str]:
    """The findings about the registration, with these webhooks besides the healthy one."""
    async with healthy(shell, redis_url) as origin:
        shell.configure(**settings)
        for fields in webhooks:
            await shell.add(*fields["events"], url=origin + fields["path"], active=fields.get("active", True))
        _, lines = await examined(shell)
    assert all(line["state"] == "warning" for line in lines["registration"] if line["hint"])
    return [line["message"] + (f" -> {line['hint']}" if line["hint"] else "") for line in lines["registration"]]


PATH = f"/hooks/konvox/{TOKEN}"


async def test_nothing_registered_is_a_warning(shell: Shell, redis_url: str) -> None:
    """Without a webhook the warning names each handler and the command that fixes it, and afterwards all is well."""
    async with healthy(shell, redis_url):
        shell.configure(HOOK_TOKENS=f"{OLD_TOKEN},{TOKEN}")
        shell.handle("contact.replied", "enrollment.created", "enrollment.unsubscribed")
        _, lines = await examined(shell)
    messages = [line["message"] for line in lines["registration"]]
    assert messages[0] == "the first token's URL is not registered, or is switched off"
    assert messages[1].startswith("no subscription delivers enrollment.unsubscribed, which shop_hooks.handle wants")
    assert "still delivers with an old token" in messages[2]
    assert lines["registration"][0]["hint"] == lines["registration"][1]["hint"] == "`konvox-hooks register`"


async def test_handlers_that_no_subscription_feeds(shell: Shell, redis_url: str) -> None:
    """A handler without a subscription is a warning with the option that fixes it."""
    async with healthy(shell, redis_url):
        shell.handle("contact.replied", "enrollment.created", "campaign.completed")
        _, lines = await examined(shell)
        [line] = lines["registration"]
        assert line["message"] == "no subscription delivers campaign.completed, which shop_hooks.handle wants"
        assert line["hint"] == "`konvox-hooks register --add-missing`"
        assert (await shell.register("--add-missing", check=True)).exit_code == 0
        assert (await one(shell, "registration"))["state"] == "ok"


@pytest.mark.parametrize(
    ("webhook", "message", "hint"),
    [
        ({"path": PATH, "events": ["campaign.completed"]}, "no handler wants campaign.completed", "remove it"),
        ({"path": PATH, "events": ["contact.replied"]}, "contact.replied is delivered twice to one URL", "delete one"),
        ({"path": PATH, "events": ["contact.replied"], "active": False}, "switched off: webhook", "switch it on"),
        ({"path": "/hooks/konvox/lost", "events": ["contact.replied"]}, "a token that the receiver refuses", "delete"),
        ({"path": "/hooks/konvox", "events": ["contact.replied"]}, "a token that the receiver refuses", "delete it"),
    ],
)
async def test_what_else_konvox_has(
    shell: Shell, redis_url: str, webhook: dict[str, Any], message: str, hint: str
) -> None:
    """Each difference of the webhooks is one warning."""
    [line] = await registration(shell, redis_url, webhook)
    assert message in line.partition(" -> ")[0]
    assert hint in line.partition(" -> ")[2]


async def test_a_url_of_somebody_else_is_none_of_ours(shell: Shell, redis_url: str) -> None:
    """A webhook of the company with another URL is ignored."""
    [line] = await registration(shell, redis_url, {"path": "/another/app", "events": ["campaign.completed"]})
    assert line == "Konvox delivers contact.replied, enrollment.created, as the handlers want"


async def test_a_rotation_under_way_is_a_warning(shell: Shell, redis_url: str) -> None:
    """During a rotation the only warning is that the old token's webhook is to be deleted."""
    old = {"path": f"/hooks/konvox/{OLD_TOKEN}", "events": ["contact.replied"]}
    [line] = await registration(shell, redis_url, old, HOOK_TOKENS=f"{TOKEN},{OLD_TOKEN}")
    assert "still delivers with an old token -> once the first token's URL is registered" in line


async def test_what_konvox_says_cannot_speak_to_the_terminal(shell: Shell, redis_url: str) -> None:
    """Control characters in an event's name are replaced, and a line stays one line."""
    async with healthy(shell, redis_url) as origin:
        await shell.add("\x1b[2J\nok       all  is well", url=f"{origin}{PATH}")
        outcome = await shell.run("doctor")
    assert outcome.exit_code == 3
    assert "\x1b" not in outcome.out
    assert not any(line.startswith("ok       all") for line in outcome.out.splitlines())
