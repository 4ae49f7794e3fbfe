"""Tests of `konvox-hooks register` with a real sandbox: subscriptions, output, and exit codes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import orjson
import pytest

from tests.support.registration import READ, SHOWN, URL, Shell

ALL_DOCUMENTED = ["contact.replied", "enrollment.created", "enrollment.unsubscribed"]


async def test_a_new_endpoint_is_registered(shell: Shell) -> None:
    """A new webhook has the events that the handlers want and the first token; the next run has nothing to do."""
    shell.handle("contact.replied", "campaign.completed")
    outcome = await shell.register()
    assert outcome.exit_code == 0
    [webhook] = await shell.known()
    assert (webhook.url, webhook.active) == (URL, True)
    assert sorted(webhook.events) == ["campaign.completed", "contact.replied"]
    assert outcome.out == f"registered: {SHOWN} gets campaign.completed, contact.replied (id {webhook.id})\n"
    again = await shell.register()
    assert again.exit_code == 0
    assert again.out == f"already registered: {SHOWN} gets campaign.completed, contact.replied; nothing to do\n"
    assert len(await shell.known()) == 1


@pytest.mark.parametrize(
    ("patterns", "events"),
    [
        (("*",), ALL_DOCUMENTED),
        (("enrollment.*",), ["enrollment.created", "enrollment.unsubscribed"]),
        (("*.replied", "campaign.completed"), ["campaign.completed", "contact.replied"]),
    ],
)
async def test_a_wildcard_takes_the_documented_events(shell: Shell, patterns: list[str], events: list[str]) -> None:
    """A wildcard subscribes to the documented events that it matches, and the command says so."""
    shell.handle(*patterns)
    outcome = await shell.register()
    assert outcome.exit_code == 0
    assert "wildcard" in outcome.err
    [webhook] = await shell.known()
    assert sorted(webhook.events) == events


async def test_what_a_wildcard_takes_besides_is_no_difference(shell: Shell) -> None:
    """An undocumented event that was subscribed by hand is no difference for a handler of all events."""
    await shell.add(*ALL_DOCUMENTED, "campaign.completed")
    shell.handle("*")
    assert (await shell.register()).exit_code == 0


async def test_events_can_be_named_instead(shell: Shell) -> None:
    """`--events` needs no handler, and loads none."""
    shell.configure(HANDLERS="there_is_no_such_module")
    assert (await shell.register("--events", "b.two, a.one,,b.two")).exit_code == 0
    [webhook] = await shell.known()
    assert sorted(webhook.events) == ["a.one", "b.two"]


async def test_a_difference_needs_a_person(shell: Shell) -> None:
    """For the same URL with other events both sides are shown, nothing is sent, and the exit code is 3."""
    webhook = await shell.add("contact.replied", "enrollment.created")
    shell.handle("contact.replied", "enrollment.unsubscribed")
    outcome = await shell.register()
    assert outcome.exit_code == 3
    assert outcome.out.splitlines() == [
        f"registered differently: {SHOWN} (id {webhook.id})",
        "  + enrollment.unsubscribed: wanted, not delivered",
        "  - enrollment.created: delivered, not wanted",
    ]
    assert "dashboard" in outcome.err
    assert "contact.replied, enrollment.unsubscribed" in outcome.err
    assert "register --add-missing" in outcome.err
    assert len(await shell.known()) == 1


async def test_one_that_is_switched_off_needs_a_person(shell: Shell) -> None:
    """A webhook that is switched off leads to exit code 3, because only the dashboard can switch it on."""
    await shell.add("contact.replied", active=False)
    outcome = await shell.register("--events", "contact.replied")
    assert outcome.exit_code == 3
    assert "switched off" in outcome.out


async def test_what_konvox_says_cannot_speak_to_the_terminal(shell: Shell) -> None:
    """Control characters in an event's name are replaced."""
    await shell.add("contact.replied", "\x1b[2Jgone\nregistered: ")
    outcome = await shell.register("--events", "contact.replied")
    assert outcome.out.splitlines()[1:] == ["  -  [2Jgone registered: : delivered, not wanted"]


