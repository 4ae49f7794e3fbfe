"""Tests of a script that was written only from Konvox's public documentation."""

from __future__ import annotations

import ast
import asyncio
import os
import sys
from pathlib import Path

from tests.support.processes import OurProcess

SCRIPT = Path(__file__).parents[2] / "support" / "docs_script.py"
FULL, READ = "kvx_live_full_key", "kvx_live_read_key"


async def test_the_script_works(tmp_path: Path) -> None:
    """The script runs every documented call against the sandbox, with nothing of ours."""
    options = ("--port", "0", "--full-key", FULL, "--read-key", READ, "--retry-base", "0.05")
    scenario = ("--scenario", "steady", "--rate", "100", "--seed", "7")
    async with await OurProcess.start("sandbox", *options, *scenario, env={}, cwd=tmp_path) as sandbox:
        url = (await sandbox.said(lambda line: "sandbox" in line, "line about its URL"))["sandbox"]
        script = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-X", "dev", "-W", "error", str(SCRIPT)),
            env={"PATH": os.environ["PATH"], "KONVOX_URL": url, "KONVOX_KEY": FULL, "KONVOX_READ_KEY": READ},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await script.communicate()
        assert script.returncode == 0, said.decode()


def test_the_script_knows_nothing_of_ours() -> None:
    """The script imports the standard library only, and calls nothing that Konvox does not have."""
    source = SCRIPT.read_text(encoding="utf-8")
    imports = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = [node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in imports]
    assert {str(module).partition(".")[0] for module in modules} <= sys.stdlib_module_names
    assert "/sandbox" not in source
