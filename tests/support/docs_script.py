"""A script that somebody wrote from Konvox's public documentation alone, before they ever heard of konvox-hooks.

It knows a base URL and two keys (`KONVOX_URL`, `KONVOX_KEY`, `KONVOX_READ_KEY`) and imports nothing but the standard
library. `tests/integration/konvox/test_script_from_the_docs.py` runs it against the sandbox as it stands here.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections import Counter
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlencode, urlsplit

WAIT_SECONDS = 20.0
TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z")
SUBSCRIBED = ["contact.replied", "enrollment.created", "enrollment.unsubscribed"]


class Konvox:
    """The API with a key, in one of the two documented headers."""

    def __init__(self, headers: dict[str, str]) -> None:
        self.headers = headers

    def call(self, method: str, path: str, status: int, body: Any = None, /, **query: Any) -> Any:
        """Make a call; its status and its envelope must be as documented. Returns the whole envelope."""
        connection = HTTPConnection(urlsplit(os.environ["KONVOX_URL"]).netloc, timeout=10)
        target = f"{path}?{urlencode(query)}" if query else path
        content = None if body is None else json.dumps(body)
        try:
            connection.request(method, target, content, {"Content-Type": "application/json", **self.headers})
            response = connection.getresponse()
            envelope = json.loads(response.read())
        finally:
            connection.close()
        assert response.status == status, (method, target, response.status, envelope)
        if status >= 400:
            assert envelope["data"] is None, envelope
            assert envelope["error"], envelope
        else:
            assert envelope["error"] is None, envelope
        return envelope

    def get(self, path: str, **query: Any) -> Any:
        """All records of a resource."""
        return self.call("GET", path, 200, **query)["data"]

    def total(self, path: str, **query: Any) -> int:
        """The total number of records."""
        total = self.call("GET", path, 200, **query)["meta"]["total"]
        assert isinstance(total, int)
        return total

    def create(self, path: str, **fields: Any) -> Any:
        """Create a record. Only for campaigns is the status documented."""
        return self.call("POST", path, 201, fields)["data"]


class Server(ThreadingHTTPServer):
    """A server that accepts a burst of connections."""

    request_queue_size = 512


class Endpoint:
    """A receiver: answers every request with one status, and keeps it."""

    def __init__(self, status: int) -> None:
        self.events: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        self._came = threading.Condition()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            """Takes one request."""

            def do_POST(self) -> None:
                """Answer, then keep the request."""
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(status)
                self.end_headers()
                endpoint.keep(body)

            def log_message(self, *_: Any) -> None:
                """Log nothing."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hooks/konvox"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def keep(self, body: bytes) -> None:
        """Keep a request."""
        with self._came:
            self.bodies.append(body)
            self.events.append(json.loads(body))
            self._came.notify_all()

    def wait(self, enough: Any) -> None:
        """Wait until the received requests are enough."""
        with self._came:
            assert self._came.wait_for(enough, WAIT_SECONDS), [event["event"] for event in self.events]

    def tries(self) -> Counter[bytes]:
        """How often each body was received."""
        return Counter(self.bodies)

    def of(self, event: str) -> list[dict[str, Any]]:
        """The requests of an event."""
        return [body for body in self.events if body["event"] == event]


BEARER = Konvox({"Authorization": f"Bearer {os.environ['KONVOX_KEY']}"})
BY_HEADER = Konvox({"X-API-Key": os.environ["KONVOX_KEY"]})
READER = Konvox({"X-API-Key": os.environ["KONVOX_READ_KEY"]})


def keys() -> None:
    """Both headers work; a missing and a wrong key are answered with 401, a write with a read key with 403."""
    assert BEARER.get("/api/campaigns") == BY_HEADER.get("/api/campaigns") == READER.get("/api/campaigns") == []
    for stranger in (Konvox({}), Konvox({"Authorization": "Bearer kvx_live_wrong"}), Konvox({"X-API-Key": "wrong"})):
        stranger.call("GET", "/api/campaigns", 401)
    READER.call("POST", "/api/campaigns", 403, {"name": "Spring", "channel": "linkedin"})


