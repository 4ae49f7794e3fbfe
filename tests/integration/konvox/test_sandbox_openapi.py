"""Tests of the sandbox with the OpenAPI document: its answers to allowed and other requests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import hypothesis
import orjson
import pytest
import schemathesis
from schemathesis.checks import negative_data_rejection, positive_data_acceptance

from konvox.sandbox import SandboxConfig, run_sandbox
from konvox.sandbox.control import openapi_document

FULL, READ = "kvx_live_full", "kvx_live_read"
HEADERS = {"Authorization": f"Bearer {FULL}"}
QUICKLY = hypothesis.settings(max_examples=8, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck))


@pytest.fixture(scope="module")
def sandbox_url() -> Iterator[str]:
    """A sandbox in a thread of its own, because the requests do not come from an event loop."""
    ready, urls = threading.Event(), []
    loop = asyncio.new_event_loop()

    def answer_from(url: str) -> None:
        """Whether the sandbox answers."""
        urls.append(url)
        ready.set()

    config = SandboxConfig(full_key=FULL, read_key=READ)
    serving = loop.create_task(run_sandbox(config, host="127.0.0.1", port=0, on_ready=answer_from))

    def serve() -> None:
        """Run until cancelled."""
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(serving)
        loop.close()

    thread = threading.Thread(target=serve)
    thread.start()
    assert ready.wait(10)
    yield urls[0]
    loop.call_soon_threadsafe(serving.cancel)
    thread.join(10)
    assert not thread.is_alive()


CONTRACT = schemathesis.openapi.from_dict(orjson.loads(openapi_document()))

UNFAIR = {"/api/webhooks": [negative_data_rejection]}
"""No pattern says exactly what a URL is: the document's is narrower, and some of what it excludes is taken."""


@CONTRACT.parametrize()
@QUICKLY
def test_every_call_is_as_documented(case: schemathesis.Case[Any], sandbox_url: str) -> None:
    """Valid requests are accepted, invalid ones refused, and every answer has a documented status and form."""
    case.call_and_validate(base_url=sandbox_url, headers=HEADERS, excluded_checks=UNFAIR.get(case.path, []))


@CONTRACT.include(path="/api/campaigns/{id}").parametrize()
@QUICKLY
def test_every_call_on_a_campaign_that_there_is(case: schemathesis.Case[Any], sandbox_url: str) -> None:
    """Calls on an existing campaign have documented answers too; which of them are valid depends on the campaign."""
    create = CONTRACT["/api/campaigns"]["POST"].Case(body={"name": "Spring", "channel": "linkedin"})
    created = create.call(base_url=sandbox_url, headers=HEADERS).json()
    case.path_parameters = {"id": created["data"]["id"]}
    response = case.call_and_validate(
        base_url=sandbox_url, headers=HEADERS, excluded_checks=[negative_data_rejection, positive_data_acceptance]
    )
    assert response.status_code != 404
