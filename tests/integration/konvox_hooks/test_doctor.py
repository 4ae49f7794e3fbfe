"""`konvox-hooks doctor` tells the truth: against a real sandbox, real receivers and real servers, in each state."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from broker.redis.client import close, connect
from tests.integration.konvox.scripted_konvox import KEY, Reply, ScriptedKonvox, envelope, failure, scripted
from tests.support.processes import OurProcess
from tests.support.registration import FULL, OLD_TOKEN, READ, TOKEN, Outcome, Shell
from tests.support.sentinel import SentinelSet
from tests.support.valkey import ValkeyServer

Line = dict[str, str]


async def examined(shell: Shell) -> tuple[Outcome, dict[str, list[Line]]]:
    """Run the doctor; what it finds by check. Each line that is not ok has its hint."""
    outcome = await shell.run("doctor", "--json")
    lines: dict[str, list[Line]] = {}
    for line in outcome.json:
        assert set(line) == {"check", "state", "message", "hint"}
        assert bool(line["hint"]) == (line["state"] != "ok"), line
        lines.setdefault(line["check"], []).append(line)
    states = {line["state"] for line in outcome.json}
    assert outcome.exit_code == (1 if "fault" in states else 3 if "warning" in states else 0)
    return outcome, lines


async def one(shell: Shell, check: str) -> Line:
    """The one line of a check."""
    [line] = (await examined(shell))[1][check]
    return line


@asynccontextmanager
async def healthy(shell: Shell, redis_url: str) -> AsyncIterator[str]:
    """Everything as it should be; yields the receiver's origin."""
    shell.configure(REDIS_URL=redis_url, HOOK_TOKENS=TOKEN)
    shell.handle("contact.replied", "enrollment.created")
    async with shell.receiver(redis_url, tokens=(TOKEN,)) as receiver:
        origin = f"http://127.0.0.1:{receiver.port}"
        await shell.add("contact.replied", "enrollment.created", url=f"{origin}/hooks/konvox/{TOKEN}")
        yield origin


async def test_all_is_well(shell: Shell, redis_url: str) -> None:
    """Every line is ok, exit code 0, nothing on stderr but what handlers print; and nothing was changed."""
    async with healthy(shell, redis_url):
        before = await shell.known()
        outcome, lines = await examined(shell)
        text = await shell.run("doctor")
        assert await shell.known() == before
    assert (outcome.exit_code, text.exit_code) == (0, 0)
    assert list(lines) == [
        *("settings", "handlers", "data folder", "redis", "redis version", "redis durability", "redis eviction"),
        *("redis clock", "authentication", "konvox api", "konvox key", "registration", "public url"),
    ]
    assert {line.split()[0] for line in text.out.splitlines()} == {"ok"}
    assert len(text.out.splitlines()) == len(lines)
    assert not list(shell.folder.glob(".konvox-hooks"))


async def test_with_nothing_configured(shell: Shell) -> None:
    """What is missing is said, and nothing breaks."""
    shell.configure(API_URL=None, API_KEY=None, PUBLIC_URL=None, HOOK_TOKENS=None)
    outcome, lines = await examined(shell)
    assert outcome.exit_code == 1
    assert {check: line["state"] for check, [line] in lines.items()} == {
        "settings": "ok",
        "handlers": "warning",
        "data folder": "ok",
        "redis": "ok",
        "authentication": "fault",
        "konvox api": "warning",
        "public url": "warning",
    }
    assert outcome.err.endswith("konvox-hooks: 1 fault, 3 warnings\n")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("raise RuntimeError('a-secret')", "importing it fails with RuntimeError"),
        ("raise SystemExit(0)", "importing it fails with SystemExit"),
        ("import no_such_module_here", "no_such_module_here, which is not installed"),
        ("def broken(:", "importing it fails with SyntaxError"),
        ("x = 1", "no handler"),
    ],
)
async def test_handlers_that_cannot_be_loaded_are_a_fault(
    shell: Shell, redis_url: str, source: str, message: str
) -> None:
    """The other checks go on, and say what they could not compare."""
    async with healthy(shell, redis_url):
        (shell.folder / "shop_hooks.py").write_text(source)
        outcome, lines = await examined(shell)
    assert lines["handlers"][0]["state"] == "fault"
    assert message in lines["handlers"][0]["message"]
    assert "a-secret" not in outcome.out
    assert lines["registration"][0]["message"] == "not checked: the handlers cannot be loaded"
    assert lines["public url"][0]["state"] == "ok"


