"""The calls of the Konvox API: one class per resource. `KonvoxClient` has an attribute for each.

A call first checks its arguments by Konvox's documented rules, and raises `InvalidArgumentError` before it sends
anything. It may raise any other `KonvoxApiError`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import structlog

from konvox.api import checks
from konvox.api.answers import Answer
from konvox.api.transport import Transport
from konvox.resources import (
    Campaign,
    CampaignChannel,
    CampaignStatus,
    CampaignStatusChange,
    Connection,
    ConnectionMethod,
    ConnectionPlatform,
    Contact,
    ContactStatus,
    Page,
    Record,
    SenderIdentity,
    Webhook,
)

RecordT = TypeVar("RecordT", bound=Record)


class Resource(Generic[RecordT]):
    """What all resources have: a path, a model, and a list."""

    _model: type[RecordT]

    def __init__(self, transport: Transport, path: str, context: Mapping[str, Any] | None = None) -> None:
        self._transport = transport
        self._path = path
        self._context = context

    def _record(self, answer: Answer) -> RecordT:
        return answer.record(self._model, self._context)

    async def _page(self, **query: Any) -> Page[RecordT]:
        answer = await self._transport.call("GET", self._path, query=checks.wire_fields(**query))
        return Page(answer.records(self._model, self._context), answer.total)

    async def _create(self, **fields: Any) -> RecordT:
        return self._record(await self._transport.call("POST", self._path, body=checks.wire_fields(**fields)))

    async def _whole_list(self, **query: Any) -> AsyncIterator[RecordT]:
        """The list in one request, because Konvox documents no paging for it."""
        page = await self._page(**query)
        if page.total is not None and page.total > len(page.items):
            structlog.get_logger("konvox.api").warning(
                "api_list.truncated", path=self._path, received=len(page.items), total=page.total
            )
        for item in page.items:
            yield item

    async def _all_pages(self, **query: Any) -> AsyncIterator[RecordT]:
        """The list page by page, each record once.

        Records that are created or deleted meanwhile shift the pages, and a record may be on two of them. A page
        without a new record is the last one: otherwise a server that ignores the offset would cause an endless loop.
        """
        seen: set[str] = set()
        offset = 0
        while True:
            page = await self._page(**query, limit=checks.MAX_LIMIT, offset=offset)
            fresh = []
            for item in page.items:
                if _key(item) not in seen:
                    fresh.append(item)
                if item.id:  # two records without one may be alike
                    seen.add(item.id)
            for item in fresh:
                yield item
            seen.update(map(_key, fresh))
            offset += len(page.items)
            at_end = len(page.items) < checks.MAX_LIMIT if page.total is None else offset >= page.total
            if at_end or not fresh:
                return


def _key(record: Record) -> str:
    """What tells a record from the others of its list: its id, or all that it holds if it has none."""
    return record.id or record.model_dump_json()


class Campaigns(Resource[Campaign]):
    """Campaigns."""

    _model = Campaign

    def list(self, *, status: CampaignStatus | None = None) -> AsyncIterator[Campaign]:
        """All campaigns, the newest first, each with its `targets_by_state`."""
        checks.one_of("status", status, CampaignStatus)
        return self._whole_list(status=status)

    async def list_page(self, *, status: CampaignStatus | None = None) -> Page[Campaign]:
        """All campaigns with their total. Konvox documents no paging for campaigns: there is one page."""
        checks.one_of("status", status, CampaignStatus)
        return await self._page(status=status)

    async def get(self, campaign_id: str) -> Campaign:
        """One campaign with its `targets_by_state`. None, as an unattributed reply has, is refused."""
        return self._record(await self._transport.call("GET", self._path_of(campaign_id)))

    async def create(
        self,
        *,
        name: str,
        channel: CampaignChannel,
        profile_id: str | None = None,
        sender_identity_id: str | None = None,
    ) -> Campaign:
        """Create a campaign. An email campaign needs a sender identity."""
        checks.text("name", name)
        checks.required_one_of("channel", channel, CampaignChannel)
        checks.sender_for_channel(channel, sender_identity_id)
        return await self._create(
            name=name, channel=channel, profile_id=profile_id, sender_identity_id=sender_identity_id
        )

    async def update(
        self,
        campaign_id: str,
        *,
        name: str | None = None,
        channel: CampaignChannel | None = None,
        profile_id: str | None = None,
        sender_identity_id: str | None = None,
        status: CampaignStatusChange | None = None,
    ) -> Campaign:
        """Change the given fields only. `status="paused"` stops a campaign."""
        if name is not None:
            checks.text("name", name)
        checks.one_of("channel", channel, CampaignChannel)
        checks.one_of("status", status, CampaignStatusChange)
        changes = checks.wire_fields(
            name=name, channel=channel, profile_id=profile_id, sender_identity_id=sender_identity_id, status=status
        )
        checks.some_change(changes)
        return self._record(await self._transport.call("PATCH", self._path_of(campaign_id), body=changes))

    async def delete(self, campaign_id: str) -> None:
        """Delete a campaign and its enrollments, for good."""
        answer = await self._transport.call("DELETE", self._path_of(campaign_id))
        if isinstance(answer.data, dict) and answer.data.get("success") is False:
            raise answer.misfit("Konvox says that the campaign was not deleted")

    def _path_of(self, campaign_id: str) -> str:
        return f"{self._path}/{checks.path_segment('campaign_id', campaign_id)}"


class Contacts(Resource[Contact]):
    """Contacts."""

    _model = Contact

    def list(self, *, status: ContactStatus | None = None) -> AsyncIterator[Contact]:
        """All contacts, fetched in pages of 200 during the iteration."""
        checks.one_of("status", status, ContactStatus)
        return self._all_pages(status=status)

    async def list_page(
        self, *, status: ContactStatus | None = None, limit: int = 50, offset: int = 0
    ) -> Page[Contact]:
        """One page of at most 200 contacts, and the total."""
        checks.one_of("status", status, ContactStatus)
        checks.paging(limit, offset)
        return await self._page(status=status, limit=limit, offset=offset)

    async def create(
        self,
        *,
        email: str,
        first_name: str | None = None,
        last_name: str | None = None,
        company_name: str | None = None,
        linkedin_url: str | None = None,
        title: str | None = None,
    ) -> Contact:
        """Create a contact, or get the one that has this email already.

        Raises:
            ConflictError: the email exists already; Konvox documents this answer too.
        """
        checks.text("email", email)
        return await self._create(
            email=email,
            first_name=first_name,
            last_name=last_name,
            company_name=company_name,
            linkedin_url=linkedin_url,
            title=title,
        )


class SenderIdentities(Resource[SenderIdentity]):
    """Sender addresses."""

    _model = SenderIdentity

    def list(self) -> AsyncIterator[SenderIdentity]:
        """All sender identities, with warmup and daily limit data."""
        return self._whole_list()

    async def list_page(self) -> Page[SenderIdentity]:
        """All sender identities with their total; Konvox documents no paging for them."""
        return await self._page()

    async def create(self, *, local_part: str, display_name: str | None = None) -> SenderIdentity:
        """Create the address `local_part@yourslug.konvox.io`.

        Raises:
            ConflictError: the address exists already.
        """
        checks.local_part(local_part)
        return await self._create(local_part=local_part, display_name=display_name)


class Connections(Resource[Connection]):
    """Logins on the channels."""

    _model = Connection

    def list(self) -> AsyncIterator[Connection]:
        """All connections."""
        return self._whole_list()

    async def list_page(self) -> Page[Connection]:
        """All connections with their total; Konvox documents no paging for them."""
        return await self._page()

    async def create(
        self,
        *,
        name: str,
        platform: ConnectionPlatform,
        connection_method: ConnectionMethod,
        username: str | None = None,
        disclaimer_accepted: bool | None = None,
    ) -> Connection:
        """Create a connection. The method `socialcrabs` needs `disclaimer_accepted=True`."""
        checks.text("name", name)
        checks.required_one_of("platform", platform, ConnectionPlatform)
        checks.required_one_of("connection_method", connection_method, ConnectionMethod)
        checks.disclaimer(connection_method, accepted=disclaimer_accepted)
        return await self._create(
            name=name,
            platform=platform,
            connection_method=connection_method,
            username=username,
            disclaimer_accepted=disclaimer_accepted,
        )


class Webhooks(Resource[Webhook]):
    """Registrations for events. Konvox documents no call to change or delete one."""

    _model = Webhook

    def list(self) -> AsyncIterator[Webhook]:
        """All webhooks of the company."""
        return self._whole_list()

    async def list_page(self) -> Page[Webhook]:
        """All webhooks with their total; Konvox documents no paging for them."""
        return await self._page()

    async def register(self, *, url: str, events: Sequence[str], active: bool = True) -> Webhook:
        """Register a URL for events. Keep the `signing_secret` of the result, if Konvox answers with one."""
        checks.webhook_url(url)
        return await self._create(url=url, events=checks.event_names(events), active=active)
