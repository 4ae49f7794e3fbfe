"""Everything about the Konvox API that its documentation leaves open, as we read it: all of it is [inferred].

Kept in one place so that it is easy to put right. Nothing else may spell these out, and a test sees to that. Whoever
knows better before we do says so with `paths=` and `secret_fields=` of `KonvoxClient`, or in the settings with
KONVOX_API_PATHS, KONVOX_API_SECRET_FIELDS and KONVOX_SIGNATURE_HEADER.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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

FIRST_DAILY_LIMIT = 20
"""How much a new sender identity may send a day, until it has warmed up."""

FIRST_WARMUP: Mapping[str, Any] = {"enabled": True, "day": 0}
"""The warmup data of a new sender identity."""

CREATED_AT_FIELD = "createdAt"
"""The field of every record that says when it was created."""

UPDATED_AT_FIELD = "updatedAt"
"""The field of a campaign that says when it was last changed."""

ENROLLED, REPLIED, OPTED_OUT = "active", "replied", "unsubscribed"
ENROLLMENT_STATES = (ENROLLED, REPLIED, OPTED_OUT)
"""The states of an enrollment, which `targetsByState` counts. `replied` is documented, the others are not."""

IDENTITY_FIELDS = ("event", "timestamp", "companyId", "data")
"""The fields that make two bodies the same event: Konvox documents no event id, and that a retry has the same body is
inferred too."""

RETRY_BASE_SECONDS = 1.0
"""How long Konvox waits before it tries a delivery again. That the wait grows exponentially is documented."""

RETRY_FACTOR = 2
"""How much longer each further wait is than the one before."""