def senders() -> str:
    """List and create sender identities: the local part has rules, and an address exists once."""
    created = BEARER.create("/api/sender-identities", localPart="ada-1", displayName="Ada")
    assert re.fullmatch(r"ada-1@[a-z0-9-]+\.konvox\.io", created["address"]), created
    assert [sender["id"] for sender in READER.get("/api/sender-identities")] == [created["id"]]
    BEARER.call("POST", "/api/sender-identities", 409, {"localPart": "ada-1"})
    for wrong in ({}, {"localPart": "Ada"}, {"localPart": "a b"}):
        BEARER.call("POST", "/api/sender-identities", 400, wrong)
    return str(created["id"])


def connections() -> None:
    """List and create connections: `socialcrabs` needs the disclaimer, and no secret is returned."""
    own = {"name": "Mine", "platform": "linkedin", "connectionMethod": "oauth_personal", "username": "ada"}
    BEARER.create("/api/connections", **own)
    crab = {"name": "Crab", "platform": "twitter", "connectionMethod": "socialcrabs"}
    BEARER.call("POST", "/api/connections", 400, crab)
    BEARER.create("/api/connections", **crab, disclaimerAccepted=True)
    BEARER.call("POST", "/api/connections", 400, own | {"platform": "fax"})
    BEARER.call("POST", "/api/connections", 400, own | {"connectionMethod": "magic"})
    listed = READER.get("/api/connections")
    assert {connection["name"] for connection in listed} == {"Mine", "Crab"}
    assert not re.search(r'(secret|password|token)[^"]*":', json.dumps(listed), re.IGNORECASE)


def contacts() -> None:
    """Create, list by status, page; a duplicate email returns the existing record."""
    fields = {
        "email": "ada@example.com",
        "firstName": "Ada",
        "lastName": "Lovelace",
        "companyName": "Analytical Engines",
        "linkedinUrl": "https://linkedin.com/in/ada",
        "title": "Countess",
    }
    ada = BEARER.create("/api/contacts", **fields)
    assert fields.items() <= ada.items()
    assert BEARER.call("POST", "/api/contacts", 200, {"email": "ada@example.com"})["data"] == ada
    BEARER.call("POST", "/api/contacts", 400, {"firstName": "Nobody"})
    for number in range(250):
        BEARER.create("/api/contacts", email=f"person{number}@example.com")
    assert READER.total("/api/contacts") == READER.total("/api/contacts", status="active") == 251
    assert READER.total("/api/contacts", status="bounced") == 0
    assert len(READER.get("/api/contacts")) == 50
    pages = [READER.get("/api/contacts", limit=200, offset=offset) for offset in (0, 200, 400)]
    assert [len(page) for page in pages] == [200, 51, 0]
    assert len({contact["id"] for page in pages for contact in page}) == 251
    READER.call("GET", "/api/contacts", 400, limit=201)
    READER.call("GET", "/api/contacts", 400, status="asleep")


def campaigns(sender_id: str) -> str:
    """Create, get, list by status, update and delete; returns the id of a draft."""
    spring = BEARER.create("/api/campaigns", name="Spring", channel="email", senderIdentityId=sender_id)
    assert spring["status"] == "draft"
    assert TIME.fullmatch(spring["createdAt"])
    gone = BEARER.create("/api/campaigns", name="Gone", channel="linkedin", profileId="prof1")
    for wrong in (
        {"channel": "email"},
        {"name": "A"},
        {"name": "A", "channel": "email"},
        {"name": "A", "channel": "fax"},
    ):
        BEARER.call("POST", "/api/campaigns", 400, wrong)
    assert [campaign["name"] for campaign in READER.get("/api/campaigns", status="draft")] == ["Gone", "Spring"]
    assert READER.get("/api/campaigns", status="completed") == []
    renamed = BEARER.call("PATCH", f"/api/campaigns/{gone['id']}", 200, {"name": "Going", "status": "paused"})["data"]
    assert (renamed["name"], renamed["status"], renamed["channel"]) == ("Going", "paused", "linkedin")
    BEARER.call("PATCH", f"/api/campaigns/{gone['id']}", 400, {"status": "draft"})
    assert BEARER.call("DELETE", f"/api/campaigns/{gone['id']}", 200)["data"] == {"success": True}
    for method in ("GET", "DELETE"):
        BEARER.call(method, f"/api/campaigns/{gone['id']}", 404)
    BEARER.call("PATCH", f"/api/campaigns/{gone['id']}", 404, {"name": "Late"})
    assert sum(READER.get(f"/api/campaigns/{spring['id']}")["targetsByState"].values()) == 0
    return str(spring["id"])


