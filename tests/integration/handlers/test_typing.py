"""What mypy --strict says about users' modules: nothing about `tests/typing/api.py`, and each fault of a bad one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

BAD = """
from konvox_hooks import Context, NoSuchName, Retry, on  # error
from konvox_hooks.events import ContactReplied, EnrollmentCreated, Event
from konvox_hooks.testing import make_context, make_event


@on()  # error
async def of_nothing(event: Event, ctx: Context) -> None: ...


@on(ContactReplied)  # error
async def of_another_class(event: EnrollmentCreated, ctx: Context) -> None: ...


@on("contact.replied")  # error
async def without_context(event: ContactReplied) -> None: ...


@on("contact.replied", attempts="3")  # error
async def with_wrong_argument(event: ContactReplied, ctx: Context) -> None: ...


@on(ContactReplied, when=lambda event: event.data.no_such_field)  # error
async def with_wrong_predicate(event: ContactReplied, ctx: Context) -> None: ...


@on("contact.replied")
async def fine(event: ContactReplied, ctx: Context) -> None:
    ctx.no_such_thing  # error
    raise Retry(after=["soon"])  # error


async def test_it() -> None:
    await fine(make_event("enrollment.created"), make_context())  # error
    make_event("contact.replied", compani_id="cl")  # error
"""


API = Path(__file__).parents[2] / "typing" / "api.py"


@pytest.mark.timeout(240)
def test_users_modules_are_checked_as_they_should_be(tmp_path: Path) -> None:
    """The editor knows every public name with its type, and a wrong use of one is found before it runs."""
    (tmp_path / "good_hooks.py").write_text(API.read_text())
    (tmp_path / "old_hooks.py").write_text(
        API.read_text()
        .replace("from konvox_hooks.events import", "from konvox.events import")
        .replace("from konvox_hooks.testing import", "from handlers.testkit import")
        .replace("from konvox_hooks import", "from handlers import")
    )
    (tmp_path / "bad_hooks.py").write_text(BAD.lstrip())
    (tmp_path / "mypy.ini").write_text("[mypy]\nstrict = true\nplugins = pydantic.mypy\n")
    outcome = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--no-error-summary",
            "--no-pretty",
            *sorted(path.name for path in tmp_path.glob("*.py")),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    found = {(name, int(line)) for name, line in re.findall(r"(\w+\.py):(\d+): error:", outcome.stdout)}
    lines = BAD.lstrip().splitlines()
    expected = {("bad_hooks.py", number) for number, line in enumerate(lines, start=1) if line.endswith("# error")}
    assert found == expected, outcome.stdout + outcome.stderr
