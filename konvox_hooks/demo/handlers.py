"""The handlers of the demo: what a team would write, with the bad days of a CRM built in."""

from __future__ import annotations

import os
from pathlib import Path

from konvox_hooks import Context, on
from konvox_hooks.events import EnrollmentCreated, EnrollmentUnsubscribed, Event

FLAKY_CONTACT = "contact-flaky"
"""The CRM takes the enrollment of this contact at the third attempt."""

STUCK_CONTACT = "contact-stuck"
"""The CRM does not take the opt-out of this contact until it is fixed."""

CRM_FIXED = "DEMO_CRM_FIXED"
"""The environment variable that names a file: once it exists, the CRM is fixed."""


class CrmDownError(Exception):
    """The CRM of the demo does not answer."""


@on("enrollment.created", backoff=0.1)
async def enroll_in_crm(event: EnrollmentCreated, ctx: Context) -> None:
    """Copy an enrollment into the CRM."""
    if event.data.contact_id == FLAKY_CONTACT and ctx.attempt <= 2:
        raise CrmDownError(f"the CRM did not answer attempt {ctx.attempt}")


@on("enrollment.unsubscribed", attempts=2, backoff=0.1)
def opt_out_in_crm(event: EnrollmentUnsubscribed, _ctx: Context) -> None:
    """Copy an opt-out into the CRM; a plain function, which runs in a thread."""
    if event.data.contact_id == STUCK_CONTACT and not Path(os.environ[CRM_FIXED]).exists():
        raise CrmDownError("the CRM is down")


@on("meeting.booked")
async def note_meeting(event: Event, ctx: Context) -> None:
    """Take an event that has no model yet: its `data` is a plain mapping."""
    ctx.log.info("meeting.noted", contact_id=event.data["contactId"])
