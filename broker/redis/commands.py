"""The Redis commands that we use, with the types of their answers.

Everything that is given a connection names one of these protocols. redis-py's own types cannot be used: they say "the
answer, or an awaitable of it" for each command, because its blocking and its asynchronous client share them. What
`broker.redis.client` connects fits these protocols. Answers are bytes, as nothing is decoded.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias, TypedDict

from broker.keys import Keys

Argument: TypeAlias = str | bytes | int | float
"""What a command can be given: redis-py sends it as text."""

Reply: TypeAlias = Any
"""The answer to a command that is named by the caller; only the caller knows its type."""

LogEntry: TypeAlias = tuple[bytes, dict[bytes, bytes]]
"""One entry of a stream: its id and its fields."""


class Message(TypedDict):
    """What comes by pub/sub.

    Attributes:
        type: `message`, or what else happened, such as `subscribe`.
        channel: the channel's name.
        data: the message; for `subscribe` the number of channels.
    """

    type: str
    channel: bytes
    data: bytes


class Connection(Protocol):
    """One connection of a pool, for the few places that speak to it directly."""

    socket_timeout: float | None

    @property
    def is_connected(self) -> bool:
        """Whether it is open as far as this side knows."""

    def pack_command(self, *arguments: Argument) -> list[bytes]:
        """A command as it goes over the wire."""

    def send_packed_command(self, command: Sequence[bytes], *, check_health: bool = True) -> Awaitable[None]:
        """Send commands that are packed."""

    def read_response(self, *, disconnect_on_error: bool = True) -> Awaitable[Reply]:
        """Wait for the next answer."""

    def disconnect(self, *, nowait: bool = False) -> Awaitable[None]:
        """Close it."""


class Pool(Protocol):
    """The connections of a client."""

    def get_connection(self) -> Awaitable[Connection]:
        """Borrow a connection; it is open then."""

    def release(self, connection: Connection) -> Awaitable[None]:
        """Give a connection back."""

    def disconnect(self, *, inuse_connections: bool = True) -> Awaitable[None]:
        """Close the connections."""


class Pipeline(Protocol):
    """Commands that are sent together. Each method notes one; `execute` sends them."""

    def execute_command(self, *arguments: Argument) -> object:
        """Any command."""

    def exists(self, *names: str) -> object:
        """How many of the keys exist."""

    def pttl(self, name: str) -> object:
        """The key's time to live in ms; -1 if it has none, -2 if there is no such key."""

    def hget(self, name: str, key: str) -> object:
        """One field of a hash."""

    def hgetall(self, name: str) -> object:
        """All fields of a hash."""

    def hkeys(self, name: str) -> object:
        """The names of a hash's fields."""

    def hlen(self, name: str) -> object:
        """How many fields a hash has."""

    def zcard(self, name: str) -> object:
        """How many members a sorted set has."""

    def zscore(self, name: str, member: str) -> object:
        """The score of a member."""

    def zrange(self, name: str, start: int, end: int) -> object:
        """Members of a sorted set by rank."""

    def execute(self, *, raise_on_error: bool = True) -> Awaitable[list[Reply]]:
        """Send all of them; their answers in order."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Subscription(Protocol):
    """A connection that listens to channels."""

    def subscribe(self, *channels: str) -> Awaitable[object]:
        """Listen to these as well."""

    def get_message(self, *, timeout: float) -> Awaitable[Message | None]:
        """The next message, or None if none comes within so many seconds."""

    def ping(self) -> Awaitable[object]:
        """Ask for a sign of life."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Runner(Protocol):
    """Whatever runs a single command: a client, or a connection on which commands are pipelined."""

    @property
    def our_keys(self) -> Keys:
        """The names of the namespace that it works in."""

    def execute_command(self, *arguments: Argument) -> Awaitable[Reply]:
        """Run a command, and return its answer."""


