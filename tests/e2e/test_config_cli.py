"""Tests of `konvox-hooks config` and `handlers` as processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from konvox_hooks.process.own_command import own_command

PROJECT = Path(__file__).parents[2]
SECRETS = {
    "KONVOX_API_KEY": "kvx_live_0123456789",
    "KONVOX_HOOK_TOKENS": "first-token-0123456789,second-token-0123456789",
    "KONVOX_SIGNING_SECRETS": "signing-secret-one",
    "KONVOX_REDIS_URL": "redis://me:the-password@redis.example:6379/0",
}
HIDDEN = ["0123456789", "first-token", "second-token", "signing-secret", "the-password"]


def environment(variables: dict[str, str]) -> dict[str, str]:
    """This process's environment with these KONVOX_ variables and no others."""
    own = {name: value for name, value in os.environ.items() if not name.upper().startswith("KONVOX_")}
    return {**own, "PYTHONPATH": str(PROJECT), **variables}


SCRIPT = [str(Path(sys.executable).with_name("konvox-hooks"))]
MODULE = [sys.executable, "-m", "konvox_hooks"]


def konvox_hooks(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command."""
    return run([*SCRIPT, *arguments], cwd, variables)


def run(command: list[str], cwd: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run any command with these KONVOX_ variables."""
    return subprocess.run(
        command,
        cwd=cwd,
        env=environment(variables),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("program", [SCRIPT, MODULE])
def test_config_shows_values_and_sources_as_a_table(tmp_path: Path, program: list[str]) -> None:
    """Piped, `config` has a header and one tab-separated line for each setting, with both ways to start it."""
    (tmp_path / ".env").write_text("KONVOX_HOST=::1\n")
    done = run([*program, "config"], tmp_path, {"KONVOX_PORT": "0"})
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr) == (0, "")
    assert rows[0] == ["VARIABLE", "VALUE", "SOURCE"]
    assert ["KONVOX_PORT", "0", "environment"] in rows
    assert ["KONVOX_HOST", "::1", ".env"] in rows
    assert ["KONVOX_ADMIN_PORT", "8081", "default"] in rows


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_config_shows_no_secret(tmp_path: Path, form: list[str]) -> None:
    """Neither stdout nor stderr shows any part of a key, a token, a secret or a password."""
    done = konvox_hooks("config", *form, cwd=tmp_path, **SECRETS)
    assert done.returncode == 0
    assert "redis.example" in done.stdout
    assert not [hidden for hidden in HIDDEN if hidden in done.stdout + done.stderr]


def test_config_as_json(tmp_path: Path) -> None:
    """`--json` is an array of variable, value and source; the source of a secret's file is the file."""
    (tmp_path / "key").write_text("kvx_live_0123456789\n")
    done = konvox_hooks("config", "--json", cwd=tmp_path, KONVOX_API_KEY_FILE="key")
    values = {entry.pop("variable"): entry for entry in orjson.loads(done.stdout)}
    assert values["KONVOX_API_KEY"] == {"value": "••••", "source": "file"}
    assert values["KONVOX_CONCURRENCY"] == {"value": "100", "source": "default"}


def test_faults_end_with_two_and_show_no_value(tmp_path: Path) -> None:
    """Every fault is on stderr without a value, stdout is empty, and the exit code is 2."""
    wrong = {
        **SECRETS,
        "KONVOX_HOOK_TOKENS": "too/odd",
        "KONVOX_PORT": "the-port",
        "KONVOX_API_KEY": "kvx 0123456789",
    }
    done = konvox_hooks("config", cwd=tmp_path, **wrong)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("konvox-hooks: KONVOX_API_KEY: ")
    assert "\nKONVOX_HOOK_TOKENS: token 1 of 1 " in done.stderr
    assert "\nKONVOX_PORT: " in done.stderr
    assert "Traceback" not in done.stderr
    assert not [hidden for hidden in [*HIDDEN, "too/odd", "the-port"] if hidden in done.stderr]


def test_a_mistyped_variable_is_pointed_out(tmp_path: Path) -> None:
    """A mistyped variable is a warning with the nearest name and without its value, and no error."""
    done = konvox_hooks("config", cwd=tmp_path, KONVOX_HOOK_TOKEN="first-token-0123456789")
    assert done.returncode == 0
    assert done.stderr == (
        "konvox-hooks: warning: KONVOX_HOOK_TOKEN is not a setting; did you mean KONVOX_HOOK_TOKENS?\n"
    )


def test_handlers_lists_what_is_registered(tmp_path: Path) -> None:
    """`handlers` lists name, events and source of each handler, and what a module prints does not go to stdout."""
    source = (
        'from handlers import on\nprint("noise")\n@on("contact.replied", attempts=3, timeout=5)\n'
        "async def tell(event, ctx):\n    ...\n"
    )
    (tmp_path / "mine_for_test.py").write_text(source)
    done = konvox_hooks("handlers", "--json", cwd=tmp_path, KONVOX_HANDLERS="mine_for_test.py")
    assert done.returncode == 0, done.stderr
    [handler] = orjson.loads(done.stdout)
    assert handler["name"] == "mine_for_test.tell"
    assert handler["events"] == ["contact.replied"]
    assert (handler["attempts"], handler["timeout_seconds"]) == (3, 5)
    assert "mine_for_test.py" in handler["source"]
    assert "noise" in done.stderr
    assert "no handler wants enrollment.created, enrollment.unsubscribed" in done.stderr


def test_handlers_without_any_shows_one_to_paste(tmp_path: Path) -> None:
    """Without handlers, stderr has a handler to paste, and stdout an empty array."""
    done = konvox_hooks("handlers", "--json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "[]\n")
    _, _, code = done.stderr.partition("\n\n")
    compile(code, "pasted", "exec")
    assert '@on("contact.replied")' in code


def test_a_handler_that_does_not_import_is_a_wrong_configuration(tmp_path: Path) -> None:
    """A handler that cannot be imported leads to exit code 2 and a message that names it."""
    done = konvox_hooks("handlers", cwd=tmp_path, KONVOX_HANDLERS="no_such_module_here")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("konvox-hooks: no_such_module_here: ")


def test_a_reader_that_goes_away_is_no_fault(tmp_path: Path) -> None:
    """A closed pipe ends the command silently, with the exit code that shells expect."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            own_command("config"),
            cwd=tmp_path,
            env=environment({}),
            stdout=writing,
            stderr=subprocess.PIPE,
            timeout=30,
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")
