"""Tests that the counts of enrollments follow every change."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from konvox.inferred import ENROLLMENT_STATES
from konvox.sandbox.enrollments import Enrollments
from konvox.sandbox.records import Enrollment

changes = st.lists(
    st.tuples(
        st.sampled_from(["add", "move", "remove"]),
        st.sampled_from("AB"),
        st.sampled_from("xyz"),
        st.sampled_from(ENROLLMENT_STATES),
    ),
    max_size=40,
)


@given(changes)
def test_the_counts_are_those_of_the_records(steps: list[tuple[str, str, str, str]]) -> None:
    """After any additions, changes and removals, `targets_by_state` counts the records."""
    enrollments = Enrollments(None)
    for step, campaign_id, contact_id, state in steps:
        enrollment = enrollments.get(campaign_id + contact_id)
        if step == "add" and not enrollments.is_enrolled(campaign_id, contact_id):
            fresh = Enrollment(id=campaign_id + contact_id, campaign_id=campaign_id, contact_id=contact_id)
            enrollments.add(fresh)
        elif step == "move" and enrollment is not None:
            enrollments.move(enrollment, state)
        elif step == "remove":
            enrollments.remove_campaign(campaign_id)
    for campaign_id in "AB":
        states = [each.state for each in enrollments if each.campaign_id == campaign_id]
        counted = {state: states.count(state) for state in ENROLLMENT_STATES}
        assert enrollments.targets_by_state(campaign_id) == counted
    for contact_id in "xyz":
        theirs = {each.id for each in enrollments if each.contact_id == contact_id}
        assert {each.id for each in enrollments.of_contact(contact_id)} == theirs
