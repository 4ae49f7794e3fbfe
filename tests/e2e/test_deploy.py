"""Tests of `deploy/`: what its files start is started here, handles an event, and stops in order.

They need neither Docker nor systemd: commands and environment are read from the files and run as processes of this
machine, from a wheel that is built and installed with the Dockerfile's own commands.
"""

from __future__ import annotations

import re
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from importlib import metadata
from pathlib import Path

import aiohttp
import pytest

from broker.redis.client import close
from broker.redis.durability import BY_REPLY, confirmation_for, refuse_eviction
from konvox.samples import sample_body
from konvox_hooks.config.load import known_variables
from konvox_hooks.config.settings import Settings
from tests.support import deploy
from tests.support.deploy import DEPLOY, PROJECT, Launch, Machine
from tests.support.store import connect

TOKEN = "a-token-for-the-tests-of-deploy-123"
HANDLER = "from handlers import on\n\n\n@on('*')\nasync def tell(event, ctx):\n    ctx.log.info('seen', id=event.id)\n"
ROLES = ("receiver", "worker")
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """konvox-hooks, installed as in the image."""
    return deploy.install_as_the_image_does(tmp_path_factory.mktemp("image"))


@pytest.fixture
def paths(installed: Path, tmp_path: Path) -> dict[str, Path]:
    """The local paths in place of those in the files, with handlers in place."""
    made = {"/var/lib": tmp_path / "state", "/srv/konvox-hooks": tmp_path / "srv", "/run/secrets": tmp_path / "secrets"}
    for path in (*made.values(), made["/var/lib"] / "konvox-hooks-receiver"):
        path.mkdir()
    (made["/srv/konvox-hooks"] / "my_handlers.py").write_text(HANDLER)
    return {deploy.INSTALLED: installed, **made}


async def test_the_image_alone_takes_an_event_to_a_handler(paths: dict[str, Path]) -> None:
    """Without arguments the image serves, with a Valkey in its volume, and its health check works."""
    launch = deploy.image_launch(deploy.filled_in(KONVOX_HOOK_TOKENS=TOKEN, KONVOX_HANDLERS="./my_handlers.py"))
    machine = Machine(paths)
    async with await machine.start(launch) as serve:
        event_id = await deliver(await serve.listening("receiver"))
        await serve.logged("seen", id=event_id)
        admin_url = await serve.listening("receiver.admin")
        assert await machine.health(launch, admin_url) == 0
        assert await serve.terminate() == 0
    assert await machine.health(launch, admin_url) == 1
    assert launch.environment["KONVOX_DATA_DIR"] == deploy.of_image("VOLUME").text
    assert (paths["/var/lib"] / "konvox-hooks" / "appendonlydir").is_dir()


async def test_the_services_of_compose_take_an_event_to_a_handler(paths: dict[str, Path], tmp_path: Path) -> None:
    """Valkey, receiver and worker start as in compose.yaml, with the token from its secret."""
    services = deploy.compose()["services"]
    for secret in services["receiver"]["secrets"]:
        (paths["/run/secrets"] / secret).write_text(f"{TOKEN}\n")
    env_file = deploy.filled_in(KONVOX_HANDLERS="./my_handlers.py")
    receiver, worker = (deploy.service_launch(role, env_file) for role in ROLES)
    with compose_valkey(tmp_path) as valkey:
        machine = Machine(paths, valkey.url())
        await an_event_goes_through(machine, receiver, worker)
    assert [path.name for path in paths["/srv/konvox-hooks"].iterdir()] == ["my_handlers.py"]
    assert "secrets" not in services["worker"]


async def test_the_units_of_systemd_take_an_event_to_a_handler(paths: dict[str, Path], redis_url: str) -> None:
    """Receiver and worker start as in their units, with `env.example` filled in as EnvironmentFile of both."""
    env_file = deploy.filled_in(
        KONVOX_HOOK_TOKENS=TOKEN, KONVOX_HANDLERS="./my_handlers.py", KONVOX_REDIS_URL=redis_url
    )
    receiver, worker = (deploy.unit_launch(role, env_file) for role in ROLES)
    await an_event_goes_through(Machine(paths), receiver, worker)


async def an_event_goes_through(machine: Machine, receiver: Launch, worker: Launch) -> None:
    """Start both roles, deliver an event, see it in the handler, check the health of both, and stop both."""
    async with AsyncExitStack() as running:
        taking = await running.enter_async_context(await machine.start(receiver))
        handling = await running.enter_async_context(await machine.start(worker))
        event_id = await deliver(await taking.listening("receiver"))
        await handling.logged("seen", id=event_id)
        for role, process, launch in (("receiver", taking, receiver), ("worker", handling, worker)):
            assert await machine.health(launch, await process.listening(f"{role}.admin")) == 0
            assert await process.terminate() == 0, process.stderr
            assert TOKEN not in process.stderr


