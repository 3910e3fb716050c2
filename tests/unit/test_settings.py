"""The API key: found where the project says, refused when it is no key, and never shown."""

from __future__ import annotations

import copy
import pickle
import sys
from pathlib import Path

import pytest

from reconciler.manifest.project import ApiKey
from reconciler.problems import UsageError
from reconciler.settings import Secret, find_api_key

CANARY = "xx-canary-key"


def test_a_secret_is_shown_by_nothing() -> None:
    secret = Secret(CANARY)
    shown = [str(secret), repr(secret), f"{secret}", "%s %r" % (secret, secret), repr([secret]), repr({"k": secret})]  # noqa: UP031

    assert all(CANARY not in text for text in shown)
    assert str(secret) == "Secret(***)"
    assert secret.reveal() == CANARY
    for write in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            write(secret)
    with pytest.raises(AttributeError):
        secret.extra = 1  # type: ignore[attr-defined]


def test_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COVEO_API_KEY", CANARY)
    monkeypatch.setenv("OTHER", f"  {CANARY}2\n")

    assert find_api_key(ApiKey(), tmp_path).reveal() == CANARY
    assert find_api_key(ApiKey(env="OTHER"), tmp_path).reveal() == CANARY + "2"


def test_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{CANARY}\n")

    assert find_api_key(ApiKey(file="key"), tmp_path).reveal() == CANARY


def test_from_a_command_that_no_shell_looks_at(tmp_path: Path) -> None:
    command = (sys.executable, "-c", "import sys; print(sys.argv[1])", "$HOME;x")

    assert find_api_key(ApiKey(command=command), tmp_path).reveal() == "$HOME;x"


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (ApiKey(), "the environment variable COVEO_API_KEY is not set"),
        (ApiKey(env="EMPTY"), "the environment variable EMPTY is empty"),
        (ApiKey(file="none"), "cannot be read"),
        (ApiKey(file="."), "cannot be read"),
        (ApiKey(file="binary"), "cannot be read"),
        (ApiKey(file="blank"), 'the file "blank" holds no key'),
        (ApiKey(command=("/no/such/command",)), "the command `/no/such/command` for the API key failed"),
        (ApiKey(command=("false",)), "the command `false` for the API key failed"),
        (ApiKey(command=("true",)), "the command `true` printed no key"),
    ],
)
def test_no_key(where: ApiKey, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EMPTY", " ")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "blank").write_text("\n")

    with pytest.raises(UsageError) as caught:
        find_api_key(where, tmp_path)

    (problem,) = caught.value.problems
    assert problem.code == "api-key-needed"
    assert said in problem.what
    assert problem.fix


@pytest.mark.parametrize("value", ["two words", "a\nb", "schlüssel", "a\tb", "a\x00b"])
def test_what_cannot_be_a_key_is_not_repeated(value: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(value)

    with pytest.raises(UsageError) as caught:
        find_api_key(ApiKey(file="key"), tmp_path)

    (problem,) = caught.value.problems
    assert problem.code == "api-key-unusable"
    assert value not in f"{problem}"
