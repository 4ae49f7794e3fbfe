"""The configuration of a sandbox. The defaults are what Konvox documents."""

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
        signing_secret: signs each request; None, as documented, for no signature.
        signing_scheme: how to sign, one of `konvox.schemes.SCHEMES`.
        signature_header: the header for the signature, in schemes that do not name their own.
        secret_field: the field of a registration's answer that holds the secret; None for no such field.
        paths: the resources' paths.
        company_id: the `companyId` of every event.
        slug: the company's name in its sender addresses.
        state_file: the file that keeps the records; None to keep them in memory.
        scenario: how replies and opt-outs come, one of `scenarios.SCENARIOS`; None for no events of themselves.
        rate: the average number of replies and opt-outs per second.
        seed: makes a scenario the same in each run; None for another one in each run.
        retry_base_seconds: the wait before the first retry; it doubles with each further one.
        retries: how often a failed request is retried before the event is lost.
        delivery_timeout_seconds: how long a receiver may take to answer.
        concurrent_deliveries: the most requests in progress at once.
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
        """Check the values.

        Raises:
            ValueError: a key is empty, both keys are the same, there is no such scheme or scenario, or the secret or
                the rate cannot be used.
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
            # Without the library's message, which may hold part of the secret.
            raise ValueError(f"the signing secret cannot be used with the scheme {self.signing_scheme}") from None

    def backoff_seconds(self, retry: int) -> float:
        """How long to wait before a retry, from number 1. "Exponential" is documented, the figures are [inferred]."""
        return ceiling_seconds(self.retry_base_seconds, math.inf, retry, factor=RETRY_FACTOR)

    def signature_headers(self, body: bytes, *, message_id: str, moment: int) -> dict[str, str]:
        """The headers that sign one request; none without a secret."""
        if self.signing_secret is None:
            return {}
        delivery = Delivery(body, message_id=message_id, now_seconds=moment)
        scheme = SCHEMES[self.signing_scheme]
        return dict(scheme.sign(delivery, header=self.signature_header, secret=self.signing_secret))