async def test_a_dry_run_registers_nothing(shell: Shell) -> None:
    """A dry run shows the request with the token masked, and the difference."""
    outcome = await shell.register("--dry-run", "--events", "contact.replied")
    assert outcome.exit_code == 0
    *lines, request = outcome.out.splitlines()
    assert lines == [
        f"not registered yet: {SHOWN}",
        "  + contact.replied: wanted, not delivered",
        f"would send: POST {shell.api_url.rstrip('/')}/api/webhooks",
    ]
    assert orjson.loads(request) == {"url": SHOWN, "events": ["contact.replied"], "active": True}
    assert await shell.known() == []


async def test_a_dry_run_is_possible_with_a_read_key(shell: Shell) -> None:
    """A dry run only lists; the real run is refused, with Konvox's words and exit code 1."""
    shell.configure(API_KEY=READ)
    assert (await shell.register("--dry-run", "--events", "contact.replied")).exit_code == 0
    outcome = await shell.register("--events", "contact.replied")
    assert outcome.exit_code == 1
    assert "403" in outcome.err
    assert "only read" in outcome.err


async def test_a_dry_run_shows_a_difference_like_a_real_one(shell: Shell) -> None:
    """A dry run shows no request where none would be sent."""
    await shell.add("enrollment.created")
    dry, real = [await shell.register(*options, "--events", "contact.replied") for options in (("--dry-run",), ())]
    assert dry == real
    assert dry.exit_code == 3


async def test_json_is_one_document(shell: Shell) -> None:
    """In each state the JSON is one document for programs, without what handlers print when they are imported."""
    shell.handle("contact.replied")
    planned = orjson.loads((await shell.register("--json", "--dry-run")).out)
    body = {"url": SHOWN, "events": ["contact.replied"], "active": True}
    assert planned == {
        "state": "create",
        "url": SHOWN,
        "events": ["contact.replied"],
        "missing": ["contact.replied"],
        "extra": [],
        "inactive": False,
        "webhook_ids": [],
        "old_webhook_ids": [],
        "request": {"method": "POST", "path": "/api/webhooks", "body": body},
        "environment": {},
        "written": [],
    }
    created = orjson.loads((await shell.register("--json")).out)
    [webhook] = await shell.known()
    assert created == planned | {"state": "created", "webhook_ids": [webhook.id], "request": None, "missing": []}
    assert orjson.loads((await shell.register("--json")).out) == created | {"state": "registered"}
    differing = await shell.register("--json", "--events", "enrollment.created")
    assert differing.exit_code == 3
    assert orjson.loads(differing.out)["extra"] == ["contact.replied"]


async def test_a_signing_secret_is_shown_once(shell_for: Callable[..., Awaitable[Shell]]) -> None:
    """A new signing secret is shown on stdout once, with what to do on stderr, and the next run does not show it."""
    shell = await shell_for(signing_secret="the-signing-secret")
    outcome = await shell.register("--events", "contact.replied")
    assert outcome.out.splitlines()[1:] == ["KONVOX_SIGNING_SECRETS=the-signing-secret"]
    assert "the-signing-secret" not in outcome.err
    assert "set KONVOX_SIGNATURE to its scheme" in outcome.err
    assert "the-signing-secret" not in (await shell.register("--events", "contact.replied")).out


async def test_a_signing_secret_is_in_the_json(shell_for: Callable[..., Awaitable[Shell]]) -> None:
    """The JSON has a signing secret under the variable that holds it."""
    shell = await shell_for(signing_secret="the-signing-secret")
    outcome = await shell.register("--json", "--events", "contact.replied")
    assert orjson.loads(outcome.out)["environment"] == {"KONVOX_SIGNING_SECRETS": "the-signing-secret"}


async def test_without_a_token_the_plain_path_is_registered(shell: Shell) -> None:
    """Where the signature is enough, the path without a token is registered."""
    shell.configure(HOOK_TOKENS=None, SIGNATURE="hmac-sha256", SIGNING_SECRETS="the-signing-secret")
    assert (await shell.register("--events", "contact.replied")).exit_code == 0
    assert [webhook.url for webhook in await shell.known()] == ["https://hooks.example.com/hooks/konvox"]


