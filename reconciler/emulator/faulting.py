"""What a fault makes of a request's answer: another one in its place, or one that breaks off."""

from __future__ import annotations

from starlette.responses import Response

from reconciler.emulator import replies
from reconciler.emulator.clock import Pauses
from reconciler.emulator.connection import Dribbled, Dropped, Truncated
from reconciler.emulator.containers import StorageRefusal, expired
from reconciler.emulator.faults import NO_CODE, Fault
from reconciler.emulator.replies import Refusal

# The usual errors of a status (push-api.md 6); those of the gateway have a message alone.
_ERRORS = {
    400: ("INVALID_JSON", "Invalid JSON."),
    401: ("INVALID_TOKEN", "Token is invalid."),
    403: ("ACCESS_DENIED", "Forbidden"),
    404: ("ORGANIZATION_NOT_FOUND", "Organization does not exist."),
    412: ("INVALID_PARAMETER", "A parameter has an invalid value."),
    413: (None, "Request Entity Too Large"),
    415: ("UNSUPPORTED_MEDIA_TYPE", "The Content-Type must be application/json."),
    429: ("TOO_MANY_REQUESTS", "Too many requests."),
    500: ("INTERNAL_SERVER_ERROR", "Failed to process request due to an internal error."),
    502: (None, "Bad Gateway"),
}
_GATEWAY = {503: "Service Unavailable", 504: "Endpoint request timed out"}
# What the storage says, in its own words (push-api.md 8; those of 5xx are the storage's public ones).
_STORAGE = {
    403: ("AccessDenied", "Access Denied"),
    404: ("NoSuchKey", "The specified key does not exist."),
    429: ("SlowDown", "Please reduce your request rate."),
    500: ("InternalError", "We encountered an internal error. Please try again."),
    503: ("SlowDown", "Please reduce your request rate."),
}


def refusal(fault: Fault, path: str) -> tuple[Response | None, str | None]:
    """Return the answer that a fault gives in place of the emulator's, and its code; None where it gives none."""
    if fault.kind == "expired":
        return expired().response(), expired().code
    if fault.kind != "status":
        return None, None
    headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
    if path.startswith("/_storage/"):
        code, message = _STORAGE.get(fault.status, ("InternalError", "The request failed."))
        answer = StorageRefusal(fault.status, fault.code or code, fault.reason or message).response()
        answer.headers.update(headers)
        return answer, fault.code or code
    usual, message = _ERRORS.get(fault.status, ("REFUSED", "The request was refused."))
    if fault.code == NO_CODE or (fault.status in _GATEWAY and fault.code is None):
        message = _GATEWAY.get(fault.status, message)
        return replies.reply({"message": fault.reason or message}, fault.status, headers), None
    refused = Refusal(fault.status, fault.code or usual, fault.reason or message, headers)
    return refused.response(), refused.code


def broken(fault: Fault, answer: Response, pauses: Pauses) -> Response:
    """Return what becomes of an answer on its way back; what was accepted stays accepted."""
    if fault.kind in ("drop-before", "drop-after"):
        return Dropped(answer)
    if fault.kind == "truncate":
        return Truncated(answer)
    if fault.kind == "slow":
        return Dribbled(answer, fault.seconds, pauses)
    return answer
