"""Tests of `konvox-hooks trigger --wait`, `--company` and `--account` with a real service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.processes import OurProcess

TOKEN, ACME_TOKEN = "first-token-0123456789", "acme-token-0123456789"
HANDLERS = """
from konvox_hooks import on


@on("contact.replied")
def tell(event, ctx): ...


@on("contact.replied", attempts=3, backoff=0)
def second_time(event, ctx):
    if ctx.attempt < 2:
        raise ValueError("not yet")


@on("enrollment.created", attempts=1)
def fail(event, ctx):
    raise ValueError("the CRM is down")


@on("enrollment.unsubscribed", backoff=600, backoff_cap=600)
def later(event, ctx):
    raise ValueError("not yet")
"""
ACCOUNTS = f'[accounts.acme]\nhook_tokens = ["{ACME_TOKEN}"]\ncompany_ids = ["clacme"]\n'


@pytest.fixture
async def environment(redis_url: str, tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    """The environment of commands beside a running service with two accounts."""
    (tmp_path / "mine.py").write_text(HANDLERS)
    (tmp_path / "accounts.toml").write_text(ACCOUNTS)
    env = {
        "KONVOX_REDIS_URL": redis_url,
        "KONVOX_HANDLERS": "./mine.py",
        "KONVOX_HOOK_TOKENS": TOKEN,
        "KONVOX_ACCOUNTS_FILE": "accounts.toml",
        "KONVOX_COMPANY_IDS": "clours,clother",
        "KONVOX_PORT": "0",
        "KONVOX_ADMIN_PORT": "0",
    }
    async with await OurProcess.start("serve", env=env, cwd=tmp_path) as serve:
        url = await serve.listening("receiver")
        await serve.logged("worker.started")
        yield env | {"KONVOX_PORT": url.rpartition(":")[2]}


async def trigger(env: dict[str, str], folder: Path, *arguments: str) -> tuple[int, list[list[str]], str]:
    """Run the command; returns its exit code, the rows on stdout with their headers, and stderr."""
    async with await OurProcess.start("trigger", *arguments, env=env, cwd=folder) as process:
        exit_code = await process.ended()
        return exit_code, [line.split("\t") for line in process.stdout.splitlines()], process.stderr


async def test_the_outcomes_of_the_handlers_are_shown(environment: dict[str, str], tmp_path: Path) -> None:
    """`--wait` shows the outcome of each handler once all have ended, retries included, with exit code 0."""
    exit_code, rows, err = await trigger(environment, tmp_path, "contact.replied", "--wait")
    assert (exit_code, err) == (0, "")
    assert rows[1][:2] == ["200", "accepted"]
    assert sorted(row[:3] for row in rows[4:]) == [["mine.second_time", "done", "2"], ["mine.tell", "done", "1"]]


async def test_a_dead_letter_is_exit_code_one(environment: dict[str, str], tmp_path: Path) -> None:
    """If a handler ends as a dead letter, its error is shown, and the exit code is 1."""
    exit_code, rows, err = await trigger(environment, tmp_path, "enrollment.created", "--wait")
    assert exit_code == 1
    assert (rows[-1][:2], rows[-1][-1]) == (["mine.fail", "dead"], "ValueError: the CRM is down")
    assert f"`konvox-hooks dead show {rows[1][2]}`" in err


async def test_what_is_still_pending_is_said(environment: dict[str, str], tmp_path: Path) -> None:
    """If the time is up before all handlers have ended, what is known is shown, and the exit code is 1."""
    done = await trigger(environment, tmp_path, "enrollment.unsubscribed", "--wait", "--timeout", "2")
    exit_code, rows, err = done
    assert exit_code == 1
    assert rows[-1][:2] == ["mine.later", "retrying"]
    assert "still pending after 2 s" in err


async def test_an_event_that_no_handler_wants_is_said(environment: dict[str, str], tmp_path: Path) -> None:
    """An event without a handler is delivered: the exit code is 0, and stderr says that no handler wants it."""
    exit_code, _, err = await trigger(environment, tmp_path, "meeting.booked", "--wait")
    assert exit_code == 0
    assert "no handler wants it" in err


async def test_another_redis_is_said(environment: dict[str, str], tmp_path: Path) -> None:
    """If the command looks into another Redis than the receiver's, it says so when the time is up."""
    env = environment | {"KONVOX_REDIS_URL": environment["KONVOX_REDIS_URL"].replace("db=", "db=3")}
    exit_code, _, err = await trigger(env, tmp_path, "contact.replied", "--wait", "--timeout", "1")
    assert exit_code == 1
    assert "KONVOX_REDIS_URL" in err


async def test_the_company_is_one_that_is_accepted(environment: dict[str, str], tmp_path: Path) -> None:
    """The event's company is the account's first one, or that of `--company`; another one is refused."""
    assert (await trigger(environment, tmp_path, "contact.replied"))[0] == 0
    assert (await trigger(environment, tmp_path, "contact.replied", "--company", "clother"))[0] == 0
    assert (await trigger(environment, tmp_path, "contact.replied", "--account", "acme"))[0] == 0
    exit_code, rows, _ = await trigger(environment, tmp_path, "contact.replied", "--account", "acme", "--company", "x")
    assert (exit_code, rows[1][0]) == (1, "401")
