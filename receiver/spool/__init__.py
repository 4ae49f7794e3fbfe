"""The local spool: where events are kept, on disk, while Redis cannot take them.

`SpoolFolder` is what the intake uses; `spooled_events` counts for `konvox-hooks audit`. A folder holds one SQLite file
for each process that spools (`spool`), each with a lock file (`files`). An event lies in it as frames that carry their
own checksum (`frames`), so that they can be found in a damaged file without SQLite's help (`salvage`); `wal` tells
whether a write-ahead log hides commits.
"""

from receiver.spool.census import SpooledEvents, spooled_events
from receiver.spool.folder import SpoolBatch, SpoolFolder

__all__ = ["SpoolBatch", "SpoolFolder", "SpooledEvents", "spooled_events"]
