"""Tests of secrets in `konvox-hooks register`: made, rotated, shown once, or written to `.env`."""

from __future__ import annotations

import re
import stat
from collections.abc import Awaitable, Callable

import pytest

from tests.support.registration import OLD_TOKEN, SECRET, TOKEN, Outcome, Shell

REGISTER = ("--events", "contact.replied")
_MADE = re.compile(r"^KONVOX_HOOK_TOKENS=([A-Za-z0-9_-]{43})(,[^\n]+)?$", re.MULTILINE)


def made_token(text: str) -> str:
    """The token that was made; it must have 256 bits."""
    found = _MADE.search(text)
    assert found is not None, text
    return found[1]


def says_once(outcome: Outcome, secret: str) -> bool:
    """Whether a secret is on stdout once, and not on stderr."""
    return outcome.out.count(secret) == 1 and secret not in outcome.err


@pytest.fixture
def env(shell: Shell) -> Callable[..., str]:
    """The content of `.env`."""
    return lambda: (shell.folder / ".env").read_text(encoding="utf-8")


async def test_a_token_is_made_where_none_is_set(shell: Shell, redis_url: str) -> None:
    """A new token is shown once; nothing is registered until a receiver has it, and then the next run does."""
    shell.configure(HOOK_TOKENS=None)
    async with shell.receiver(redis_url):
        first = await shell.register(*REGISTER, check=True)
    token = made_token(first.out)
    assert first.exit_code == 3
    assert says_once(first, token)
    assert "start the receiver with it, and run `konvox-hooks register` again" in first.err
    assert await shell.known() == []
    assert not (shell.folder / ".env").exists()
    shell.configure(HOOK_TOKENS=token)
    async with shell.receiver(redis_url, tokens=(token,)):
        second = await shell.register(*REGISTER, check=True)
    assert second.exit_code == 0
    assert token not in second.out + second.err
    [webhook] = await shell.known()
    assert webhook.url.endswith(f"/hooks/konvox/{token}")


async def test_each_run_makes_another(shell: Shell) -> None:
    """Each run makes another token, because a token is not derived from anything."""
    shell.configure(HOOK_TOKENS=None, PUBLIC_URL="http://127.0.0.1:1")
    tokens = {made_token((await shell.register(*REGISTER, check=True)).out) for _ in range(3)}
    assert len(tokens) == 3


async def test_a_made_token_is_registered_at_once_without_the_check(shell: Shell) -> None:
    """With --no-check a new token is registered at once: the receiver is started afterwards."""
    shell.configure(HOOK_TOKENS=None)
    outcome = await shell.register(*REGISTER)
    token = made_token(outcome.out)
    assert (outcome.exit_code, says_once(outcome, token)) == (0, True)
    assert "Start the receiver with it" in outcome.err
    assert [webhook.url for webhook in await shell.known()] == [f"https://hooks.example.com/hooks/konvox/{token}"]


async def test_a_made_token_can_be_written(shell: Shell, redis_url: str, env: Callable[..., str]) -> None:
    """A new token is written into a new `.env` for its owner only; the next run uses it, and neither shows it."""
    shell.configure(HOOK_TOKENS=None, PUBLIC_URL="http://127.0.0.1:1")
    first = await shell.register(*REGISTER, "--write-env", check=True)
    token = made_token(env())
    assert first.exit_code == 3
    assert token not in first.out + first.err
    assert stat.S_IMODE((shell.folder / ".env").stat().st_mode) == 0o600
    async with shell.receiver(redis_url, tokens=(token,)):
        second = await shell.register(*REGISTER, "--write-env", check=True)
    assert second.exit_code == 0
    assert env() == f"KONVOX_HOOK_TOKENS={token}\n"


async def test_what_else_stands_in_env_stays(shell: Shell, env: Callable[..., str]) -> None:
    """Comments, order and other variables of `.env` stay."""
    shell.configure(HOOK_TOKENS=None)
    (shell.folder / ".env").write_text("# mine\nKONVOX_HOOK_TOKENS=\nKONVOX_PORT=9000  # why\n")
    assert (await shell.register(*REGISTER, "--write-env")).exit_code == 0
    token = made_token(env())
    assert env() == f"# mine\nKONVOX_HOOK_TOKENS={token}\nKONVOX_PORT=9000  # why\n"


