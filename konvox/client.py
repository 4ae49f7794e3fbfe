"""The client of the Konvox API: `ctx.konvox` in handlers, and for scripts.

```python
async with KonvoxClient("https://konvox.example", api_key) as konvox:
    async for contact in konvox.contacts.list(status="active"):
        print(contact.email)
    campaign = await konvox.campaigns.update(campaign_id, status="paused")
```

Every failure is a `konvox.errors.KonvoxApiError`. Calls that are safe to repeat are retried: reads, updates and deletes
after a 500, a 502 to 504, a 429, a broken connection or a timeout; creates only after a 429 or if no connection was
made, because after any other failure they may have taken effect. The API key is in no repr, no log and no error.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import aiohttp

from konvox.api.backoff import CallRetries
from konvox.api.calls import Campaigns, Connections, Contacts, SenderIdentities, Webhooks
from konvox.api.transport import AuthScheme, Transport, access
from konvox.inferred import DEFAULT_PATHS, SECRET_FIELDS, Paths

__all__ = ["CallRetries", "KonvoxClient"]


class KonvoxClient:
    """One company's Konvox API. Use it with `async with`, unless you pass a session.

    Args:
        api_url: the API's URL, to which the paths (`/api/campaigns`, …) are added. Konvox does not document it.
        api_key: a read key can list and fetch; a full key can create, update and delete too.
        session: the session to use, which stays open; without it the client makes its own and closes it.
        auth: whether the key goes into `Authorization: Bearer` or into `X-API-Key`.
        timeout_seconds: how long one attempt may take.
        retry: how often and when a call is repeated; `CallRetries(attempts=1)` for never.
        paths: the resources' paths, if the inferred ones are wrong.
        secret_fields: the fields that may hold a new webhook's signing secret, if the inferred ones are wrong.

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
