"""Everything about the Konvox API that its documentation leaves open: all of this is [inferred].

It is in one place, and easy to correct: a test checks that no other module spells these values out. Users correct them
with `paths=` and `secret_fields=` of `KonvoxClient`, or with the settings KONVOX_API_PATHS, KONVOX_API_SECRET_FIELDS
and KONVOX_SIGNATURE_HEADER.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """The resources' paths below the API's URL. The first two are documented, except for the POST to contacts."""

    campaigns: str = "/api/campaigns"
    contacts: str = "/api/contacts"
    sender_identities: str = "/api/sender-identities"
    connections: str = "/api/connections"
    webhooks: str = "/api/webhooks"


DEFAULT_PATHS = Paths()
"""The paths that `KonvoxClient` uses by default."""

SECRET_FIELDS = ("secret", "signingSecret")
"""The fields that may hold a new webhook's signing secret, the likeliest first."""

SIGNATURE_HEADER = "X-Konvox-Signature"
"""The header that may hold a request's signature."""

SENDER_ADDRESS_FIELD = "address"
"""The field of a sender identity that holds its full address, `localPart@yourslug.konvox.io`."""

SENDER_DAILY_LIMIT_FIELD = "dailyLimit"
"""The field of a sender identity that holds how many messages it may send a day."""

SENDER_WARMUP_FIELD = "warmup"
"""The field of a sender identity that holds its warmup data."""

FIRST_DAILY_LIMIT = 20
"""How many messages a new sender identity may send a day before it has warmed up."""

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
"""Two bodies with the same values in these fields are the same event. Konvox documents no event id, nor that a retry
has the same body."""

RETRY_BASE_SECONDS = 1.0
"""How long Konvox waits before it retries a request. The documentation says that the wait grows exponentially."""

RETRY_FACTOR = 2
"""Each further wait is longer by this factor."""