async def test_a_dry_run_makes_no_token(shell: Shell) -> None:
    """A dry run says that a token would be made, and shows the request."""
    shell.configure(HOOK_TOKENS=None)
    outcome = await shell.register(*REGISTER, "--dry-run", "--write-env")
    assert outcome.exit_code == 0
    assert "KONVOX_HOOK_TOKENS" not in outcome.out
    assert "a token would be made" in outcome.err
    assert not (shell.folder / ".env").exists()


async def test_a_made_token_is_in_the_json(shell: Shell) -> None:
    """The JSON has a new token under the variable that holds it, or else names it as written."""
    shell.configure(HOOK_TOKENS=None)
    shown = (await shell.register(*REGISTER, "--json")).json
    assert re.fullmatch("[A-Za-z0-9_-]{43}", shown["environment"]["KONVOX_HOOK_TOKENS"])
    assert (shown["state"], shown["written"]) == ("created", [])
    written = (await shell.register(*REGISTER, "--json", "--write-env")).json
    assert (written["environment"], written["written"]) == ({}, ["KONVOX_HOOK_TOKENS"])


async def test_a_rotation_puts_a_new_token_first(shell: Shell, redis_url: str) -> None:
    """In a rotation the receiver proves itself by the old token, both are registered, and the next steps are named."""
    async with shell.receiver(redis_url, tokens=(TOKEN,)) as receiver:
        shell.configure(HOOK_TOKENS=TOKEN)
        old = await shell.add("contact.replied", url=f"http://127.0.0.1:{receiver.port}/hooks/konvox/{TOKEN}")
        outcome = await shell.run("register", *REGISTER, "--rotate", may_show=TOKEN)
    assert outcome.exit_code == 0
    token = made_token(outcome.out)
    assert f"KONVOX_HOOK_TOKENS={token},{TOKEN}\n" in outcome.out
    assert says_once(outcome, token)
    assert [webhook.url.rpartition("/")[2] for webhook in await shell.known()] == [TOKEN, token]
    assert f"until then webhook {old.id} still delivers with the old one, and nothing is lost" in outcome.err
    assert f"3. Then delete webhook {old.id} in Konvox's dashboard; a day later" in outcome.err


async def test_a_rotation_can_be_written(shell: Shell, env: Callable[..., str]) -> None:
    """A rotation with `--write-env` puts the new token before those of `.env`."""
    shell.configure(HOOK_TOKENS=None)
    (shell.folder / ".env").write_text(f"KONVOX_HOOK_TOKENS={TOKEN},{OLD_TOKEN}\n")
    outcome = await shell.register(*REGISTER, "--rotate", "--write-env")
    assert outcome.exit_code == 0
    token = made_token(env())
    assert env() == f"KONVOX_HOOK_TOKENS={token},{TOKEN},{OLD_TOKEN}\n"
    assert token not in outcome.out + outcome.err
    assert "nothing is registered with the old one" in outcome.err


async def test_a_rotation_checks_with_the_old_token(shell: Shell, redis_url: str) -> None:
    """If the receiver does not hold the old token, no token is made and nothing is registered."""
    async with shell.receiver(redis_url, tokens=("another-token-0123456789",)):
        outcome = await shell.register(*REGISTER, "--rotate", check=True)
    assert (outcome.exit_code, outcome.out) == (1, "")
    assert await shell.known() == []


async def test_a_dry_rotation_changes_nothing(shell: Shell) -> None:
    """A dry rotation shows that another URL would be registered."""
    await shell.add("contact.replied")
    outcome = await shell.register(*REGISTER, "--rotate", "--dry-run")
    assert (outcome.exit_code, "would send: POST" in outcome.out) == (0, True)
    assert len(await shell.known()) == 1


@pytest.mark.parametrize("source", ["environment", "file"])
async def test_what_counts_from_elsewhere_is_not_written(shell: Shell, source: str) -> None:
    """A token that is configured elsewhere than in `.env` is not written there, and the exit code is 2."""
    if source == "file":
        (shell.folder / "tokens").write_text(TOKEN)
        shell.configure(HOOK_TOKENS=None, HOOK_TOKENS_FILE=str(shell.folder / "tokens"))
    outcome = await shell.register(*REGISTER, "--rotate", "--write-env")
    assert (outcome.exit_code, outcome.out) == (2, "")
    assert "--write-env: KONVOX_HOOK_TOKENS comes from" in outcome.err
    assert not (shell.folder / ".env").exists()
    assert await shell.known() == []


