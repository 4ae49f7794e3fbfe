"""What can be set about a sandbox. The defaults are what Konvox documents."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from konvox.backoff import ceiling_seconds
from konvox.errors import KonvoxError
from konvox.inferred import DEFAULT_PATHS, RETRY_BASE_SECONDS, RETRY_FACTOR, SECRET_FIELDS, SIGNATURE_HEADER, Paths
from konvox.samples import SAMPLE_COMPANY_ID
from konvox.sandbox.scenarios import SCENARIOS
from konvox.schemes import DEFAULT_SCHEME, SCHEMES, Delivery, SchemeName


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxConfig:
    """One company's Konvox.

    Attributes:
        full_key: the API key that may create, update and delete.
        read_key: the API key that may list and fetch.
        signing_secret: signs each delivery; None, as documented, for no signature.
        signing_scheme: how, one of `konvox.schemes.SCHEMES`.
        signature_header: the header that holds the signature, in schemes that do not name their own.
        secret_field: where the answer to a registration tells the secret; None for nowhere.
        paths: where the resources are.
        company_id: the `companyId` of every event.
        slug: the company's part of its sender addresses.
        state_file: where the state is kept; None for in memory.
        scenario: how replies and opt-outs come, one of `scenarios.SCENARIOS`; None for not by themselves.
        rate: how many replies and opt-outs come in a second, on the average.
        seed: makes a scenario the same each time; None for another each time.
        retry_base_seconds: the wait before the first retry, which doubles with each further one.
        retries: how often a failed delivery is tried again before it is gone.
        delivery_timeout_seconds: how long a receiver may take to answer.
        concurrent_deliveries: how many requests are under way at once.
    """

    full_key: str = field(repr=False)
    read_key: str = field(repr=False)
    signing_secret: str | None = field(default=None, repr=False)
    signing_scheme: SchemeName = DEFAULT_SCHEME
    signature_header: str = SIGNATURE_HEADER
    secret_field: str | None = SECRET_FIELDS[0]
    paths: Paths = DEFAULT_PATHS
    company_id: str = SAMPLE_COMPANY_ID
    slug: str = "sandbox"
    state_file: Path | None = None
    scenario: str | None = None
    rate: float = 1.0
    seed: int | None = None
    retry_base_seconds: float = RETRY_BASE_SECONDS
    retries: int = 3
    delivery_timeout_seconds: float = 10.0
    concurrent_deliveries: int = 100

    def __post_init__(self) -> None:
        """Refuse what could not work.

        Raises:
            ValueError: a key is empty, or both are the same; no such scheme or scenario; a secret or rate of no use.
        """
        if not self.full_key or not self.read_key:
            raise ValueError("a key is empty: give both the full key and the read key some text")
        if self.full_key == self.read_key:
            raise ValueError("the full key and the read key are the same: give them different texts")
        if self.signing_scheme not in SCHEMES:
            raise ValueError(f"no such signing scheme: there are {', '.join(SCHEMES)}")
        if self.scenario is not None and self.scenario not in SCENARIOS:
            raise ValueError(f"no such scenario: there are {', '.join(SCENARIOS)}")
        if not self.rate > 0:
            raise ValueError("the rate must be more than 0 events per second")
        try:
            self.signature_headers(b"{}", message_id="msg_1", moment=0)
        except (KonvoxError, ValueError):
            # Not in the library's words, which may hold some of the secret.
            raise ValueError(f"the signing secret is of no use for the scheme {self.signing_scheme}") from None

    def backoff_seconds(self, retry: int) -> float:
        """How long to wait before a retry, from number 1. "Exponential" is documented, the figures are [inferred]."""
        return ceiling_seconds(self.retry_base_seconds, math.inf, retry, factor=RETRY_FACTOR)

    def signature_headers(self, body: bytes, *, message_id: str, moment: int) -> dict[str, str]:
        """The headers that sign one attempt; none without a secret."""
        if self.signing_secret is None:
            return {}
        delivery = Delivery(body, message_id=message_id, now_seconds=moment)
        scheme = SCHEMES[self.signing_scheme]
        return dict(scheme.sign(delivery, header=self.signature_header, secret=self.signing_secret))
