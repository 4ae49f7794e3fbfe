"""The client of the Konvox API: `ctx.konvox` in handlers, and for anyone's script.

```python
async with KonvoxClient("https://konvox.example", api_key) as konvox:
    async for contact in konvox.contacts.list(status="active"):
        print(contact.email)
    campaign = await konvox.campaigns.update(campaign_id, status="paused")
```

Every failure is a `konvox.errors.KonvoxApiError`. What is safe to repeat is repeated: reads, updates and deletes after
a 500, a 502 to 504, a 429, a broken connection or a time-out; a create only after a 429 or where no connection came
about, because nothing else makes sure that it did not happen. The API key shows in no repr, no log and no error.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import aiohttp

from konvox.api.backoff import CallRetries
from konvox.api.endpoints import Campaigns, Connections, Contacts, SenderIdentities, Webhooks
from konvox.api.transport import AuthScheme, Transport, access
from konvox.inferred import DEFAULT_PATHS, SECRET_FIELDS, Paths

__all__ = ["CallRetries", "KonvoxClient"]


class KonvoxClient:
    """One company's Konvox.

    Use it with `async with`. With a session of your own that is not needed: the session is used and left open.

    Args:
        api_url: where the API is; Konvox does not document it. The paths come on top (`/api/campaigns`, …).
        api_key: a read key lists and fetches, a full key creates, updates and deletes as well.
        session: a session to use; without it the client makes its own and closes it.
        auth: whether the key goes in `Authorization: Bearer` or in `X-API-Key`.
        timeout_seconds: how long one attempt may take.
        retry: how often and when a call is repeated; `CallRetries(attempts=1)` for never.
        paths: where the resources are, if our reading of the documentation is wrong.
        secret_fields: in which fields a new webhook's signing secret may come, likewise.

    Raises:
        InvalidArgumentError: the URL or the key cannot be used.
    """

    def __init__(
        self,
        api_url: str,
        api_key: str,
        *,
        session: aiohttp.ClientSession | None = None,
        auth: AuthScheme = "bearer",
        timeout_seconds: float = 10,
        retry: CallRetries | None = None,
        paths: Paths = DEFAULT_PATHS,
        secret_fields: Sequence[str] = SECRET_FIELDS,
    ) -> None:
        how = access(api_url, api_key, auth=auth, timeout_seconds=timeout_seconds)
        self._transport = Transport(how, session=session, retry=retry or CallRetries())
        self.campaigns = Campaigns(self._transport, paths.campaigns)
        self.contacts = Contacts(self._transport, paths.contacts)
        self.sender_identities = SenderIdentities(self._transport, paths.sender_identities)
        self.connections = Connections(self._transport, paths.connections)
        self.webhooks = Webhooks(self._transport, paths.webhooks, {"secret_fields": tuple(secret_fields)})

    async def __aenter__(self) -> Self:
        await self._transport.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the session, unless it was given."""
        await self._transport.close()

    def __repr__(self) -> str:
        return f"KonvoxClient({self._transport.access.origin!r})"
