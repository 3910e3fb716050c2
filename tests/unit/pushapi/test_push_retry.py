"""When to try again: statuses, Retry-After, full jitter, the deadline; and what is said in the end.

The rows of push-api.md 6 are named in the table below; the emulator plays the failures over HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import Response

from reconciler.emulator.door import Exchange, Hooks
from reconciler.pushapi.failures import CallFailed, Step, span
from reconciler.pushapi.retry import (
    YEAR,
    RetryPolicy,
    Transient,
    gives_up,
    policy_for,
    retry_after,
    retryable,
    run_with_retries,
    wait_seconds,
)
from reconciler.pushapi.session import Progress, Session
from tests.builders import KEY, ORGANIZATION, SOURCE_ID, Remote, start_remote

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
POLICY = RetryPolicy(attempts=5, deadline=100, base=2, cap=10)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_may_pass(status: int) -> None:
    assert retryable(status)


@pytest.mark.parametrize("status", [200, 301, 400, 401, 403, 404, 409, 412, 413, 415, 501])
def test_what_is_permanent(status: int) -> None:
    assert not retryable(status)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("7", 7.0),
        (" 0 ", 0.0),
        ("1.5", 1.5),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("9" * 200, None),
        ("9" * 90, YEAR),
        ("604800", 604_800.0),
        ("Fri, 01 Jan 2500 12:00:00 GMT", YEAR),
        ("Thu, 01 Jan 2026 12:00:30 GMT", 30.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("Thu, 01 Jan 2026 12:01:00 -0000", 60.0),
        ("Thu, 99 Jan 2026 12:01:00 GMT", None),
        ("Thu, 01 Jan 99999999999 12:01:00 GMT", None),
        ("Thu, 01 Jan 2026 12:01:00 +99999999999999", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


@given(st.text())
def test_retry_after_takes_any_text(value: str) -> None:
    result = retry_after(value, NOW)
    assert result is None or 0 <= result <= YEAR


def test_waits_are_drawn_below_a_doubling_ceiling() -> None:
    assert [wait_seconds(POLICY, attempt, None, lambda: 1.0) for attempt in (1, 2, 3, 4, 5000)] == [
        2,
        4,
        8,
        10,
        10,
    ]
    assert wait_seconds(POLICY, 3, None, lambda: 0.25) == 2


def test_a_wait_is_never_shorter_than_asked_for_nor_nothing_at_all() -> None:
    assert wait_seconds(POLICY, 3, 42.0, lambda: 0.25) == 42
    # A remote that asks for no wait is not asked eight times within a moment.
    assert wait_seconds(POLICY, 3, 0.0, lambda: 0.25) == 2
    assert wait_seconds(POLICY, 3, 1.0, lambda: 0.25) == 2


@given(st.integers(1, 40), st.floats(0, 1))
def test_jitter_is_full(attempt: int, drawn: float) -> None:
    ceiling = min(10, 2 * 2 ** (attempt - 1))
    assert wait_seconds(POLICY, attempt, None, lambda: drawn) == drawn * ceiling


def test_giving_up() -> None:
    assert not gives_up(POLICY, 4, 90, 10)
    assert gives_up(POLICY, 4, 90, 10.1)
    assert gives_up(POLICY, 5, 0, 0)
    assert not gives_up(replace(POLICY, attempts=None), 5000, 90, 10)


@pytest.mark.parametrize(
    ("seconds", "policy"),
    [
        (None, RetryPolicy()),
        (0.0, RetryPolicy(attempts=1, deadline=0.0)),
        (7200.0, RetryPolicy(attempts=None, deadline=7200.0)),
    ],
)
def test_the_projects_deadline(seconds: float | None, policy: RetryPolicy) -> None:
    assert policy_for(seconds) == policy


def test_the_loop_waits_and_ends() -> None:
    waits: list[float] = []
    answers = iter([Transient(), Transient(3.0), None])

    def attempt() -> str:
        answer = next(answers)
        if answer is not None:
            raise answer
        return "done"

    assert run_with_retries(attempt, policy=POLICY, sleep=waits.append, draw=lambda: 0.5) == "done"
    assert waits == [1.0, 3.0]


def test_the_loop_gives_up_with_the_last_failure() -> None:
    waits: list[float] = []

    def attempt() -> None:
        raise Transient(40.0)

    with pytest.raises(Transient):
        run_with_retries(attempt, policy=POLICY, sleep=waits.append, draw=lambda: 0.5)
    assert waits == [40.0, 40.0]


def test_an_attempt_that_took_longer_than_the_deadline_is_still_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its upload broke, or its container expired, after an hour: the steps are redone (push-api.md 2.2)."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    attempts: list[float] = []

    def attempt() -> str:
        attempts.append(now[0])
        now[0] += 3300
        if len(attempts) == 1:
            raise Transient
        return "done"

    assert run_with_retries(attempt, policy=POLICY, sleep=lambda _: None, draw=lambda: 0.5) == "done"


def test_the_deadline_begins_with_the_first_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    attempts: list[float] = []

    def attempt() -> None:
        attempts.append(now[0])
        now[0] += 60
        raise Transient

    with pytest.raises(Transient):
        run_with_retries(attempt, policy=POLICY, sleep=lambda _: None, draw=lambda: 0.5)
    assert attempts == [0, 60, 120]


def test_the_loop_lets_everything_else_out_at_once() -> None:
    calls: list[int] = []

    def attempt() -> None:
        calls.append(1)
        raise KeyError("x")

    with pytest.raises(KeyError):
        run_with_retries(attempt, policy=POLICY, sleep=lambda _: None, draw=lambda: 0.5)
    assert calls == [1]


# -- over HTTP -------------------------------------------------------------------------------------

JSON_ERROR = '{"errorCode": "%s", "message": "%s"}'
NONE = ""


class Failing(Hooks):
    """Answers with what is planned, before or after the emulator has accepted the request."""

    def __init__(self) -> None:
        self.instead: list[Response] = []
        self.afterwards: list[Response] = []

    async def arriving(self, exchange: Exchange) -> Response | None:
        return self.instead.pop(0) if self.instead and not exchange.path.startswith("/_emulator") else None

    async def answering(self, exchange: Exchange, response: Response) -> Response:
        return self.afterwards.pop(0) if self.afterwards and response.status_code < 300 else response


class Calls:
    """One remote that fails as planned, and a session with it whose waits take no time."""

    def __init__(self, remote: Remote, hooks: Failing) -> None:
        self.remote = remote
        self.hooks = hooks
        self.waits: list[float] = []
        self.told: list[tuple[int, float, str]] = []
        self.session = Session(
            KEY, user_agent="test", sleep=self.waits.append, draw=lambda: 0.5, now=lambda: NOW, policy=RetryPolicy()
        )

    def make(self, step: Step = "call", content: bytes | None = b'{"title": "a"}') -> Progress:
        organization = f"{self.remote.url}/push/v1/organizations/{ORGANIZATION}"
        method, url = {
            "container": ("POST", f"{organization}/files"),
            "call": ("PUT", f"{organization}/sources/{SOURCE_ID}/documents?documentId=https%3A%2F%2Fx%2F1"),
        }[step]
        progress = Progress("call 1")
        self.session.run(
            lambda: self.session.exchange(progress, step, method, url, content),
            progress,
            lambda *retried: self.told.append(retried),
        )
        return progress

    def failure(self, step: Step = "call") -> CallFailed:
        with pytest.raises(CallFailed) as caught:
            self.make(step)
        return caught.value

    @property
    def statuses(self) -> list[int]:
        return [entry["status"] for entry in self.remote.requests()]


@pytest.fixture(scope="module")
def failing_remote() -> Iterator[tuple[Remote, Failing]]:
    hooks = Failing()
    with start_remote(hooks) as remote:
        yield remote, hooks


@pytest.fixture
def calls(failing_remote: tuple[Remote, Failing]) -> Iterator[Calls]:
    remote, hooks = failing_remote
    remote.reset()
    hooks.instead, hooks.afterwards = [], []
    made = Calls(remote, hooks)
    yield made
    made.session.close()


def refusal(status: int, **headers: str) -> Response:
    return Response(JSON_ERROR % ("CODE", "text"), status, {name.replace("_", "-"): headers[name] for name in headers})


@pytest.mark.parametrize("step", ["call", "container"])
@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_until_it_is_accepted(calls: Calls, step: Step, status: int) -> None:
    calls.hooks.instead = [refusal(status), refusal(status)]
    progress = calls.make(step)
    assert calls.statuses == [status, status, 201 if step == "container" else 202]
    assert (progress.attempts, calls.waits) == (3, [0.5, 1.0])
    assert calls.told == [(2, 0.5, f"HTTP {status} CODE: text"), (3, 1.0, f"HTTP {status} CODE: text")]


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("17", 17.0),
        ("Thu, 01 Jan 2026 12:00:30 GMT", 30.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.5),
        ("0", 0.5),
        ("soon", 0.5),
        ("-3", 0.5),
    ],
)
def test_a_retry_after_is_waited_out(calls: Calls, value: str, wait: float) -> None:
    calls.hooks.instead = [refusal(429, Retry_After=value)]
    calls.make()
    assert calls.waits == [wait]


@pytest.mark.parametrize("value", ["604800", "Thu, 08 Jan 2026 12:00:00 GMT"])
def test_nobody_waits_for_a_week_but_learns_when_to_come_back(calls: Calls, value: str) -> None:
    calls.hooks.instead = [refusal(429, Retry_After=value)]
    failed = calls.failure()
    (problem,) = failed.problems
    assert (calls.waits, calls.statuses, failed.outcome) == ([], [429], "refused")
    assert (problem.code, problem.what) == ("call-throttled", "HTTP 429 CODE: text")
    assert problem.fix == "the remote asks to be left alone until 2026-01-08 12:00:00 UTC: run again after that"


def test_a_lost_answer_is_an_unknown_outcome_and_sent_again(calls: Calls) -> None:
    calls.hooks.afterwards = [refusal(504)]
    assert calls.make().outcome == "unknown"
    calls.hooks.afterwards = [refusal(503)] * 8
    failed = calls.failure()
    (problem,) = failed.problems
    assert (failed.outcome, problem.code) == ("unknown", "remote-failing")
    assert problem.what.startswith("HTTP 503 CODE: text after 8 attempts over ")
    assert problem.why == "it may have been accepted all the same; the next run sends it again, which is harmless."


def test_a_container_that_was_made_in_vain_leaves_nothing_in_doubt(calls: Calls) -> None:
    calls.hooks.afterwards = [refusal(503)] * 8
    assert calls.failure("container").outcome == "refused"


def test_what_is_permanent_is_not_tried_again(calls: Calls) -> None:
    calls.hooks.instead = [refusal(412, X_Request_Id="r-77")]
    (problem,) = calls.failure().problems
    assert (calls.waits, problem.what) == ([], "HTTP 412 CODE: text (request r-77)")


ROWS: list[tuple[int, str, str, str, str]] = [
    (400, "INVALID_JSON", "Invalid JSON.", "call-refused", "metadata keys"),
    (400, "ORGANIZATION_IS_PAUSED", NONE, "organization-paused", "resume the organization"),
    (401, "UNAUTHORIZED", NONE, "call-unauthorized", "API key"),
    (401, "INVALID_TOKEN", "Token is invalid.", "call-unauthorized", "from this address"),
    (403, "ACCESS_DENIED", NONE, "call-forbidden", "Sources - Edit"),
    (403, NONE, "Forbidden", "call-forbidden", "Security identity providers - Edit"),
    (404, "ORGANIZATION_NOT_FOUND", "Organization 'x' does not exist.", "organization-unknown", "`organization`"),
    (412, "SOURCE_DOES_NOT_EXIST", NONE, "source-unknown", "`sources:`"),
    (412, "MISSING_PARAMETER", "Parameter 'fileId' is missing.", "call-refused", "bug in reconciler"),
    (412, "INVALID_PARAMETER", NONE, "call-refused", "`providers:`"),
    (412, "DOCUMENT_LIMIT_EXCEEDED", NONE, "document-limit", "delete items"),
    (413, NONE, NONE, "call-too-large", "split"),
    (415, "UNSUPPORTED_MEDIA_TYPE", NONE, "call-refused", "Content-Type"),
    (429, "TOO_MANY_REQUESTS", NONE, "call-throttled", "`quotas`"),
    (429, "TOO_MANY_DOCUMENTS_DAILY", NONE, "daily-items-used", "itemsPerDay"),
    (500, "INTERNAL_SERVER_ERROR", "Failed to process request.", "remote-failing", "wait"),
    (504, NONE, "Endpoint request timed out", "remote-failing", "gateway"),
]


@pytest.mark.parametrize(
    ("status", "error_code", "message", "code", "advice"), ROWS, ids=[f"{row[0]} {row[1] or '-'}" for row in ROWS]
)
def test_each_row_of_the_errors_is_told_with_what_to_do(
    calls: Calls, status: int, error_code: str, message: str, code: str, advice: str
) -> None:
    """push-api.md 6, row by row: permanent ones at once, the others after all attempts."""
    body = JSON_ERROR % (error_code, message) if error_code else f'{{"message": "{message}"}}' if message else "<html>"
    answers = 8 if retryable(status) else 1
    calls.hooks.instead = [Response(body, status) for _ in range(answers)]
    failed = calls.failure()
    (problem,) = failed.problems
    assert calls.statuses == [status] * answers
    assert (failed.status, problem.code, problem.where) == (status, code, "call 1")
    said = " ".join(filter(None, (f"HTTP {status}", error_code)))
    if answers > 1:
        # The number of attempts follows in the same sentence.
        message = message.removesuffix(".")
    assert problem.what.partition(" after ")[0] == (f"{said}: {message}" if message else said)
    assert failed.outcome == ("unknown" if status >= 500 else "refused")
    assert problem.why
    assert advice in problem.fix


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "1 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "2 h"),
        (7500, "2 h 5 min"),
        (172_800, "2 d"),
        (604_800, "7 d"),
        (180_000, "2 d 2 h"),
    ],
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert span(seconds) == text