async def test_missing_settings_are_named_with_an_example(shell: Shell) -> None:
    """All missing settings are named at once, with exit code 2 and nothing on stdout."""
    shell.configure(API_URL=None, API_KEY=None, PUBLIC_URL=None)
    outcome = await shell.register("--events", "contact.replied")
    assert (outcome.exit_code, outcome.out) == (2, "")
    for variable in ("KONVOX_API_URL", "KONVOX_API_KEY", "KONVOX_PUBLIC_URL"):
        assert f"example: {variable}=" in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    ("variables", "arguments", "hint"),
    [
        ({"HOOK_TOKENS": None}, ("--events", "a.b", "--rotate"), "no token to rotate"),
        ({"PUBLIC_URL": "http://hooks.example.com"}, ("--events", "a.b"), "KONVOX_PUBLIC_URL"),
        ({}, (), "KONVOX_HANDLERS"),
        ({"HANDLERS": "there_is_no_such_module"}, (), "there_is_no_such_module"),
        ({}, ("--events", " , "), "--events"),
        ({}, ("--events", "contact.*"), "wildcards"),
    ],
)
async def test_what_is_wrong_is_reported(
    shell: Shell, variables: dict[str, str | None], arguments: tuple[str, ...], hint: str
) -> None:
    """A wrong use has exit code 2 and a hint on stderr, and registers nothing."""
    shell.configure(**variables)
    outcome = await shell.register(*arguments)
    assert (outcome.exit_code, outcome.out) == (2, "")
    assert hint in outcome.err
    assert await shell.known() == []


async def test_a_wrong_key_is_konvox_word(shell: Shell) -> None:
    """A 401 is exit code 1, without a traceback."""
    shell.configure(API_KEY="kvx_live_other")
    outcome = await shell.register("--events", "contact.replied")
    assert (outcome.exit_code, outcome.out) == (1, "")
    assert "401" in outcome.err


async def test_what_is_missing_can_be_added(shell: Shell) -> None:
    """A second webhook of the same URL has the missing events only; after that there is nothing to do."""
    first = await shell.add("contact.replied")
    wanted = ("--events", "contact.replied,enrollment.created,enrollment.unsubscribed")
    planned = await shell.register(*wanted, "--add-missing", "--dry-run")
    assert planned.exit_code == 3
    assert orjson.loads(planned.out.splitlines()[-1])["events"] == ["enrollment.created", "enrollment.unsubscribed"]
    added = await shell.register(*wanted, "--add-missing")
    assert added.exit_code == 0
    assert added.out.startswith(f"registered: {SHOWN} gets enrollment.created, enrollment.unsubscribed (id ")
    assert [tuple(webhook.events) for webhook in await shell.known()] == [
        first.events,
        ("enrollment.created", "enrollment.unsubscribed"),
    ]
    again = await shell.register(*wanted, "--add-missing")
    assert (again.exit_code, "already registered" in again.out) == (0, True)
    assert len(await shell.known()) == 2


async def test_what_is_too_much_stays_with_a_person(shell: Shell) -> None:
    """The missing event is added; the unwanted one cannot be taken away, so the exit code is 3 and each is named."""
    await shell.add("enrollment.created")
    outcome = await shell.register("--events", "contact.replied", "--add-missing")
    assert outcome.exit_code == 3
    assert outcome.out.splitlines()[1:] == ["  - enrollment.created: delivered, not wanted"]
    assert "--add-missing" not in outcome.err
    once_more = await shell.register("--events", "contact.replied", "--add-missing", "--json")
    assert (once_more.exit_code, once_more.json["state"], once_more.json["missing"]) == (3, "differs", [])
    assert len(await shell.known()) == 2


async def test_nothing_is_added_to_what_is_switched_off(shell: Shell) -> None:
    """Nothing is added to a webhook that is switched off, because both would deliver once it is on again."""
    await shell.add("contact.replied", active=False)
    outcome = await shell.register("--events", "contact.replied,enrollment.created", "--add-missing")
    assert outcome.exit_code == 3
    assert "switched off" in outcome.out
    assert "--add-missing" not in outcome.err
    assert len(await shell.known()) == 1


async def test_adding_to_nothing_registers_all(shell: Shell) -> None:
    """With --add-missing, a URL that Konvox does not know is registered as usual."""
    assert (await shell.register("--events", "contact.replied", "--add-missing")).exit_code == 0
    assert [tuple(webhook.events) for webhook in await shell.known()] == [("contact.replied",)]
