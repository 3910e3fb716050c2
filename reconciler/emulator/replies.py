"""Refusals with the status, code and message that the documents give (push-api.md 6 and 9)."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.responses import Response

from reconciler.emulator.quotas import OverLimit


class Refusal(Exception):
    """A request that is answered at once with an error; nothing is enqueued."""

    def __init__(self, status: int, code: str | None, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers

    def response(self) -> Response:
        """Return the documented body; gateway errors are plain text."""
        if self.code is None:
            return Response(self.message, self.status, self.headers, "text/plain; charset=utf-8")
        return reply({"errorCode": self.code, "message": self.message}, self.status, self.headers)


def reply(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return `value` as a JSON answer."""
    return Response(orjson.dumps(value), status, headers, "application/json")


def invalid_json(why: str = "") -> Refusal:
    return Refusal(400, "INVALID_JSON", f"Invalid JSON. {why}".strip())


def unauthorized() -> Refusal:
    return Refusal(401, "UNAUTHORIZED", "The Authorization header is missing.")


def invalid_token() -> Refusal:
    return Refusal(401, "INVALID_TOKEN", "Token is invalid.")


def access_denied(privilege: str) -> Refusal:
    return Refusal(403, "ACCESS_DENIED", f"The key does not have the privilege '{privilege}'.")


def organization_not_found(organization: str) -> Refusal:
    return Refusal(404, "ORGANIZATION_NOT_FOUND", f"Organization '{organization}' does not exist.")


def organization_paused(organization: str) -> Refusal:
    return Refusal(400, "ORGANIZATION_IS_PAUSED", f"Organization '{organization}' is paused.")


def source_does_not_exist(source: str) -> Refusal:
    return Refusal(412, "SOURCE_DOES_NOT_EXIST", f"Source '{source}' does not exist.")


def provider_does_not_exist(provider: str) -> Refusal:
    return Refusal(412, "PROVIDER_DOES_NOT_EXIST", f"Security provider '{provider}' does not exist.")


def missing_parameter(name: str) -> Refusal:
    return Refusal(412, "MISSING_PARAMETER", f"Parameter '{name}' is missing.")


def invalid_parameter(name: str, value: str) -> Refusal:
    return Refusal(412, "INVALID_PARAMETER", f"Parameter '{name}' has an invalid value '{value[:200]}'.")


def not_found(what: str) -> Refusal:
    return Refusal(404, "NOT_FOUND", f"{what} does not exist.")


def over_limit(excess: OverLimit) -> Refusal:
    return Refusal(429, excess.code, excess.message, {"Retry-After": str(excess.retry_after)})


def document_limit_exceeded(most: int) -> Refusal:
    return Refusal(412, "DOCUMENT_LIMIT_EXCEEDED", f"The index would hold more than {most} items.")


def too_large() -> Refusal:
    return Refusal(413, None, "Request Entity Too Large")


def unsupported_media_type() -> Refusal:
    return Refusal(415, "UNSUPPORTED_MEDIA_TYPE", "The Content-Type must be application/json.")
