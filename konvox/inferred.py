"""Everything about the Konvox API that its documentation leaves open, as we read it: all of it is [inferred].

Kept in one place so that it is easy to put right. Nothing else in the package may spell these out. Whoever knows better
before we do says so with `paths=` and `secret_fields=` of `KonvoxClient`, or in the settings with KONVOX_API_PATHS,
KONVOX_API_SECRET_FIELDS and KONVOX_SIGNATURE_HEADER.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """Where the resources are, below the API's URL. The first two are documented, except for the POST to contacts."""

    campaigns: str = "/api/campaigns"
    contacts: str = "/api/contacts"
    sender_identities: str = "/api/sender-identities"
    connections: str = "/api/connections"
    webhooks: str = "/api/webhooks"


DEFAULT_PATHS = Paths()
"""The paths that `KonvoxClient` uses unless told otherwise."""

SECRET_FIELDS = ("secret", "signingSecret")
"""The fields in which a registered webhook's signing secret may come, the likeliest first."""

SIGNATURE_HEADER = "X-Konvox-Signature"
"""The header in which a delivery's signature may come."""

SENDER_ADDRESS_FIELD = "address"
"""The field of a sender identity that holds its whole address, `localPart@yourslug.konvox.io`."""

SENDER_DAILY_LIMIT_FIELD = "dailyLimit"
"""The field of a sender identity that holds how much it may send a day."""

SENDER_WARMUP_FIELD = "warmup"
"""The field of a sender identity that holds its warmup data."""
