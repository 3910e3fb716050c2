"""[io] The API key, the key that signs plans and the key that encrypts states: found where they are kept, never shown.

The API key comes from the environment, a file or a command, never from a manifest, and it is asked for
only when a command is about to speak to a remote.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import re
from pathlib import Path

from reconciler.manifest.project import ApiKey
from reconciler.problems import Problem, UsageError

COMMAND_SECONDS = 60
PLAN_KEY_VARIABLE = "RECONCILER_PLAN_KEY"
STATE_KEY_VARIABLE = "RECONCILER_STATE_KEY"
STATE_KEY_SIZE = 32  # bytes

# What a header takes: visible ASCII (push-api.md 1.2).
_KEY = re.compile(r"[\x21-\x7e]+\Z")


class Secret:
    """A text that prints as stars; `reveal()` is the only way to it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the text itself."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a secret is not written down")


class PlanKey:
    """Signs saved plans."""

    __slots__ = ("_secret",)

    def __init__(self, secret: Secret) -> None:
        self._secret = secret

    def sign(self, document: bytes) -> str:
        """Return the HMAC-SHA256 of a document, in hex."""
        key = os.fsencode(self._secret.reveal())
        return hmac.new(key, document, "sha256").hexdigest()


def find_plan_key() -> PlanKey | None:
    """Return the key that signs plans, None where none is set.

    Raises UsageError for an empty one: a secret that did not arrive must not look like one that was never wanted.
    """
    value = os.environ.get(PLAN_KEY_VARIABLE)
    if value is None:
        return None
    if not value.strip():
        raise UsageError(
            Problem(
                "plan-key-unusable",
                f"the environment variable {PLAN_KEY_VARIABLE} is set, and holds no key",
                why="plans would neither be signed nor checked, and nobody would notice.",
                fix="put the key there, or unset the variable.",
            )
        )
    return PlanKey(Secret(value.strip()))


def find_state_key(variable: str = STATE_KEY_VARIABLE) -> Secret | None:
    """Return the key that the recorded state is encrypted with, as 64 hex digits; None where none is set.

    Raises UsageError for what is no key: a secret that did not arrive must not look like one that was never wanted.
    """
    value = os.environ.get(variable)
    if value is None:
        return None
    key = _key_of(value.strip())
    if key is None:
        raise UsageError(
            Problem(
                "state-key-unusable",
                f"the environment variable {variable} is set, and holds no key",
                why="a key of a state is 32 bytes, written as 64 hex digits or in base64.",
                fix="put such a key there, or unset the variable. To make one:\n"
                '    python -c "import secrets; print(secrets.token_hex(32))"',
            )
        )
    return Secret(key.hex())


def _key_of(text: str) -> bytes | None:
    """Return the key that a text means."""
    if re.fullmatch(r"[0-9a-fA-F]{64}", text):
        return bytes.fromhex(text)
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if len(key) == STATE_KEY_SIZE else None


def find_api_key(where: ApiKey, folder: Path) -> Secret:
    """Return the API key. Raises UsageError when it is not where the project says."""
    if where.command:
        return _checked(_from_command(where.command, folder), f"the command `{where.command[0]}` printed no key")
    if where.file:
        return _checked(_from_file(folder / where.file), f'the file "{where.file}" holds no key')
    name = where.env or "COVEO_API_KEY"
    value = os.environ.get(name)
    if value is None:
        raise UsageError(
            Problem(
                "api-key-needed",
                f"the environment variable {name} is not set",
                why="it holds the API key of this environment; manifests never do.",
                fix=f"set it, for example:\n    export {name}=...",
            )
        )
    return _checked(value, f"the environment variable {name} is empty")


def _checked(value: str, empty: str) -> Secret:
    key = value.strip()
    if not key:
        raise UsageError(Problem("api-key-needed", empty, fix="put the key there."))
    if not _KEY.match(key):
        raise UsageError(
            Problem(
                "api-key-unusable",
                "the API key holds spaces, line breaks or characters that no key has",
                why="it cannot be sent in an HTTP header.",
                fix="copy it again; it is one word of letters, digits and dashes.",
            )
        )
    return Secret(key)


def _from_file(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as stream:
            return stream.read(4096)
    except (OSError, UnicodeDecodeError):
        raise UsageError(
            Problem("api-key-needed", f'the API key file "{path}" cannot be read', fix="check `apiKey: {file: ...}`.")
        ) from None


def _from_command(command: tuple[str, ...], folder: Path) -> str:
    import subprocess

    try:
        # The command comes from the project's own file, as a list: no shell looks at it.
        done = subprocess.run(  # noqa: S603
            command, cwd=folder, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        done = None
    if done is None or done.returncode != 0:
        raise UsageError(
            Problem(
                "api-key-needed",
                f"the command `{command[0]}` for the API key failed",
                fix="run it by hand; its output is not shown here, since it may hold the key.",
            )
        )
    return done.stdout
