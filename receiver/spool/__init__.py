"""The receiver's spool: a log on disk for events while Redis cannot take them. `spool.py` is where to begin."""

from receiver.spool.census import SpooledEvents, spooled_events
from receiver.spool.segment import SpoolBatch
from receiver.spool.spool import Spool

__all__ = ["Spool", "SpoolBatch", "SpooledEvents", "spooled_events"]
