"""What can be set about a sandbox. The defaults are what Konvox documents."""

from __future__ import annotations

from dataclasses import dataclass, field

from konvox.samples import SAMPLE_COMPANY_ID


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxConfig:
    """One company's Konvox.

    Attributes:
        full_key: the API key that may create, update and delete.
        read_key: the API key that may list and fetch.
        signing_secret: signs each delivery; None, as documented, for no signature.
        signature_header: the header that holds the signature.
        company_id: the `companyId` of every event.
        retry_base_seconds: the wait before the first retry, which doubles with each further one.
        retries: how often a failed delivery is tried again before it is gone.
        delivery_timeout_seconds: how long a receiver may take to answer.
        concurrent_deliveries: how many requests are under way at once.
    """

    full_key: str = field(repr=False)
    read_key: str = field(repr=False)
    signing_secret: str | None = field(default=None, repr=False)
    signature_header: str = "X-Konvox-Signature"
    company_id: str = SAMPLE_COMPANY_ID
    retry_base_seconds: float = 1.0
    retries: int = 3
    delivery_timeout_seconds: float = 10.0
    concurrent_deliveries: int = 100

    def __post_init__(self) -> None:
        """Refuse keys that could not be told apart.

        Raises:
            ValueError: a key is empty, or both are the same.
        """
        if not self.full_key or not self.read_key:
            raise ValueError("a key is empty: give both the full key and the read key some text")
        if self.full_key == self.read_key:
            raise ValueError("the full key and the read key are the same: give them different texts")

    def backoff_seconds(self, retry: int) -> float:
        """How long to wait before a retry, from number 1. "Exponential" is documented, the figures are [inferred]."""
        return self.retry_base_seconds * float(2 ** (retry - 1))
