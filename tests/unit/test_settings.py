"""What an environment says of its remote: the API key, which nothing shows, and the way there."""

from __future__ import annotations

import copy
import os
import pickle
import sys
from pathlib import Path
from unittest import mock

import certifi
import pytest

from reconciler.cli.remote import Remote, connect
from reconciler.cli.session import open_session
from reconciler.manifest.project import ApiKey
from reconciler.problems import UsageError
from reconciler.pushapi.network import Network
from reconciler.pushapi.retry import RetryPolicy
from reconciler.settings import Secret, find_api_key
from tests.builders import Folder

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


# -- the way to the remote -------------------------------------------------------------------------

PASSWORD = "pa55word"


def read(folder: Folder, environment: str) -> Remote:
    """Return the remote of a project whose environment says that."""
    folder.write("reconciler.yaml", f"environments:\n  prod: {{organization: org, {environment}}}\n")
    with (
        mock.patch.dict(os.environ, {"COVEO_API_KEY": CANARY}),
        open_session(str(folder.root), "prod", use_cache=False) as session,
        connect(session) as remote,
    ):
        return remote


@pytest.mark.parametrize(
    ("environment", "push", "platform"),
    [
        ("region: eu", "https://api-eu.cloud.coveo.com/push/v1", "https://platform-eu.cloud.coveo.com"),
        ("region: hipaa", "https://apihipaa.cloud.coveo.com/push/v1", "https://platformhipaa.cloud.coveo.com"),
        ("region: legacy", "https://push.cloud.coveo.com/v1", "https://platform.cloud.coveo.com"),
        ("target: 'http://127.0.0.1:1/v1'", "http://127.0.0.1:1/v1", "http://127.0.0.1:1"),
        ("target: 'http://127.0.0.1:1'", "http://127.0.0.1:1/push/v1", "http://127.0.0.1:1"),
    ],
)
def test_where_an_environment_leads(folder: Folder, environment: str, push: str, platform: str) -> None:
    remote = read(folder, environment)
    assert (remote.hosts.push, remote.hosts.platform) == (push, platform)
    assert remote.api_key.reveal() == CANARY


@pytest.mark.parametrize(
    ("environment", "pace"),
    [
        ("region: us", "Pace(250 calls per 300 s, 15,000 calls a day)"),
        ("region: us, quotas: {burstCalls: 150, callsPerDay: 10000}", "Pace(150 calls per 300 s, 10,000 calls a day)"),
        ("target: 'http://127.0.0.1:1'", "Pace()"),
        ("target: emulator", "Pace()"),
        ("target: emulator, quotas: {burstCalls: 9, burstSeconds: 2}", "Pace(9 calls per 2 s)"),
    ],
)
def test_the_pace_is_the_published_one_for_real_remotes(folder: Folder, environment: str, pace: str) -> None:
    assert repr(read(folder, environment).pace) == pace


def test_the_deadline_the_proxy_and_the_certificates_are_the_environments(folder: Folder) -> None:
    path = folder.write("ca/company.pem", Path(certifi.where()).read_bytes())
    hosts = "uploadHosts: [storage.example, s3.example.com]"
    remote = read(folder, f"retryFor: 900, proxy: 'http://proxy.example:3128', caFile: ca/company.pem, {hosts}")
    assert remote.policy == RetryPolicy(attempts=None, deadline=900)
    uploads = ("storage.example", "s3.example.com")
    assert remote.network == Network("http://proxy.example:3128", str(path), "ca/company.pem", uploads)
    assert read(folder, f"target: emulator, proxy: 'http://proxy.example:3128', {hosts}").network == Network()


@pytest.mark.parametrize(("content", "code"), [(None, "file-missing"), (b"no certificate", "ca-file-unusable")])
def test_certificates_that_cannot_be_used_are_told_before_any_call(
    folder: Folder, content: bytes | None, code: str
) -> None:
    if content is not None:
        folder.write("ca.pem", content)
    with pytest.raises(UsageError) as caught:
        read(folder, "region: us, caFile: ca.pem")
    (problem,) = caught.value.problems
    assert (problem.code, '"ca.pem"' in problem.what) == (code, True)
    assert str(folder.root) not in problem.what


@pytest.mark.parametrize(
    "target", ["http://push.example", "http://10.0.0.5:8080/push/v1", "http://localhost.example", "HTTP://push.example"]
)
def test_the_key_goes_to_another_machine_by_https_alone(folder: Folder, target: str) -> None:
    """And is not even asked for: a command that prints it may ask a person for their password."""
    asked = "apiKey: {command: [touch, asked]}"
    with pytest.raises(UsageError) as caught:
        read(folder, f"target: '{target}', {asked}")
    (problem,) = caught.value.problems
    assert problem.code == "target-in-clear"
    assert "https://" in problem.fix
    assert not (folder.root / "asked").exists()


@pytest.mark.parametrize("target", ["https://push.example", "http://localhost:1", "http://[::1]:1"])
def test_https_and_this_machine_are_spoken_to(folder: Folder, target: str) -> None:
    assert read(folder, f"target: '{target}'").hosts.push == f"{target}/push/v1"


@pytest.mark.parametrize(
    ("environment", "code", "column"),
    [
        (f"proxy: 'http://me:{PASSWORD}@proxy.example:3128'", "secret-in-manifest", 36),
        (f"proxy: 'me:{PASSWORD}@proxy.example:3128'", "secret-in-manifest", 36),
        (f"target: 'https://me:{PASSWORD}@remote.example'", "secret-in-manifest", 37),
        ("proxy: 'socks5://proxy.example:1080'", "bad-proxy", 36),
        ("proxy: proxy.example", "bad-proxy", 36),
        ("proxy: 'http://proxy.example:port'", "bad-proxy", 36),
        ("caFile: ../company.pem", "path-outside", 37),
        ("caFile: /etc/company.pem", "path-outside", 37),
        ("uploadHosts: ['https://storage.example']", "bad-value", 43),
        ("uploadHosts: [127.0.0.1]", "bad-value", 43),
        ("uploadHosts: [storage]", "bad-value", 43),
        ("uploadHosts: []", "bad-value", 42),
    ],
)
def test_bad_ways_are_placed_and_passwords_not_repeated(
    folder: Folder, environment: str, code: str, column: int
) -> None:
    folder.write("reconciler.yaml", f"environments:\n  prod: {{organization: org, {environment}}}\n")
    ran = folder.run("-e", "prod", "validate")
    assert ran.code == 1
    assert f"reconciler.yaml:2:{column}: error[{code}]" in ran.err + ran.out
    assert PASSWORD not in ran.err + ran.out