async def deliver(url: str) -> str:
    """Deliver an event as Konvox does; returns its id."""
    headers = {"Content-Type": "application/json"}
    address = f"{url.replace('0.0.0.0', '127.0.0.1')}/hooks/konvox/{TOKEN}"
    async with (
        aiohttp.ClientSession() as session,
        session.post(address, data=sample_body("contact.replied"), headers=headers) as answer,
    ):
        assert answer.status == 200, await answer.text()
        return str((await answer.json())["id"])


@contextmanager
def compose_valkey(folder: Path) -> Iterator[deploy.ComposeValkey]:
    """The Valkey of compose.yaml."""
    data = folder / "valkey"
    data.mkdir()
    with deploy.ComposeValkey(data) as valkey:
        yield valkey


async def test_the_valkey_of_compose_keeps_what_it_is_given(tmp_path: Path) -> None:
    """With the options of compose.yaml Valkey passes our check of Redis, and has its data again after a kill."""
    with compose_valkey(tmp_path) as valkey:
        server = connect(valkey.url())
        try:
            await refuse_eviction(server)
            assert await confirmation_for(server, "fsync") == BY_REPLY
            assert (await server.config_get("maxmemory-policy")) == {"maxmemory-policy": "noeviction"}
            await server.set("kept", "yes")
            valkey.kill()
            valkey.start()
            assert await server.get("kept") == b"yes"
        finally:
            await close(server)


def test_every_variable_is_a_setting() -> None:
    """Every KONVOX_ variable in a file of `deploy/` is a setting."""
    files = [path for path in DEPLOY.rglob("*") if path.is_file()]
    named = {name for path in files for name in re.findall(r"\bKONVOX_\w+", path.read_text(encoding="utf-8"))}
    assert {"Dockerfile", "compose.yaml", "README.md", "konvox-hooks-worker.service"} <= {path.name for path in files}
    assert "KONVOX_HOOK_TOKENS_FILE" in named
    assert named - known_variables() == set()


def launches() -> dict[str, Launch]:
    """Every process that the files start."""
    return {
        "image": deploy.image_launch(),
        **{f"compose {role}": deploy.service_launch(role) for role in ROLES},
        **{f"unit {role}": deploy.unit_launch(role) for role in ROLES},
    }


@pytest.mark.parametrize("name", launches())
def test_there_is_time_to_stop(name: str) -> None:
    """The time between SIGTERM and SIGKILL is longer than KONVOX_STOP_SECONDS."""
    launch = launches()[name]
    assert "KONVOX_STOP_SECONDS" not in launch.environment
    assert launch.stop_seconds >= Settings().stop_seconds + 5


def test_the_image_is_built_from_the_locks_alone() -> None:
    """Every fetched package of the image has a hash, and the base image has a version."""
    bases = [stage[0].text.split()[0] for stage in deploy.stages()]
    assert {base.partition(":")[2] for base in bases} == {"3.11-slim-bookworm"}
    steps = [step for stage in deploy.stages() for line in stage for step in line.text.split("&&")]
    fetching = [step for step in steps if " install --" in step and "pip" in step and "--no-index" not in step]
    assert len(fetching) == 2
    assert all("--require-hashes" in step for step in fetching)
    assert {lock for step in fetching for lock in re.findall(r"-r (\S+)", step)} == {
        "requirements/build.lock",
        "requirements/runtime.lock",
    }


def test_the_locks_agree() -> None:
    """The image is built and runs with the locks that the tests use, and the build's locks are complete."""
    develop, runtime, build = (locked(name) for name in ("dev", "runtime", "build"))
    assert runtime.items() <= develop.items()
    assert build.items() <= develop.items()
    needed = set(PYPROJECT["build-system"]["requires"])
    for name in build:
        for requirement in metadata.requires(name) or []:
            if "extra ==" not in requirement and "python_version" not in requirement:
                needed.add(re.split(r"[^\w-]", requirement, maxsplit=1)[0])
    assert needed <= set(build)


def locked(name: str) -> dict[str, str]:
    """The packages of a lock: version and hashes by name."""
    text = (PROJECT / "requirements" / f"{name}.lock").read_text(encoding="utf-8")
    entries = re.split(r"^(?=\w)", text, flags=re.MULTILINE)
    return {entry.partition("==")[0]: entry.partition("==")[2].strip() for entry in entries if "==" in entry}


