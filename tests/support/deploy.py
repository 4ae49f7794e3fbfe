"""The files of `deploy/` for tests: what each starts, and how the same is started on this machine."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import site
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support.processes import OurProcess
from tests.support.valkey import ValkeyServer

PROJECT = Path(__file__).parents[2]
DEPLOY = PROJECT / "deploy"
INSTALLED = "/opt/konvox-hooks"
"""Where the image and the units have konvox-hooks."""

Unit = Mapping[str, Sequence[str]]
"""The settings of a systemd unit; one that stands twice has two values, one that is emptied has none."""


@dataclass(frozen=True, slots=True)
class Launch:
    """One process as a file describes it, in the terms of the machine that the file is for.

    Attributes:
        command: program and arguments.
        environment: all that the file gives it.
        directory: the working directory.
        stop_seconds: how long it is given between SIGTERM and SIGKILL.
    """

    command: Sequence[str]
    environment: Mapping[str, str]
    directory: str
    stop_seconds: float


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of a Dockerfile, with its lines joined."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """The words of its exec form."""
        words: list[str] = json.loads(self.text)
        return words


# Dockerfile ---------------------------------------------------------------------------------------------------------


def stages() -> list[list[Instruction]]:
    """The stages of the Dockerfile, each with its instructions."""
    lines = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").splitlines()
    joined = "\n".join(line for line in lines if not line.startswith("#")).replace("\\\n", " ")
    found: list[list[Instruction]] = []
    for line in filter(None, map(str.strip, joined.splitlines())):
        name, text = line.split(maxsplit=1)
        if name == "FROM":
            found.append([])
        found[-1].append(Instruction(name, text))
    return found


def of_image(name: str) -> Instruction:
    """The instruction with this name in the last stage, which is the image."""
    [instruction] = [instruction for instruction in stages()[-1] if instruction.name == name]
    return instruction


def image_environment() -> dict[str, str]:
    """The environment variables of the image's processes."""
    return dict(pair.split("=", 1) for pair in shlex.split(of_image("ENV").text))


def image_launch(env_file: str = "") -> Launch:
    """What `docker run --env-file FILE --stop-timeout 30` of the image starts."""
    return Launch(
        [*of_image("ENTRYPOINT").words, *of_image("CMD").words],
        {**image_environment(), **variables(env_file)},
        of_image("WORKDIR").text,
        stop_seconds=30,
    )


def health_check() -> list[str]:
    """The command with which Docker checks the health of a container."""
    _, command = of_image("HEALTHCHECK").text.split("CMD ", 1)
    return list(json.loads(command))


