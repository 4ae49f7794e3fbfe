"""What the user of the URL may not do, named one by one with the line that allows it.

With too few rights a receiver or worker starts and then fails at the first event, or never hears of one. Each command,
key and channel is tried on names of our own that nobody uses: Redis refuses what is forbidden before it does anything.
Called when a role starts (`broker.redis.durability`) and by `konvox-hooks doctor`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from redis.exceptions import NoPermissionError, ResponseError

from broker.keys import DEFAULT_NAMESPACE, Keys
from broker.redis.commands import Server

_UNKNOWN_COMMAND = "unknown command"
_PROBE_MS = 1000
_USER = re.compile(r"User (\S+) has no permissions")
_ANSWER_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Missing:
    """What is forbidden.

    Attributes:
        commands: the commands.
        keys: the patterns of the keys.
        channels: the patterns of the channels.
        user: the user of the URL, if Redis has named it.
    """

    commands: Sequence[str] = ()
    keys: Sequence[str] = ()
    channels: Sequence[str] = ()
    user: str = "USER"

    def __bool__(self) -> bool:
        return bool(self.commands or self.keys or self.channels)

    @property
    def fault(self) -> str:
        """What is forbidden, in a sentence."""
        parts = [
            f"run {', '.join(self.commands)}" if self.commands else "",
            f"use the keys {', '.join(self.keys)}" if self.keys else "",
            f"use the channels {', '.join(self.channels)}" if self.channels else "",
        ]
        return f"the user of the URL may not {'; nor '.join(filter(None, parts))}"

    @property
    def hint(self) -> str:
        """The line that allows it."""
        rules = [f"~{pattern}" for pattern in self.keys]
        rules += [f"&{pattern}" for pattern in self.channels]
        rules += [f"+{command}" for command in self.commands]
        return f"Allow it: ACL SETUSER {self.user} {' '.join(rules)}"


def _commands(key: str) -> Mapping[str, Sequence[str | int]]:
    """Each command that we use, with arguments that do no harm, by the name that an ACL has for it."""
    calls: Sequence[Sequence[str | int]] = (
        ("del", key),
        ("eval", "return redis.call('TIME')", 1, key),
        ("evalsha", "0" * 40, 1, key),
        ("exists", key),
        ("get", key),
        ("hdel", key, "f"),
        ("hexists", key, "f"),
        ("hget", key, "f"),
        ("hgetall", key),
        ("hincrby", key, "f", 1),
        ("hkeys", key),
        ("hlen", key),
        ("hmget", key, "f"),
        ("hrandfield", key),
        ("hset", key, "f", "v"),
        ("mget", key),
        ("mset", key, "v"),
        ("multi",),
        ("exec",),
        ("pexpire", key, _PROBE_MS),
        ("ping",),
        ("psetex", key, _PROBE_MS, "v"),
        ("pttl", key),
        ("rename", key, key),
        ("sadd", key, "m"),
        ("set", key, "v", "px", _PROBE_MS),
        ("smembers", key),
        ("time",),
        ("type", key),
        ("xadd", key, "*", "f", "v"),
        ("xinfo|stream", key),
        ("xrange", key, "-", "+", "COUNT", 1),
        ("xread", "COUNT", 1, "STREAMS", key, "0-0"),
        ("xrevrange", key, "+", "-", "COUNT", 1),
        ("xtrim", key, "MAXLEN", 1),
        ("zadd", key, "XX", 0, "m"),
        ("zcard", key),
        ("zmscore", key, "m"),
        ("zrange", key, 0, 0),
        ("zrangebyscore", key, 0, 0),
        ("zrem", key, "m"),
        ("zrevrange", key, 0, 0),
        ("zscan", key, 0),
        ("zscore", key, "m"),
    )
    return {str(call[0]): (*str(call[0]).upper().split("|"), *call[1:]) for call in calls}


async def missing_rights(server: Server) -> Missing:
    """Try everything that we do, and return what is forbidden."""
    name = f"{server.our_keys.namespace}:rights"
    patterns = _key_patterns(server.our_keys)
    commands = _commands(name)
    pipeline = server.pipeline(transaction=False)
    for call in commands.values():
        pipeline.execute_command(*call)
    for pattern in patterns:
        pipeline.execute_command("SET", pattern.replace("*", "rights"), "", "PX", _PROBE_MS)
    pipeline.execute_command("PUBLISH", name, "")
    answers = await pipeline.execute(raise_on_error=False)
    *of_keys, published = answers[len(commands) :]
    # What cannot be tried without a command is allowed together with it.
    by_channel = {"publish": published, "subscribe": await _subscribed(server, name)}
    channels = list(by_channel.values())
    unheard = any(map(_forbids_name, channels)) or all(map(_forbids_command, channels))
    tried = {**dict(zip(commands, answers, strict=False)), **by_channel}
    return Missing(
        [command for command, answer in tried.items() if _forbids_command(answer)],
        [pattern for pattern, answer in zip(patterns, of_keys, strict=True) if isinstance(answer, NoPermissionError)],
        [f"{server.our_keys.namespace}:*"] if unheard else [],
        next((user[1] for user in map(_USER.match, map(str, tried.values())) if user), "USER"),
    )


def _key_patterns(keys: Keys) -> Sequence[str]:
    of_jobs = keys.job_prefix if keys.namespace == DEFAULT_NAMESPACE else f"{keys.job_prefix}{keys.namespace}:"
    return f"{keys.namespace}:*", f"{of_jobs}*"


async def _subscribed(server: Server, channel: str) -> Exception | None:
    async with server.pubsub() as subscription:
        try:
            await subscription.subscribe(channel)
            await subscription.get_message(timeout=_ANSWER_SECONDS)
        except ResponseError as refusal:
            return refusal
    return None


def _forbids_command(answer: object) -> bool:
    """Whether a command is forbidden, or not there at all, as with some hosted servers."""
    text = str(answer) if isinstance(answer, ResponseError) else ""
    return "to run the" in text or text.startswith(_UNKNOWN_COMMAND)


def _forbids_name(answer: object) -> bool:
    return isinstance(answer, NoPermissionError) and not _forbids_command(answer)
