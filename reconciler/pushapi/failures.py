"""What to tell a person when a call fails: from a status or a missing reply to a problem.

Pure. The texts name the API's `errorCode` and message (push-api.md 6), say what was accepted, and
what to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from reconciler.problems import Problem, RemoteError

Outcome = Literal["refused", "unknown"]
Step = Literal["call", "container", "upload", "batch", "read"]

_STEPS = {
    "call": "",
    "container": "asking for a file container: ",
    "upload": "uploading to the file container: ",
    "batch": "",
    "read": "",
}


class CallFailed(RemoteError):
    """A call was not accepted, or nobody knows.

    `outcome` is `refused` when the remote has certainly not accepted it, `unknown` when it may have:
    then it has to be sent again, which is harmless. `status` is that of the last answer, if any.
    """

    def __init__(self, problem: Problem, *, outcome: Outcome, status: int | None = None) -> None:
        super().__init__(problem)
        self.outcome: Outcome = outcome
        self.status = status


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed exchange. `kind` is `status`, or why there is no usable reply: `timeout`,
    `unreachable`, `proxy`, `certificate`, `dropped`, `unusable`, `bad-reply`, `upload-address`,
    `out-of-turn`.

    `request_id` is what the remote calls the request, `not_before` when it asks to be asked again.
    """

    step: Step
    kind: str
    status: int | None = None
    error_code: str = ""
    message: str = ""
    request_id: str = ""
    not_before: datetime | None = None

    @property
    def text(self) -> str:
        """What happened, in a line."""
        if self.status is None:
            return self.message
        parts = [f"HTTP {self.status}", self.error_code]
        said = " ".join(part for part in parts if part)
        return f"{said}: {self.message}" if self.message else said


@dataclass(frozen=True, slots=True)
class Effort:
    """How long we tried: attempts, and the seconds they took with their waits."""

    attempts: int = 1
    seconds: float = 0.0

    def __str__(self) -> str:
        if self.attempts == 1:
            return ""
        return f" after {self.attempts} attempts over {self.seconds:.0f} s"