async def test_an_env_file_that_cannot_be_written_stops_the_registration(shell: Shell) -> None:
    """Nothing is registered if `.env` cannot be written: a URL whose token nobody has is of no use."""
    shell.configure(HOOK_TOKENS=None)
    (shell.folder / ".env").mkdir()
    outcome = await shell.register(*REGISTER, "--write-env")
    assert outcome.exit_code in {1, 2}
    assert ".env" in outcome.err
    assert await shell.known() == []


@pytest.mark.parametrize("known", ["", "older-secret-0123456789"])
async def test_a_signing_secret_is_written(shell_for: Callable[..., Awaitable[Shell]], known: str) -> None:
    """A signing secret is written before the present ones, so deliveries of older webhooks still verify."""
    shell = await shell_for(signing_secret=SECRET)
    path = shell.folder / ".env"
    path.write_text(f"KONVOX_SIGNING_SECRETS={known}\n")
    outcome = await shell.register(*REGISTER, "--write-env")
    assert outcome.exit_code == 0
    assert SECRET not in outcome.out + outcome.err
    assert "KONVOX_SIGNING_SECRETS in .env now holds it" in outcome.err
    assert path.read_text() == f"KONVOX_SIGNING_SECRETS={','.join(filter(None, [SECRET, known]))}\n"


async def test_a_signing_secret_that_cannot_be_written_is_shown(shell_for: Callable[..., Awaitable[Shell]]) -> None:
    """A signing secret that cannot be written is shown, because Konvox never shows it again."""
    shell = await shell_for(signing_secret=SECRET)
    shell.configure(SIGNING_SECRETS="older-secret-0123456789")
    outcome = await shell.register(*REGISTER, "--write-env")
    assert outcome.exit_code == 0
    assert f"KONVOX_SIGNING_SECRETS={SECRET},older-secret-0123456789" in outcome.out.splitlines()
    assert "comes from the environment" in outcome.err


async def test_a_signing_secret_that_is_known_is_not_shown(shell_for: Callable[..., Awaitable[Shell]]) -> None:
    """A signing secret that is configured already is not shown."""
    shell = await shell_for(signing_secret=SECRET)
    shell.configure(SIGNATURE="hmac-sha256", SIGNING_SECRETS=SECRET)
    outcome = await shell.register(*REGISTER)
    assert outcome.exit_code == 0
    assert SECRET not in outcome.out + outcome.err
    assert "signing secret" not in outcome.err


async def test_a_signature_that_needs_a_token_gets_one(shell: Shell) -> None:
    """Where a token is required besides the signature, one is made: the path without it would be refused."""
    shell.configure(HOOK_TOKENS=None, SIGNATURE="hmac-sha256", SIGNING_SECRETS=SECRET, REQUIRE_TOKEN="true")
    outcome = await shell.register(*REGISTER)
    token = made_token(outcome.out)
    assert [webhook.url.rpartition("/")[2] for webhook in await shell.known()] == [token]


async def test_an_endpoint_of_several_is_registered(shell: Shell) -> None:
    """An account is registered with its own key and token; a new token is shown as the accounts file wants it."""
    (shell.folder / "accounts.toml").write_text(
        f'[acme]\nhook_tokens = "{TOKEN}"\napi_key = "kvx_live_full_key"\n'
        f'[other]\nhook_tokens = "{OLD_TOKEN}"\napi_key = "kvx_live_wrong"\n'
    )
    shell.configure(ACCOUNTS_FILE="accounts.toml", HOOK_TOKENS=None, API_KEY=None)
    assert (await shell.register(*REGISTER)).exit_code == 2
    assert (await shell.register(*REGISTER, "--account", "other")).exit_code == 1
    assert (await shell.register(*REGISTER, "--account", "acme")).exit_code == 0
    assert [webhook.url.rpartition("/")[2] for webhook in await shell.known()] == [TOKEN]
    rotate = ("register", *REGISTER, "--account", "acme", "--rotate", "--no-check")
    assert (await shell.run(*rotate, "--write-env")).exit_code == 2
    rotated = await shell.run(*rotate, may_show=TOKEN)
    assert re.search(rf'^hook_tokens = "[A-Za-z0-9_-]{{43}},{TOKEN}"$', rotated.out, re.MULTILINE)
    assert "below [acme] in the accounts file" in rotated.err