class Server(Runner, Protocol):
    """A client of a Redis or Valkey, for an event loop."""

    @property
    def connection_pool(self) -> Pool:
        """Its connections."""

    def pipeline(self, *, transaction: bool = True) -> Pipeline:
        """Collect commands, to run them in one round trip, and as one transaction if asked."""

    def pubsub(self) -> Subscription:
        """A connection that listens to channels."""

    def aclose(self, *, close_connection_pool: bool | None = None) -> Awaitable[None]:
        """Close it."""

    def ping(self) -> Awaitable[object]:
        """Ask for a sign of life."""

    def info(self) -> Awaitable[Mapping[str, Any]]:
        """What the server tells about itself; redis-py turns what looks like a number into one."""

    def time(self) -> Awaitable[tuple[int, int]]:
        """The server's clock: Unix seconds, and microseconds."""

    def delete(self, *names: str) -> Awaitable[int]:
        """Remove keys; how many there were."""

    def get(self, name: str) -> Awaitable[bytes | None]:
        """The value of a string."""

    def pttl(self, name: str) -> Awaitable[int]:
        """The key's time to live in ms; -1 if it has none, -2 if there is no such key."""

    def smembers(self, name: str) -> Awaitable[set[bytes]]:
        """All members of a set."""

    def hget(self, name: str, key: str) -> Awaitable[bytes | None]:
        """One field of a hash."""

    def hmget(self, name: str, keys: Sequence[str | bytes]) -> Awaitable[list[bytes | None]]:
        """Some fields of a hash."""

    def hkeys(self, name: str) -> Awaitable[list[bytes]]:
        """The names of a hash's fields."""

    def zadd(self, name: str, scores: Mapping[str, float], *, xx: bool = False) -> Awaitable[int]:
        """Add members to a sorted set, or with `xx` change the scores of those that are there; how many are new."""

    def zmscore(self, name: str, members: list[str]) -> Awaitable[list[float | None]]:
        """The scores of members."""

    def zrevrange(self, name: str, start: int, end: int) -> Awaitable[list[bytes]]:
        """Members of a sorted set by rank, the highest score first."""

    def zscan(self, name: str, cursor: int = 0, *, count: int | None = None) -> Awaitable[tuple[int, list[Any]]]:
        """Some members of a sorted set, each with its score, and where to go on; 0 at the end."""

    def xrange(
        self, name: str, first: str | bytes = "-", last: str | bytes = "+", /, *, count: int | None = None
    ) -> Awaitable[list[LogEntry]]:
        """Entries of a stream from one place to another, oldest first."""

    def xrevrange(
        self, name: str, last: str | bytes = "+", first: str | bytes = "-", /, *, count: int | None = None
    ) -> Awaitable[list[LogEntry]]:
        """Entries of a stream from one place back to another, newest first."""

    def xread(
        self, streams: dict[str, str], count: int | None = None, block: int | None = None
    ) -> Awaitable[list[tuple[bytes, list[LogEntry]]]]:
        """Entries behind a place in each stream; waits for some for `block` ms."""

    # After all that returns a `set`: in the class, the name stands for this method from here on.
    def set(
        self, name: str, value: Argument, *, px: int | None = None, nx: bool = False, get: bool = False
    ) -> Awaitable[bytes | bool | None]:
        """Set a string. With `get`: the value before; otherwise whether it was set."""


class BlockingPipeline(Protocol):
    """Commands that a thread sends together."""

    def pexpire(self, name: str, time: int, *, gt: bool = False) -> object:
        """Let a key end in so many ms; with `gt` only if that is later than its end is now."""

    def execute(self) -> list[Reply]:
        """Send all of them; their answers in order."""


class BlockingServer(Protocol):
    """A client of a Redis or Valkey, for a thread of its own."""

    @property
    def our_keys(self) -> Keys:
        """The names of the namespace that it works in."""

    def execute_command(self, *arguments: Argument) -> Reply:
        """Run a command, and return its answer."""

    def pipeline(self, *, transaction: bool = True) -> BlockingPipeline:
        """Collect commands, to run them in one round trip."""

    def close(self) -> None:
        """Close it."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