def span(seconds: float) -> str:
    """Return a duration for people, by its largest units: `42 s`, `5 min`, `2 h 5 min`, `7 d`."""
    total = max(1, round(seconds))
    if total < 120:
        return f"{total} s"
    minutes = round(total / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(round(total / 3600), 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def call_failed(failure: Failure, *, where: str, outcome: Outcome, effort: Effort, earlier: str = "") -> CallFailed:
    """Return the error for a call whose last failure was `failure`.

    `earlier` is what the remote called the newest of its requests that it answered: the trace of one it did not answer.
    """
    code, fix = _advice(failure)
    if failure.not_before is not None:
        moment = f"{failure.not_before.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
        fix = (
            f"run again after {moment}; if the licence allows more, say so under `quotas`"
            if failure.kind == "out-of-turn"
            else f"the remote asks to be left alone until {moment}: run again after that"
        )
    request = f" (request {failure.request_id})" if failure.request_id else ""
    if not request and earlier:
        request = f" (request {earlier} came before it)"
    # Messages of the API are sentences (push-api.md 6); what follows would stand behind the full stop.
    text = failure.text.removesuffix(".") if request or str(effort) else failure.text
    if failure.step == "read":
        why = "reading changes nothing, here or at the remote."
    elif outcome == "refused":
        why = "nothing of this call was accepted."
    else:
        why = "it may have been accepted all the same; the next run sends it again, which is harmless."
    problem = Problem(
        code=code,
        what=f"{_STEPS[failure.step]}{text}{request}{effort}",
        why=why,
        fix=fix,
        where=where,
    )
    return CallFailed(problem, outcome=outcome, status=failure.status)


def error_body(value: Any) -> tuple[str, str]:
    """Return `errorCode` and `message` of an error reply's JSON, as far as they are there (push-api.md 6)."""
    if not isinstance(value, dict):
        return "", ""
    folded = {str(key).lower(): entry for key, entry in value.items()}
    code, message = folded.get("errorcode"), folded.get("message")
    return code if isinstance(code, str) else "", message if isinstance(message, str) else ""


_PROXY = (
    "proxy-refused",
    "check `proxy` of the environment, or HTTPS_PROXY, and what the proxy lets through; credentials for it belong in "
    "HTTPS_PROXY",
)

_KINDS = {
    "timeout": ("call-timed-out", "try again; if it goes on, look at the network or raise the time allowed"),
    "unreachable": (
        "remote-unreachable",
        "check the target or region of the environment, the network and its proxy; then run again",
    ),
    "proxy": _PROXY,
    "certificate": (
        "remote-untrusted",
        "if a proxy or the remote uses certificates of your company, name theirs as `caFile` of the environment "
        "or in SSL_CERT_FILE",
    ),
    "dropped": ("remote-unreachable", "run again"),
    "unusable": ("remote-unreachable", "check the target of the environment: it must be a base URL"),
    "out-of-turn": ("quota-used-up", "run again tomorrow"),
    "bad-reply": (
        "bad-reply",
        "check that the target is a Push API: something else may be answering in its place",
    ),
    "upload-address": (
        "upload-refused",
        "check that the target is a Push API; if its storage really is there, and by https, name the host in "
        "`uploadHosts` of the environment",
    ),
}

_STATUSES = {
    400: ("call-refused", "read the message; if the manifest is right, this is a bug in reconciler"),
    401: (
        "call-unauthorized",
        "check the API key of this environment: it is missing, wrong, expired or disabled, or may not be used "
        "from this address",
    ),
    403: (
        "call-forbidden",
        "give the API key the privileges: Sources - Edit for items, Organization - View for batches, "
        "Security identity providers - Edit for identities; or use the key of the right organization",
    ),
    404: ("organization-unknown", "check `organization` and `region` of this environment"),
    407: _PROXY,
    412: (
        "call-refused",
        "check the ids under `sources:` and `providers:`; an expired file container is made anew by running again",
    ),
    413: ("call-too-large", "split what the call carries; this is a bug in reconciler if the plan let it pass"),
    415: ("call-refused", "this is a bug in reconciler, or a proxy changes the Content-Type"),
    429: (
        "call-throttled",
        "wait and run again; set `quotas` to what the licence allows, so that no more is sent",
    ),
    504: ("remote-failing", "run again; a gateway that gives up says nothing of what became of the call"),
}

_ERROR_CODES = {
    "INVALID_JSON": (
        "call-refused",
        "read the message: two metadata keys may differ in case alone; if the manifest is right, this is a bug in "
        "reconciler",
    ),
    "MISSING_PARAMETER": (
        "call-refused",
        "this is a bug in reconciler, or something on the way changes requests: report the message",
    ),
    "TOO_MANY_DOCUMENTS_DAILY": (
        "daily-items-used",
        "the organization's items of a day are used up: run again tomorrow, or raise the licence; set "
        "`quotas: {itemsPerDay: ...}` so that plans say so beforehand",
    ),
    "ORGANIZATION_IS_PAUSED": ("organization-paused", "resume the organization in the administration console"),
    "SOURCE_DOES_NOT_EXIST": (
        "source-unknown",
        "check the id under `sources:`; a source made a moment ago needs a while",
    ),
    "DOCUMENT_LIMIT_EXCEEDED": (
        "document-limit",
        "the organization's item quota is used up: delete items or raise the licence",
    ),
}


def _advice(failure: Failure) -> tuple[str, str]:
    """Return the problem's code and its fix."""
    if failure.status is None or failure.kind != "status":
        return _KINDS[failure.kind]
    status = failure.status
    if failure.step == "upload" and status < 500 and status != 429:
        return "upload-refused", "run again; if it goes on, something between here and the storage changes requests"
    if failure.error_code in _ERROR_CODES:
        return _ERROR_CODES[failure.error_code]
    if status in _STATUSES:
        return _STATUSES[status]
    if 300 <= status < 400:
        return "call-redirected", "redirects are not followed, to keep the API key here: correct the target"
    if status >= 500:
        return "remote-failing", "wait and run again"
    return "call-refused", "read the message and correct what it names"