def build_context() -> Iterator[Path]:
    """The files of the project that .dockerignore includes in the build, relative to the project."""
    rules = [line for line in (PROJECT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    for top in sorted(PROJECT.iterdir()):
        if _let_in(top.relative_to(PROJECT), rules):
            files = top.rglob("*") if top.is_dir() else [top]
            yield from (path for file in files if file.is_file() and _let_in(path := file.relative_to(PROJECT), rules))


def _let_in(path: Path, rules: Sequence[str]) -> bool:
    let_in = True
    candidates = [str(part) for part in (path, *path.parents)]
    for rule in rules:
        pattern = re.escape(rule.removeprefix("!")).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
        if any(re.fullmatch(pattern, candidate) for candidate in candidates if candidate != "."):
            let_in = rule.startswith("!")
    return let_in


def install_as_the_image_does(folder: Path) -> Path:
    """Build the wheel and install it with the very commands of the Dockerfile; returns the virtual environment.

    Left out are the two that fetch the locked packages: their place is taken by those of this virtual environment,
    which come from the same lock.
    """
    source, installed, wheels = folder / "src", folder / "installed", folder / "wheels"
    for path in build_context():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PROJECT / path, source / path)
    path_variable = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for instruction in stages()[0]:
        for step in instruction.text.split("&&") if instruction.name == "RUN" else ():
            if "-r requirements/" not in step:
                command = step.replace(INSTALLED, str(installed)).replace("/wheels", str(wheels))
                done = subprocess.run(
                    ["sh", "-c", command],
                    cwd=source,
                    env={**os.environ, "PATH": path_variable},
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    [packages] = installed.glob("lib/python*/site-packages")
    (packages / "locked.pth").write_text("".join(f"{folder}\n" for folder in site.getsitepackages()))
    return installed


# compose.yaml -------------------------------------------------------------------------------------------------------


def compose() -> dict[str, Any]:
    """The compose file."""
    content: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return content


def service_launch(name: str, env_file: str = "") -> Launch:
    """What compose starts for one of our services.

    Args:
        name: of the service.
        env_file: the content of the `.env` that the service names.
    """
    service = compose()["services"][name]
    assert service["env_file"] == [{"path": ".env", "required": False}]
    return Launch(
        [*of_image("ENTRYPOINT").words, *service["command"]],
        {**image_environment(), **variables(env_file), **service["environment"]},
        of_image("WORKDIR").text,
        _seconds(service["stop_grace_period"]),
    )


class ComposeValkey(ValkeyServer):
    """The Valkey of compose.yaml with the same options, on a Unix socket and with its data in a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        program, *options = compose()["services"]["valkey"]["command"]
        assert program == "valkey-server"
        names, values = options[::2], options[1::2]
        assert all(name.startswith("--") for name in names)
        given = {name.removeprefix("--"): value for name, value in zip(names, values, strict=True)}
        self._settings = {**given, "dir": str(folder), "port": "0", "unixsocket": str(folder / "v.sock")}


# systemd ------------------------------------------------------------------------------------------------------------


def unit(role: str) -> Unit:
    """The unit of a role."""
    lines = (DEPLOY / "systemd" / f"konvox-hooks-{role}.service").read_text(encoding="utf-8").splitlines()
    found: dict[str, list[str]] = {}
    for line in lines:
        if line and line[0] not in "#[":
            name, value = line.split("=", 1)
            found.setdefault(name, []).extend([value] if value else [])
    return found


def unit_launch(role: str, env_file: str = "") -> Launch:
    """What systemd starts for a role.

    Args:
        role: `receiver` or `worker`.
        env_file: the content of the EnvironmentFile.
    """
    settings = unit(role)
    own = dict(pair.split("=", 1) for line in settings["Environment"] for pair in shlex.split(line))
    specifiers = {"%S": "/var/lib", "%N": f"konvox-hooks-{role}"}

    def expanded(text: str) -> str:
        return re.sub("%.", lambda found: specifiers[found[0]], text)

    return Launch(
        shlex.split(settings["ExecStart"][0]),
        {name: expanded(value) for name, value in own.items()} | variables(env_file),
        expanded(settings["WorkingDirectory"][0]),
        _seconds(settings["TimeoutStopSec"][0]),
    )


# All ----------------------------------------------------------------------------------------------------------------


def variables(env_file: str) -> dict[str, str]:
    """The variables of an environment file."""
    lines = (line for line in env_file.splitlines() if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


def filled_in(**values: str) -> str:
    """`env.example` as a user fills it in: these variables set, all others unchanged."""
    text = (DEPLOY / "env.example").read_text(encoding="utf-8")
    for name, value in values.items():
        before, found, after = text.partition(f"\n#{name}=")
        assert found, f"env.example has no {name}"
        _, _, rest = after.partition("\n")
        text = f"{before}\n{name}={value}\n{rest}"
    return text


@dataclass(frozen=True, slots=True)
class Machine:
    """This machine in place of the one that the files are for. It changes only what cannot be the same here.

    Attributes:
        paths: paths there, and what stands for them here.
        redis_url: what stands for the host `valkey`.
    """

    paths: Mapping[str, Path]
    redis_url: str = ""

    def here(self, text: str) -> str:
        """A word of a command, or a variable's value, with the paths of this machine."""
        for there, path in self.paths.items():
            text = re.sub(rf"(?<![\w/.-]){re.escape(there)}(?![\w-])", str(path), text)
        return text

    def environment(self, launch: Launch) -> dict[str, str]:
        """The environment of a process, with free ports, and nothing else of this machine."""
        found = {name: self.here(value) for name, value in launch.environment.items()}
        found["PATH"] = found.get("PATH", "$PATH").replace("$PATH", os.environ["PATH"])
        if "//valkey:" in found.get("KONVOX_REDIS_URL", ""):
            found["KONVOX_REDIS_URL"] = self.redis_url
        return {**found, "KONVOX_PORT": "0", "KONVOX_ADMIN_PORT": "0"}

    async def start(self, launch: Launch) -> OurProcess:
        """Start the process that a file describes."""
        return OurProcess(await self._execute(launch.command, launch, self.environment(launch)))

    async def health(self, launch: Launch, admin_url: str) -> int:
        """The exit code of the image's health check in the environment of a process."""
        environment = {**self.environment(launch), "KONVOX_ADMIN_PORT": admin_url.rsplit(":", 1)[1]}
        check = await self._execute(health_check(), launch, environment)
        await check.communicate()
        return int(check.returncode or 0)

    async def _execute(
        self, command: Sequence[str], launch: Launch, environment: Mapping[str, str]
    ) -> asyncio.subprocess.Process:
        program = shutil.which(self.here(command[0]), path=environment["PATH"])
        assert program is not None, f"{command[0]} is not there"
        return await asyncio.create_subprocess_exec(
            program,
            *map(self.here, command[1:]),
            env=environment,
            cwd=self.here(launch.directory),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )


def _seconds(duration: str) -> float:
    found = re.fullmatch(r"(\d+)s", duration)
    assert found is not None, f"{duration} is not in whole seconds"
    return float(found[1])
