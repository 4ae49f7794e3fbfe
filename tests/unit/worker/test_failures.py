"""What it means that a handler raised something, alone or in a group of errors."""

from __future__ import annotations

import asyncio
import email.message
import urllib.error
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from handlers import Drop, Retry
from konvox.errors import EventDoesNotFitError, InternalServerError, RateLimitedError, UnexpectedStatusError
from worker.running.failures import failed_run
from worker.running.verdicts import AttemptPolicy, HandlerRun


def ended(error: BaseException) -> HandlerRun:
    """How a run ended that raised this."""
    return failed_run("h", error, 1.0, AttemptPolicy())


def group(*errors: BaseException) -> BaseException:
    """These errors as a TaskGroup raises them, within another group."""
    inner = BaseExceptionGroup("unhandled errors in a TaskGroup", errors)
    return BaseExceptionGroup("outer", [inner])


@pytest.mark.parametrize(
    ("errors", "how", "told_to_wait", "wait"),
    [
        ([Drop("a")], "dropped", False, None),
        ([Drop("a"), Drop("b"), Drop("a")], "dropped", False, None),
        ([Retry(after=5)], "failed", True, 5.0),
        ([Retry(after=5), Retry(after=60), Retry(after=1)], "failed", True, 60.0),
        ([Retry()], "failed", False, None),
        ([Retry(), Retry(after=5)], "failed", False, 5.0),
        ([Drop("a"), Retry(after=5)], "failed", True, 5.0),
        ([Drop("a"), ValueError("x")], "failed", False, None),
        ([Retry(after=5), ValueError("x")], "failed", False, 5.0),
        ([EventDoesNotFitError("a.b", ["x"])], "unfit", False, None),
        ([EventDoesNotFitError("a.b", ["x"]), ValueError()], "failed", False, None),
        ([asyncio.CancelledError(), Drop("a")], "failed", False, None),
        ([SystemExit(3)], "failed", False, None),
    ],
)
def test_the_leaves_of_a_group_count(
    errors: list[BaseException], how: str, told_to_wait: bool, wait: float | None
) -> None:
    """`Retry` and `Drop` mean in groups within groups what they mean alone, and an ordinary error is a failure."""
    run = ended(group(*errors))
    assert (run.ended, run.told_to_wait, run.retry_after_seconds) == (how, told_to_wait, wait)


async def test_a_drop_in_a_task_group_drops_the_event() -> None:
    """The TaskGroup of asyncio wraps what a task raises, and it counts."""

    async def drop() -> None:
        raise Drop("a test contact")

    with pytest.raises(BaseExceptionGroup) as caught:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(drop())
    run = ended(caught.value)
    assert (run.ended, run.error) == ("dropped", "a test contact")


def test_the_reasons_of_several_drops_are_kept() -> None:
    """Each reason is kept once."""
    assert ended(group(Drop("a"), Drop("b"), Drop("a"))).error == "a; b"


def test_what_an_error_was_raised_from_does_not_count() -> None:
    """`raise X from Retry(…)` is an X, and so is an X raised while a Drop is handled."""
    error = ValueError("y")
    error.__cause__, error.__context__ = Retry(after=5), Drop("x")
    run = ended(error)
    assert (run.ended, run.told_to_wait, run.retry_after_seconds) == ("failed", False, None)


def test_the_line_of_a_group_names_its_leaves() -> None:
    """An operator sees what went wrong, and of very many errors how many more there are."""
    error = ended(group(ValueError("one\ntwo"), KeyError("k"))).error
    assert error == "ExceptionGroup: outer: ValueError: one two; KeyError: 'k'"
    many = ended(group(*(ValueError(number) for number in range(500)))).error
    assert "ValueError: 9; and 490 more" in many
    assert len(many) < 1000


def test_groups_without_end_are_a_failure() -> None:
    """Groups nested so deep that Python itself cannot show them end the run, and nothing else."""
    error: BaseException = ValueError("deep")
    for _ in range(5_000):
        error = BaseExceptionGroup("g", [error])
    run = ended(error)
    assert run.ended == "failed"
    assert run.error.endswith("ValueError: deep")
    error = ValueError("on top")
    error.__cause__ = group(ValueError())
    assert ended(error).ended == "failed"


def of_aiohttp(status: int, retry_after: str | None = None) -> aiohttp.ClientResponseError:
    """What `raise_for_status` raises."""
    headers: CIMultiDict[str] = CIMultiDict({} if retry_after is None else {"Retry-After": retry_after})
    url = URL("http://crm.invalid/")
    info = aiohttp.RequestInfo(url, "POST", CIMultiDictProxy(CIMultiDict()), url)
    return aiohttp.ClientResponseError(info, (), status=status, headers=headers)


def of_konvox(error: Any, seconds: float | None) -> Any:
    """An error of the Konvox client."""
    error.retry_after_seconds = seconds
    return error


class StrangeError(Exception):
    """An error of another library, with an answer."""

    def __init__(self, response: object) -> None:
        super().__init__("no")
        self.response = response


class FalseAnswer(SimpleNamespace):
    """An answer as requests has it: one with an error is false."""

    def __bool__(self) -> bool:
        """False."""
        return False


def of_urllib(status: int) -> urllib.error.HTTPError:
    """What urllib raises."""
    headers = email.message.Message()
    headers["retry-after"] = "9"
    return urllib.error.HTTPError("http://crm.invalid/", status, "no", headers, None)


@pytest.mark.parametrize(
    ("error", "wait"),
    [
        (of_aiohttp(429, "7"), 7.0),
        (of_aiohttp(503, "7"), 7.0),
        (of_aiohttp(429, "Wed, 21 Oct 2015 07:28:00 GMT"), 0.0),
        (of_aiohttp(429, "soon"), 0.0),
        (of_aiohttp(429), 0.0),
        (of_aiohttp(503), None),
        (of_aiohttp(503, "soon"), None),
        (of_aiohttp(500, "7"), None),
        (of_konvox(RateLimitedError("no", status=429), 4.0), 4.0),
        (of_konvox(RateLimitedError("no", status=429), None), 0.0),
        (of_konvox(UnexpectedStatusError("no", status=503), 4.0), 4.0),
        (of_konvox(UnexpectedStatusError("no", status=503), None), None),
        (InternalServerError("no", status=500), None),
        (StrangeError(FalseAnswer(status_code=429, headers={"retry-after": "3"})), 3.0),
        (StrangeError(FalseAnswer(status_code=429, headers={"Retry-After": float("nan")})), 0.0),
        (StrangeError(FalseAnswer(status_code=429, headers=3)), None),
        (of_urllib(429), 9.0),
        (SystemExit(429), None),
    ],
    ids=str,
)
def test_an_answer_that_says_to_wait_is_obeyed(error: BaseException, wait: float | None) -> None:
    """429, and 503 with `Retry-After`, say to wait, whichever client raised them; nothing else does."""
    run = ended(error)
    assert (run.ended, run.told_to_wait, run.retry_after_seconds) == ("failed", wait is not None, wait)
