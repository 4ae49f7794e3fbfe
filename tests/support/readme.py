"""The README for tests: its commands, its files, and the two parts that are made from the code.

`python -m tests.support.readme` writes those two parts again: the settings table, and the output of the demo.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from konvox_hooks.config.settings import SECRET_FIELDS, Settings, variable_of
from konvox_hooks.process.own_command import own_command

README = Path(__file__).parents[2] / "README.md"


def text() -> str:
    """The README."""
    return README.read_text(encoding="utf-8")


def commands(page: Path = README) -> list[str]:
    """Every command that the README, or another page, tells its readers to type, in order."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def file(name: str) -> str:
    """The content of a file that the README tells its readers to write."""
    found = re.search(rf"<!-- file: {re.escape(name)} -->\n```\w+\n(.*?)```", text(), re.DOTALL)
    assert found is not None, f"README.md has no file {name}"
    return found[1]


def part(name: str) -> str:
    """A part of the README that is made from the code."""
    found = re.search(rf"<!-- {name} -->\n(.*?)\n?<!-- /{name} -->", text(), re.DOTALL)
    assert found is not None, f"README.md has no part {name}"
    return found[1]


def settings_table() -> str:
    """The table of all settings, from their definitions."""
    rows = ["| variable | default | |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = field.default_factory() if field.default_factory else field.default  # type: ignore[call-arg]
        shown = "none" if default in (None, []) else f"`{str(default).removesuffix('.0')}`"
        secret = "; a secret" if name in SECRET_FIELDS else ""
        rows.append(f"| `{variable_of(name)}` | {shown} | {field.description}{secret} |")
    return "\n".join(rows)


def demo_block(output: str) -> str:
    """The demo's output as the README shows it: ids differ in each run, and one id replaces them."""
    return "```text\n" + re.sub(r"evt_[a-z2-7]{26}", "evt_" + "a" * 26, output).strip() + "\n```"


def _replace(content: str, name: str, made: str) -> str:
    pattern = rf"(<!-- {name} -->\n).*?\n?(<!-- /{name} -->)"
    return re.sub(pattern, lambda found: f"{found[1]}{made}\n{found[2]}", content, flags=re.DOTALL)


def main() -> None:
    """Write both parts again."""
    demo = subprocess.run(own_command("demo"), capture_output=True, text=True, check=True)
    content = _replace(text(), "settings", settings_table())
    README.write_text(_replace(content, "demo", demo_block(demo.stdout)), encoding="utf-8")


if __name__ == "__main__":
    main()
