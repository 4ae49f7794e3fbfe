"""Run a Lua script by its digest, and load it again when the server has forgotten it.

Used by every module of the broker that writes. The scripts stand in `broker/lua`; `prelude.lua` is put before each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Generic, TypeAlias, TypeVar

from redis.exceptions import NoScriptError

from broker.redis.commands import Argument, BlockingServer, Runner, Server
from broker.redis.pipelined import PipelinedConnection

Answer = TypeVar("Answer")
"""What a script returns; its head in `broker/lua` says it."""

_ALSO_WHEN_FULL = "#!lua flags=allow-oom\n"


class Script(Generic[Answer]):
    """One Lua script, with the type of its answer. It is found again after `SCRIPT FLUSH`, a restart or a failover.

    Args:
        name: the name of its file.
        makes_room: whether it may run although the server's memory is full, because it helps to empty it.
    """

    def __init__(self, name: str, *, makes_room: bool = False) -> None:
        folder = files("broker") / "lua"
        source = (folder / "prelude.lua").read_text() + (folder / f"{name}.lua").read_text()
        self.source = _ALSO_WHEN_FULL + source if makes_room else source
        self.sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()

    async def run(self, server: Runner, keys: Sequence[str], arguments: Sequence[Argument]) -> Answer:
        """Run the script in one round trip. It takes two where the server has to be sent its source again."""
        try:
            answer: Answer = await server.execute_command("EVALSHA", self.sha, len(keys), *keys, *arguments)
        except NoScriptError:
            answer = await server.execute_command("EVAL", self.source, len(keys), *keys, *arguments)
        return answer

    def run_blocking(self, server: BlockingServer, keys: Sequence[str], arguments: Sequence[Argument]) -> Answer:
        """The same, for a thread without an event loop."""
        try:
            answer: Answer = server.execute_command("EVALSHA", self.sha, len(keys), *keys, *arguments)
        except NoScriptError:
            answer = server.execute_command("EVAL", self.source, len(keys), *keys, *arguments)
        return answer

    async def run_and_confirm(
        self, server: Server, keys: Sequence[str], arguments: Sequence[Argument], confirm: Sequence[str | int]
    ) -> tuple[Answer, Any]:
        """Run the script and, in the same round trip, a command that waits until its writes are durable.

        Returns:
            The answers of the script and of the command.
        """
        for call in (("EVALSHA", self.sha), ("EVAL", self.source)):
            pipeline = server.pipeline(transaction=False)
            pipeline.execute_command(*call, len(keys), *keys, *arguments)
            pipeline.execute_command(*confirm)
            answer, confirmation = await pipeline.execute(raise_on_error=False)
            if not isinstance(answer, NoScriptError):
                break
        for reply in (answer, confirmation):
            if isinstance(reply, Exception):
                raise reply
        return answer, confirmation


Call: TypeAlias = tuple[Script[Any], Sequence[str], Sequence[Argument]]


async def run_together(connection: PipelinedConnection, *calls: Call) -> list[Any]:
    """Run scripts one behind the other in one round trip, which also is one fsync; nothing else is atomic about it.

    Raises:
        RedisError: one of them failed; those behind it were run all the same.
    """
    answers = await connection.run(
        *(("EVALSHA", script.sha, len(keys), *keys, *arguments) for script, keys, arguments in calls)
    )
    for place, (script, keys, arguments) in enumerate(calls):
        if isinstance(answers[place], NoScriptError):
            answers[place] = await script.run(connection, keys, arguments)
        elif isinstance(answers[place], Exception):
            raise answers[place]
    return answers