def webhooks(campaign_id: str) -> None:
    """Register webhooks, start the campaign, and receive its events; a failed request is tried four times."""
    good, broken = Endpoint(200), Endpoint(500)
    BEARER.call("POST", "/api/webhooks", 400, {"url": "http://your-app.com/hooks/konvox", "events": SUBSCRIBED})
    BEARER.call("POST", "/api/webhooks", 400, {"url": "https://your-app.com/hooks/konvox", "events": []})
    BEARER.call("POST", "/api/webhooks", 400, {"events": SUBSCRIBED})
    assert BEARER.create("/api/webhooks", url=good.url, events=SUBSCRIBED)["active"] is True
    BEARER.create("/api/webhooks", url=broken.url, events=["enrollment.unsubscribed"], active=True)
    silent = BEARER.create("/api/webhooks", url=good.url + "/never", events=SUBSCRIBED, active=False)
    assert silent["active"] is False
    assert [hook["url"] for hook in READER.get("/api/webhooks")] == [good.url, broken.url, silent["url"]]
    BEARER.call("PATCH", f"/api/campaigns/{campaign_id}", 200, {"status": "active"})
    good.wait(lambda: len(good.of("enrollment.created")) == 251 and good.of("contact.replied"))
    # Twenty, so that there was time for a fifth try of the first ones.
    broken.wait(lambda: list(broken.tries().values()).count(4) >= 20)
    good.wait(lambda: good.of("enrollment.unsubscribed"))
    BEARER.call("PATCH", f"/api/campaigns/{campaign_id}", 200, {"status": "paused"})
    deliveries(good, campaign_id)
    assert max(broken.tries().values()) == 4  # the first, and three retries with the same body


def deliveries(good: Endpoint, campaign_id: str) -> None:
    """Each body is as the event reference says, and the counts of the campaign agree."""
    for event in good.events:
        assert event.keys() == {"event", "timestamp", "companyId", "data"}, event
        assert TIME.fullmatch(event["timestamp"]), event
        assert isinstance(event["companyId"], str), event
    assert len({event["companyId"] for event in good.events}) == 1
    for event in good.of("enrollment.created"):
        assert event["data"].keys() == {"enrollmentId", "contactId", "campaignId"}, event
        assert event["data"]["campaignId"] == campaign_id
    for event in good.of("enrollment.unsubscribed"):
        assert event["data"].keys() == {"enrollmentId", "contactId", "campaignId", "reason"}, event
        assert event["data"]["reason"] in {"opt_out_keyword", "manual"}
    for event in good.of("contact.replied"):
        assert event["data"]["channel"] == "email", event
        assert event["data"]["subject"], event
        assert event["data"]["campaignId"] in {campaign_id, None}
        assert (event["data"]["enrollmentId"] is None) == (event["data"]["campaignId"] is None)
    targets = READER.get(f"/api/campaigns/{campaign_id}")["targetsByState"]
    assert sum(targets.values()) == 251
    assert targets["replied"] > 0
    assert READER.total("/api/contacts", status="unsubscribed") > 0


def main() -> None:
    """Run everything, in the order of the documentation."""
    keys()
    sender_id = senders()
    connections()
    contacts()
    webhooks(campaigns(sender_id))


if __name__ == "__main__":
    main()
