"""What every delivery goes through, whichever way it came: the gates, the reading, the count. No I/O.

Called by `receiver.connection` for plain deliveries, and by the aiohttp application for all others.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from multidict import CIMultiDictProxy

from broker.records import Job
from receiver.challenge import answer_challenge
from receiver.verification import AccountPolicy, AccountRouter, Headers, check_body


@dataclass(slots=True)
class Counters:
    """How many requests ended how, since the start."""

    accepted: int = 0
    duplicates: int = 0
    refused: int = 0
    unavailable: int = 0


class Verifier:
    """Decides about deliveries.

    Args:
        gates: those of all accounts, at least one.
    """

    def __init__(self, gates: Sequence[AccountPolicy]) -> None:
        self._gatehouse = AccountRouter(gates)
        self.counters = Counters()

    @property
    def max_body_bytes(self) -> int:
        """The largest body that any account lets in."""
        return self._gatehouse.max_body_bytes

    def check_head(self, token: str | None, headers: Headers) -> Sequence[AccountPolicy]:
        """The gates by which a request may come in, before a byte of its body is read.

        Raises:
            RefusedError: 404, 413 or 415.
        """
        candidates = self._gatehouse.candidates(token)
        candidates[0].check_headers(headers)
        return candidates

    def read(self, candidates: Sequence[AccountPolicy], headers: CIMultiDictProxy[str], body: bytes) -> Job:
        """Verify a body, and read it as an event.

        Raises:
            RefusedError: 400, 401 or 413.
        """
        received_at_ms = time.time_ns() // 1_000_000
        gate = check_body(candidates, body, headers, received_at_ms=received_at_ms)
        return Job.first(gate.read_event(body, headers, received_at_ms=received_at_ms))

    def count(self, *, accepted: bool) -> str:
        """Count an event that is durable; returns the status to answer with."""
        if accepted:
            self.counters.accepted += 1
            return "accepted"
        self.counters.duplicates += 1
        return "duplicate"

    def answer_challenge(self, header: str) -> str | None:
        """The answer to a challenge of `register` or `doctor`, or None to a stranger's."""
        gates = self._gatehouse.gates
        return answer_challenge(
            header,
            tokens=[token for gate in gates for token in gate.tokens],
            signing_secrets=[secret for gate in gates if gate.scheme != "off" for secret in gate.signing_secrets],
        )