def test_nothing_private_reaches_the_build(installed: Path) -> None:
    """Only sources and locks reach the build, no settings, data, secrets or history; all sources are in the wheel."""
    packages = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    context = set(deploy.build_context())
    tops = {path.parts[0] for path in context}
    assert tops == {*packages, "requirements", "pyproject.toml", "README.md", "LICENSE"}
    [wheel] = (installed.parent / "wheels").iterdir()
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert shipped == {path.as_posix() for path in context if path.parts[0] in packages}


def test_nothing_runs_as_root() -> None:
    """The user of the image, of Valkey and of the units is not root."""
    user, group = deploy.of_image("USER").text.split(":")
    assert int(user) > 0
    assert int(group) > 0
    services = deploy.compose()["services"]
    assert int(services["valkey"]["user"].split(":")[0]) > 0
    assert not [role for role in ROLES if "user" in services[role]]
    assert [deploy.unit(role)["DynamicUser"] for role in ROLES] == [["yes"], ["yes"]]


@pytest.mark.parametrize("name", ["valkey", *ROLES])
def test_each_service_is_hardened(name: str) -> None:
    """Each service is read-only, without capabilities, restarted, of a fixed version; the worker waits for Valkey."""
    service = deploy.compose()["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert "privileged" not in service
    tag = service["image"].partition(":")[2]
    assert tag not in {"", "latest"}
    if name in ROLES:
        condition = {"receiver": "service_started", "worker": "service_healthy"}[name]
        assert service["depends_on"] == {"valkey": {"condition": condition}}


def test_only_the_receiver_can_be_reached() -> None:
    """Only the receiver's public port is published, on loopback; Valkey cannot reach the internet."""
    content = deploy.compose()
    published = {name: service["ports"] for name, service in content["services"].items() if "ports" in service}
    port = content["services"]["receiver"]["environment"]["KONVOX_PORT"]
    assert published == {"receiver": [f"127.0.0.1:{port}:{port}"]}
    assert deploy.of_image("EXPOSE").text == port
    assert content["services"]["valkey"]["networks"] == ["store"]
    assert content["networks"]["store"] == {"internal": True}


def test_handlers_are_mounted_read_only_where_the_worker_looks() -> None:
    """The folder of handlers is mounted read-only at the image's working directory."""
    [mount] = deploy.compose()["services"]["worker"]["volumes"]
    assert (mount["source"], mount["target"]) == ("./my_handlers", deploy.of_image("WORKDIR").text)
    assert mount["read_only"] is True


def test_the_spool_outlives_the_container() -> None:
    """The receiver's data folder is a declared volume that belongs to the image's user."""
    content = deploy.compose()
    receiver = content["services"]["receiver"]
    [mount] = receiver["volumes"]
    volume, target = mount.split(":")
    assert volume in content["volumes"]
    assert target == receiver["environment"]["KONVOX_DATA_DIR"] == deploy.image_environment()["KONVOX_DATA_DIR"]


HARDENING = {
    "Type": ["exec"],
    "EnvironmentFile": ["/etc/konvox-hooks/env"],
    "Restart": ["always"],
    "KillSignal": ["SIGTERM"],
    "StateDirectory": ["%N"],
    "NoNewPrivileges": ["yes"],
    "ProtectSystem": ["strict"],
    "ProtectHome": ["yes"],
    "PrivateTmp": ["yes"],
    "PrivateDevices": ["yes"],
    "CapabilityBoundingSet": [],
    "AmbientCapabilities": [],
    "RestrictAddressFamilies": ["AF_INET AF_INET6 AF_UNIX"],
    "RestrictNamespaces": ["yes"],
    "MemoryDenyWriteExecute": ["yes"],
    "SystemCallArchitectures": ["native"],
    "SystemCallFilter": ["@system-service"],
}


@pytest.mark.parametrize("role", ROLES)
def test_each_unit_is_hardened(role: str) -> None:
    """Each unit has the restrictions that keep it from everything it does not need."""
    unit = deploy.unit(role)
    assert {name: unit.get(name) for name in HARDENING} == HARDENING


def test_the_units_get_along_on_one_machine() -> None:
    """The units listen on different ports, and differ only in what their roles need."""
    default = str(Settings().admin_port)
    admin_ports = {deploy.unit_launch(role).environment.get("KONVOX_ADMIN_PORT", default) for role in ROLES}
    assert len({*admin_ports, str(Settings().port)}) == 3
    units = [deploy.unit(role) for role in ROLES]
    different = {name for name in {*units[0], *units[1]} if units[0].get(name) != units[1].get(name)}
    assert different == {"Description", "ExecStart", "WorkingDirectory", "Environment"}
