"""The steps of `konvox-hooks demo`: each makes something happen, shows the result, and checks it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import click
import orjson

from broker.audit import audit
from broker.event_log import LoggedEvent, events
from konvox.inferred import SIGNATURE_HEADER
from konvox.samples import sample_body, sample_data
from konvox.signatures import sign_hmac_sha256
from konvox_hooks.demo.environment import DemoEnvironment, demo_environment
from konvox_hooks.demo.handlers import FLAKY_CONTACT, STUCK_CONTACT
from konvox_hooks.errors import Failed
from konvox_hooks.terminal.progress import progress
from receiver.paths import hook_path

_SETTLE_SECONDS = 10.0
_POLL_SECONDS = 0.02


async def run_walkthrough(folder: Path) -> None:
    """Run all steps in a temporary folder. Called by `konvox-hooks demo`.

    Raises:
        Failed: a check failed. It has been shown, and the later steps were not run.
    """
    done: list[str] = []
    with progress(lambda: f"{len(done)} of {len(_STEPS)} steps were done"):
        await _run_steps(folder, done)


async def _run_steps(folder: Path, done: list[str]) -> None:
    click.echo("konvox-hooks demo: everything runs on this machine, in a temporary folder.\n")
    async with demo_environment(folder) as demo:
        click.echo(
            "Running: an embedded Valkey, a sandbox that plays Konvox, a receiver, and a worker with the handlers\n"
            "handlers.log, handlers.slack (with a Slack of the demo) and konvox_hooks.demo.handlers.\n"
        )
        for number, step in enumerate(_STEPS, start=1):
            title = (step.__doc__ or "").rstrip(".")
            await step(_Step(number, title, demo))
            done.append(title)
    click.echo("\nEvery step was as it should be. Nothing is left running, and the folder is gone.")


class _Step:
    """One step: shows its title, then each finding."""

    def __init__(self, number: int, title: str, demo: DemoEnvironment) -> None:
        self.demo = demo
        click.secho(f"{number:2}  {title}", bold=True)

    def check(self, finding: str, *, holds: bool) -> None:
        """Show a finding, and end the demo if it does not hold."""
        mark = click.style("ok", fg="green") if holds else click.style("NOT AS IT SHOULD BE", fg="red")
        click.echo(f"      {finding}  {mark}")
        if not holds:
            raise Failed(f"the demo stopped at: {finding}")


async def _register(step: _Step) -> None:
    """Tell Konvox where to send events: konvox-hooks register."""
    code, _ = await step.demo.run("register")
    step.check("registered through the webhooks API, for exactly the events that the handlers want", holds=code == 0)
    code, _ = await step.demo.run("register")
    step.check("run again, it finds nothing to do", holds=code == 0)


async def _documented(step: _Step) -> None:
    """Konvox sends each documented event."""
    for event_type in ("enrollment.created", "enrollment.unsubscribed", "contact.replied"):
        event = await _fired(step, event_type)
        step.check(f"{event_type:<24} {event.record.id}  {_summary(event)}", holds=event.state == "delivered")
    messages = step.demo.slack_messages
    step.check(f"Slack got a message: {' '.join(''.join(messages).split())!r}", holds=len(messages) == 1)


async def _unknown(step: _Step) -> None:
    """Konvox sends an event for which this version has no model."""
    event = await _fired(step, "meeting.booked", {"contactId": "contact-7", "at": "2026-12-01T09:00:00.000Z"})
    step.check(f"kept and handled all the same: {_summary(event)}", holds=event.state == "delivered")


async def _duplicate(step: _Step) -> None:
    """Konvox sends the same event twice, as after a lost answer."""
    before = await audit(step.demo.store)
    event = await _fired(step, "contact.replied", sample_data("contact.replied") | {"subject": "Twice"}, copies=2)
    after = await audit(step.demo.store)
    new, same = after.accepted - before.accepted, after.duplicates - before.duplicates
    messages = [text for text in step.demo.slack_messages if "Twice" in text]
    step.check(f"both answered 200; {new} accepted, {same} recognised as a duplicate", holds=(new, same) == (1, 1))
    step.check(f"the handlers ran once: {_summary(event)}; Slack got one message", holds=len(messages) == 1)


async def _forged(step: _Step) -> None:
    """Somebody else sends requests."""
    body = sample_body("contact.replied")
    forged = await _post(step.demo, body, signature=sign_hmac_sha256(body, secret="guessed"))  # noqa: S106
    step.check(f"a wrong signature is answered {forged}", holds=forged == 401)
    lost = await _post(step.demo, body, token="guessed")  # noqa: S106
    step.check(f"a wrong token is answered {lost}, like any unknown path", holds=lost == 404)


async def _malformed(step: _Step) -> None:
    """A body that is no event arrives, with a valid signature."""
    status = await _post(step.demo, b'{"event": "contact.replied", ')
    step.check(f"it is answered {status}, and nothing is stored", holds=status == 400)


async def _flaky(step: _Step) -> None:
    """A handler fails twice: the CRM does not answer."""
    event = await _fired(step, "enrollment.created", sample_data("enrollment.created") | {"contactId": FLAKY_CONTACT})
    outcome = event.outcomes["konvox_hooks.demo.handlers.enroll_in_crm"]
    step.check(f"only that handler runs again, with backoff: {_summary(event)}", holds=outcome["attempts"] == 3)
    others = event.outcomes["handlers.log.log_event"]["attempts"]
    step.check("the other handler of the event ran once", holds=event.state == "delivered" and others == 1)


async def _dead(step: _Step) -> None:
    """A handler fails in all attempts: the CRM is down when a contact opts out."""
    data = sample_data("enrollment.unsubscribed") | {"contactId": STUCK_CONTACT}
    event = await _fired(step, "enrollment.unsubscribed", data)
    step.check(f"out of attempts, it is a dead letter: {_summary(event)}", holds=event.state == "dead")
    code, listing = await step.demo.run("dead", "list", "--json")
    letters = orjson.loads(listing)
    error = letters[0]["error"] if letters else "nothing"
    step.check(f"konvox-hooks dead list shows it: {error}", holds=code == 0 and len(letters) == 1)
    step.demo.crm_fixed.touch()
    code, _ = await step.demo.run("dead", "retry", event.record.id)
    event = await _settled(step.demo, event.delivery)
    step.check(f"the CRM is fixed; konvox-hooks dead retry: {_summary(event)}", holds=event.state == "delivered")


async def _ledger(step: _Step) -> None:
    """Is anything missing? konvox-hooks audit."""
    code, text = await step.demo.run("audit", "--json")
    ledger = orjson.loads(text)
    step.check(
        "accepted {accepted} = delivered {delivered} + dead {dead} + pending {pending}".format(**ledger),
        holds=code == 0 and ledger["accepted"] == ledger["delivered"] == 7,
    )


_STEPS: tuple[Callable[[_Step], Awaitable[None]], ...] = (
    _register,
    _documented,
    _unknown,
    _duplicate,
    _forged,
    _malformed,
    _flaky,
    _dead,
    _ledger,
)


async def _fired(
    step: _Step, event_type: str, data: dict[str, object] | None = None, *, copies: int = 1
) -> LoggedEvent:
    """Make an event happen in the sandbox, and wait until its delivery is settled."""
    outcomes = await step.demo.fire(event_type, sample_data(event_type) if data is None else data, copies=copies)
    if [outcome["outcome"] for outcome in outcomes] != ["delivered"] * copies:
        raise Failed(f"{event_type} was not delivered: {outcomes}")
    return await _settled(step.demo)


async def _settled(demo: DemoEnvironment, delivery: str | None = None) -> LoggedEvent:
    """Wait until a delivery, or the newest one, is no longer pending; it is polled."""
    async with asyncio.timeout(_SETTLE_SECONDS):
        while True:
            async for event in events(demo.store):
                if delivery in {None, event.delivery}:
                    if event.state != "pending":
                        return event
                    break
            await asyncio.sleep(_POLL_SECONDS)


async def _post(demo: DemoEnvironment, body: bytes, *, token: str | None = None, signature: str | None = None) -> int:
    """Send a body to the receiver directly, with a valid signature by default; returns the status."""
    headers = {
        "Content-Type": "application/json",
        SIGNATURE_HEADER: signature or sign_hmac_sha256(body, secret=demo.signing_secret),
    }
    url = demo.receiver_url + hook_path(token or demo.token)
    async with demo.http.post(url, data=body, headers=headers) as answer:
        return answer.status


def _summary(event: LoggedEvent) -> str:
    def shown(name: str) -> str:
        outcome = event.outcomes[name]
        attempts = outcome["attempts"]
        return f"{name.rpartition('.')[2]} {outcome['state']}" + (f" at attempt {attempts}" if attempts > 1 else "")

    return ", ".join(shown(name) for name in sorted(event.outcomes))
