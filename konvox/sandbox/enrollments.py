"""The enrollments: which contact is in which campaign, and how many are in which state."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace

from konvox.inferred import ENROLLMENT_STATES
from konvox.sandbox.records import Enrollment
from konvox.sandbox.storage import Storage
from konvox.sandbox.tables import Table


class Enrollments:
    """All enrollments. A contact is in a campaign at most once."""

    def __init__(self, storage: Storage | None) -> None:
        self._table = Table("enrollment", Enrollment, storage)
        self._by_campaign: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self._by_contact: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self._states: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for enrollment in self._table:
            self._index(enrollment)

    def __iter__(self) -> Iterator[Enrollment]:
        return iter(self._table)

    def get(self, enrollment_id: str | None) -> Enrollment | None:
        """The enrollment with this id, if there is one."""
        return self._table.get(enrollment_id)

    def of_contact(self, contact_id: str) -> list[Enrollment]:
        """A contact's enrollments, the oldest first."""
        ids = self._by_contact.get(contact_id, {}).values()
        return [enrollment for enrollment_id in ids if (enrollment := self._table.get(enrollment_id))]

    def is_enrolled(self, campaign_id: str, contact_id: str) -> bool:
        """Whether a contact is in a campaign, in any state."""
        return contact_id in self._by_campaign.get(campaign_id, {})

    def targets_by_state(self, campaign_id: str) -> dict[str, int]:
        """How many of a campaign's enrollments are in each state; states without any count 0."""
        counts = self._states.get(campaign_id, Counter[str]())
        return {state: counts[state] for state in ENROLLMENT_STATES}

    def add(self, enrollment: Enrollment) -> None:
        """Enroll a contact."""
        self._table.put(enrollment)
        self._index(enrollment)

    def move(self, enrollment: Enrollment, state: str) -> Enrollment:
        """Change an enrollment's state; returns the changed one."""
        counts = self._states[enrollment.campaign_id]
        counts[enrollment.state] -= 1
        counts[state] += 1
        moved = replace(enrollment, state=state)
        self._table.put(moved)
        return moved

    def remove_campaign(self, campaign_id: str) -> None:
        """Delete a campaign's enrollments."""
        by_contact = self._by_campaign.pop(campaign_id, {})
        self._states.pop(campaign_id, None)
        for contact_id in by_contact:
            self._by_contact[contact_id].pop(campaign_id, None)
        self._table.remove(by_contact.values())

    def _index(self, enrollment: Enrollment) -> None:
        self._by_campaign[enrollment.campaign_id][enrollment.contact_id] = enrollment.id
        self._by_contact[enrollment.contact_id][enrollment.campaign_id] = enrollment.id
        self._states[enrollment.campaign_id][enrollment.state] += 1