async def test_handlers_find_their_own_variables_of_env(shell: Shell, redis_url: str) -> None:
    """As in the worker: what stands in `.env` and is not ours is in their environment."""
    (shell.folder / ".env").write_text("SHOP_KEY_OF_THE_TESTS=x\n")
    shell.handle("contact.replied")
    path = shell.folder / "shop_hooks.py"
    path.write_text("import os; os.environ['SHOP_KEY_OF_THE_TESTS']\n" + path.read_text())
    shell.monkeypatch.setenv("SHOP_KEY_OF_THE_TESTS", "x")
    shell.monkeypatch.delenv("SHOP_KEY_OF_THE_TESTS")
    assert (await one(shell, "handlers"))["state"] == "ok"


# --- Redis ---------------------------------------------------------------------------------------------------------


async def test_a_redis_that_is_away_is_a_fault(shell: Shell, unused_tcp_port: int) -> None:
    """Its password does not show."""
    shell.configure(REDIS_URL=f"redis://:a-password@127.0.0.1:{unused_tcp_port}/0")
    outcome, lines = await examined(shell)
    assert lines["redis"][0]["state"] == "fault"
    assert "cannot be reached" in lines["redis"][0]["message"]
    assert "a-password" not in outcome.out + outcome.err


async def test_a_redis_that_hangs_is_a_fault(shell: Shell) -> None:
    """It takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        shell.configure(REDIS_URL=f"redis://127.0.0.1:{silent.getsockname()[1]}")
        line = await one(shell, "redis")
    assert (line["state"], "cannot be reached" in line["message"]) == ("fault", True)


@pytest.mark.parametrize(
    ("durability", "settings", "check", "state", "message"),
    [
        ("fsync", {"appendonly": "no"}, "redis durability", "fault", "keeps no append-only file"),
        ("fsync", {"appendfsync": "everysec"}, "redis durability", "ok", "WAITAOF after each batch"),
        ("fsync", {}, "redis durability", "ok", "appendfsync always"),
        ("memory", {"appendonly": "no"}, "redis durability", "warning", "a crash of Redis loses events"),
        ("replicas", {}, "redis durability", "fault", "no replica is connected"),
        (
            "fsync",
            {"maxmemory": "100mb", "maxmemory_policy": "allkeys-lru"},
            "redis eviction",
            "fault",
            "evict keys (`maxmemory-policy allkeys-lru`)",
        ),
        ("fsync", {"maxmemory_policy": "volatile-ttl"}, "redis eviction", "warning", "as soon as it has a `maxmemory`"),
        ("fsync", {"maxmemory": "100mb"}, "redis eviction", "ok", "noeviction"),
    ],
)
async def test_how_redis_is_set(
    shell: Shell, tmp_path: Path, durability: str, settings: dict[str, str], check: str, state: str, message: str
) -> None:
    """What would lose events is found, and what is safe is called so."""
    shell.configure(DURABILITY=durability)
    with ValkeyServer(tmp_path, **settings) as valkey:
        shell.configure(REDIS_URL=valkey.url())
        line = await one(shell, check)
    assert (line["state"], message in line["message"]) == (state, True), line


async def test_an_eviction_that_somebody_allows_is_a_warning(shell: Shell, tmp_path: Path) -> None:
    """It is still told, with the setting that lets it."""
    with ValkeyServer(tmp_path, maxmemory="100mb", maxmemory_policy="allkeys-lru") as valkey:
        shell.configure(REDIS_URL=valkey.url(), ALLOW_EVICTION="true")
        line = await one(shell, "redis eviction")
    assert line["state"] == "warning"
    assert "KONVOX_ALLOW_EVICTION=true" in line["message"]


async def test_a_replica_is_a_fault(shell: Shell, tmp_path: Path) -> None:
    """It refuses writes; and its primary then has one."""
    primary_folder, replica_folder = tmp_path / "p", tmp_path / "r"
    primary_folder.mkdir()
    replica_folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    with (
        ValkeyServer(primary_folder, port=port, repl_diskless_sync_delay="0") as primary,
        ValkeyServer(replica_folder, replicaof=f"127.0.0.1 {port}") as replica,
    ):
        shell.configure(REDIS_URL=replica.url())
        assert (await one(shell, "redis role"))["state"] == "fault"
        await _until_replicated(primary.url())
        shell.configure(REDIS_URL=primary.url(), DURABILITY="replicas")
        assert (await one(shell, "redis durability"))["message"].endswith("1 connected")


async def _until_replicated(url: str) -> None:
    server = connect(url, timeout_seconds=20)
    try:
        await server.set("written", "1")
        assert await server.wait(1, 15_000) == 1
    finally:
        await close(server)


async def test_a_server_that_forbids_to_look_is_still_judged(shell: Shell, tmp_path: Path) -> None:
    """As some hosted ones do: without CONFIG and INFO, what can be told is told."""
    with ValkeyServer(tmp_path) as valkey:
        server = connect(valkey.url())
        await server.execute_command("ACL", "SETUSER", "hooks", "on", ">pw", "~*", "&*", "+@all", "-config", "-info")
        await close(server)
        shell.configure(REDIS_URL=valkey.url().replace("unix://", "unix://hooks:pw@"))
        _, lines = await examined(shell)
    assert {check: lines[f"redis {check}"][0]["state"] for check in ("version", "durability", "eviction", "clock")} == {
        "version": "warning",
        "durability": "ok",
        "eviction": "warning",
        "clock": "ok",
    }


# --- Konvox --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "api", "scope"),
    [(FULL, "ok", "ok"), (READ, "ok", "warning"), ("kvx_live_wrong", "fault", None)],
)
async def test_the_key(shell: Shell, key: str, api: str, scope: str | None) -> None:
    """Valid or not, and with which scope; nothing is registered by finding out."""
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
    """Each answer has its meaning; every call is made once, and the one that writes holds nothing."""
    async with scripted(*replies) as konvox:
        shell.configure(API_URL=konvox.url, API_KEY=KEY)
        line = await one(shell, check)
    assert (line["state"], message in line["message"]) == (state, True), line
    _only_harmless(konvox, len(replies))


def _only_harmless(konvox: ScriptedKonvox, calls: int) -> None:
    assert len(konvox.asked) == calls
    assert all(asked.method == "GET" or asked.body == {} for asked in konvox.asked)


async def test_a_konvox_that_is_away_is_a_fault(shell: Shell, redis_url: str, unused_tcp_port: int) -> None:
    """The receiver is reached all the same."""
    async with healthy(shell, redis_url):
        shell.configure(API_URL=f"http://127.0.0.1:{unused_tcp_port}")
        _, lines = await examined(shell)
    assert (lines["konvox api"][0]["state"], lines["public url"][0]["state"]) == ("fault", "ok")


# --- the public URL and what is registered -------------------------------------------------------------------------


async def test_a_receiver_that_does_not_run_is_a_fault(shell: Shell, redis_url: str) -> None:
    """What is registered is compared all the same."""
    async with healthy(shell, redis_url):
        pass
    _, lines = await examined(shell)
    assert lines["public url"][0]["state"] == "fault"
    assert "cannot connect" in lines["public url"][0]["message"]
    assert lines["registration"][0]["state"] == "ok"


async def test_a_local_url_with_a_konvox_elsewhere_is_a_fault(shell: Shell, redis_url: str) -> None:
    """Konvox could not deliver there."""
    async with healthy(shell, redis_url):
        shell.configure(API_URL="https://konvox.invalid")
        line = await one(shell, "public url")
    assert (line["state"], "where Konvox cannot deliver" in line["message"]) == ("fault", True)


async def registration(shell: Shell, redis_url: str, *webhooks: dict[str, Any], **settings: str) -> list[str]:
    """The lines about the registration, with these webhooks besides the healthy one."""
    async with healthy(shell, redis_url) as origin:
        shell.configure(**settings)
        for fields in webhooks:
            await shell.add(*fields["events"], url=origin + fields["path"], active=fields.get("active", True))
        _, lines = await examined(shell)
    assert all(line["state"] == "warning" for line in lines["registration"] if line["hint"])
    return [line["message"] + (f" -> {line['hint']}" if line["hint"] else "") for line in lines["registration"]]


PATH = f"/hooks/konvox/{TOKEN}"


async def test_nothing_registered_is_a_warning(shell: Shell, redis_url: str) -> None:
    """With each handler that waits in vain, and the command that fixes it; after which all is well."""
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
    """And the option that fixes it."""
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
    """Each difference is one warning."""
    [line] = await registration(shell, redis_url, webhook)
    assert message in line.partition(" -> ")[0]
    assert hint in line.partition(" -> ")[2]


async def test_a_url_of_somebody_else_is_none_of_ours(shell: Shell, redis_url: str) -> None:
    """The company may have other webhooks."""
    [line] = await registration(shell, redis_url, {"path": "/another/app", "events": ["campaign.completed"]})
    assert line == "Konvox delivers contact.replied, enrollment.created, as the handlers want"


async def test_a_rotation_under_way_is_a_warning(shell: Shell, redis_url: str) -> None:
    """Both tokens deliver; the old one's webhook is to go, and that is all."""
    old = {"path": f"/hooks/konvox/{OLD_TOKEN}", "events": ["contact.replied"]}
    [line] = await registration(shell, redis_url, old, HOOK_TOKENS=f"{TOKEN},{OLD_TOKEN}")
    assert "still delivers with an old token -> once the first token's URL is registered" in line


