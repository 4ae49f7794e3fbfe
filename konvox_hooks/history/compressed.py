"""Files that may be compressed with gzip: recognised by their first bytes, whatever they are called.

Called by `history.jsonl`, for files and for standard input.
"""

from __future__ import annotations

import gzip
import io
import zlib
from typing import BinaryIO, Final, cast

_GZIP: Final = bytes((0x1F, 0x8B))
_BREAKS_OFF: Final = "the compressed data breaks off: what came before is used"
_DAMAGED: Final = "the compressed data is damaged: what came before is used"


class MaybeCompressed:
    """Reads lines of a stream, decompressed if need be. Damage ends the stream like the end of the file.

    Args:
        stream: the file, at its beginning.

    Attributes:
        fault: what is wrong with the compressed data; empty while nothing is.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.fault = ""
        buffered = stream if hasattr(stream, "peek") else io.BufferedReader(cast(io.RawIOBase, stream))
        compressed = cast(io.BufferedReader, buffered).peek(2)[:2] == _GZIP
        self._stream = cast(BinaryIO, gzip.GzipFile(fileobj=buffered) if compressed else buffered)

    def readline(self, limit: int = -1, /) -> bytes:
        """The next line, or at most `limit` bytes of it; empty at the end."""
        if self.fault:
            return b""
        try:
            return self._stream.readline(limit)
        except EOFError:
            self.fault = _BREAKS_OFF
        except (gzip.BadGzipFile, zlib.error):
            self.fault = _DAMAGED
        return b""