async def test_what_konvox_says_cannot_speak_to_the_terminal(shell: Shell, redis_url: str) -> None:
    """Control characters in an event's name are replaced, so that a line stays one line."""
    async with healthy(shell, redis_url) as origin:
        await shell.add("\x1b[2J\nok       all  is well", url=f"{origin}{PATH}")
        outcome = await shell.run("doctor")
    assert outcome.exit_code == 3
    assert "\x1b" not in outcome.out
    assert not any(line.startswith("ok       all") for line in outcome.out.splitlines())


# --- the whole -----------------------------------------------------------------------------------------------------


async def test_several_endpoints_are_examined_each(shell: Shell, redis_url: str) -> None:
    """Under their names; Redis and handlers once."""
    (shell.folder / "accounts.toml").write_text(
        f'[acme]\nhook_tokens = "{TOKEN}"\napi_key = "{FULL}"\n'
        f'[other]\nhook_tokens = "{OLD_TOKEN}"\napi_key = "wrong"\n'
    )
    async with healthy(shell, redis_url):
        shell.configure(ACCOUNTS_FILE="accounts.toml", HOOK_TOKENS=None, API_KEY=None)
        _, lines = await examined(shell)
    assert lines["[acme] konvox api"][0]["state"] == lines["[acme] registration"][0]["state"] == "ok"
    assert lines["[other] konvox api"][0]["state"] == "fault"
    assert lines["[acme] public url"][0]["state"] == "ok"
    assert lines["[other] public url"][0]["message"].endswith("does not hold this token or signing secret")
    assert (len(lines["redis"]), "authentication" in lines, "konvox api" in lines) == (1, False, False)


async def test_a_newcomer_from_nothing_to_all_ok(tmp_path: Path) -> None:
    """Real processes: make a token, serve, register, and the doctor has nothing to say; without serve it has."""
    (tmp_path / "mine.py").write_text(
        "from handlers import on\n\n\n@on('contact.replied')\nasync def f(event, ctx): ...\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    env = {"KONVOX_HANDLERS": "./mine.py", "KONVOX_PORT": port, "KONVOX_ADMIN_PORT": "0", "KONVOX_LOG_FORMAT": "json"}
    async with await OurProcess.start("sandbox", "--port", "0", env={}, cwd=tmp_path) as sandbox:
        api_url = str((await sandbox.said(lambda line: "sandbox" in line, "its URL"))["sandbox"])
        env |= {
            "KONVOX_API_URL": api_url,
            "KONVOX_API_KEY": "kvx_live_sandbox_full",
            "KONVOX_PUBLIC_URL": f"http://127.0.0.1:{port}",
        }

        async def code(*arguments: str) -> int:
            """Run a command to its end."""
            async with await OurProcess.start(*arguments, env=env, cwd=tmp_path) as process:
                return await process.ended()

        assert await code("doctor") == 1
        assert await code("register", "--write-env") == 3
        async with await OurProcess.start("serve", env=env, cwd=tmp_path) as serve:
            await serve.listening("receiver")
            assert await code("doctor") == 3
            assert await code("register", "--write-env") == 0
            assert await code("doctor") == 0
            assert await serve.terminate() == 0
        assert await code("doctor") == 1


async def test_the_sentinels_are_each_looked_at(shell: Shell, tmp_path: Path) -> None:
    """One that is away is a warning, because nothing else shows it; where none is left, that is the fault."""
    with SentinelSet(tmp_path / "sentinels") as redis_set:
        shell.configure(REDIS_URL=redis_set.url(), DURABILITY="replicas")
        lines = (await examined(shell))[1]
        assert lines["redis sentinels"][0]["message"] == "all 3 name a master events"
        assert [lines[check][0]["state"] for check in ("redis", "redis durability")] == ["ok", "ok"]
        redis_set.sentinels[0].kill()
        line = await one(shell, "redis sentinels")
        assert (line["state"], line["message"][:6]) == ("warning", "1 of 3")
        for sentinel in redis_set.sentinels:
            sentinel.kill()
        outcome, lines = await examined(shell)
    assert lines["redis sentinels"][0]["state"] == "fault"
    assert "no sentinel names a master events that is up" in lines["redis"][0]["message"]
    assert "s@ntinels" not in outcome.out
    assert "s%40ntinels" not in outcome.out
