"""`state encrypt` and `decrypt` from outside: the same state, readable by whoever has the key, and by nobody else."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tests.builders import Folder, Ran, Remote

VARIABLE, NEW = "RECONCILER_STATE_KEY", "NEXT_STATE_KEY"
KEY, OTHER = "ca11ab1e" * 8, "0ddba11c" * 8
WORDS = ("canary-address", "canary.alice@example.com", "canary-title", "someorganization")
MANIFEST = """
defaults: {source: handbook, provider: corp}
items:
  - {uri: "x:canary-address", title: canary-title, permissions: {allowed: [user:canary.alice@example.com]}}
  - {uri: "x:canary-address-2", title: canary-title-2, permissions: {allowed: [user:canary.alice@example.com]}}
"""


@pytest.fixture
def project(folder: Folder, remote: Remote) -> Folder:
    folder.at(remote).write("all.yaml", MANIFEST)
    return folder


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def with_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)


def state_of(folder: Folder) -> Path:
    return folder.root / ".reconciler" / "local.state.db"


def beside(folder: Folder) -> dict[str, bytes]:
    """Return all files whose name begins like the state's."""
    return {path.name: path.read_bytes() for path in state_of(folder).parent.glob("local.state.db*")}


def is_clear(content: bytes) -> bool:
    return any(word.encode() in content for word in WORDS)


def told(folder: Folder) -> tuple[str, str, str]:
    """Return all that a state says: its resources, its history with every call, its doubts."""
    history = folder.ok("state", "history", "--format", "json").out
    return folder.ok("state", "pull").out, history, folder.ok("state", "list", "--format", "json").out


def test_from_the_first_apply_to_another_key_and_back(project: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    project.ok("apply", "--auto-approve")
    before = told(project)
    assert is_clear(state_of(project).read_bytes())

    monkeypatch.setenv(VARIABLE, KEY)
    ran = project.ok("state", "encrypt")
    assert ran.out == f"encrypted {state_of(project)}; written anew: local.state.db\n"
    assert "freed blocks of the disk" in ran.err
    assert not any(map(is_clear, beside(project).values()))
    assert told(project) == before
    project.ok("state", "history", "verify")
    assert project.ok("state", "check").err == ""
    project.ok("plan", "--exit-code")

    project.write("more.yaml", "defaults: {source: blog}\nitems: [{uri: 'x:more'}]\n")
    project.ok("apply", "--auto-approve")
    after = told(project)
    monkeypatch.setenv(NEW, base64.b64encode(bytes.fromhex(OTHER)).decode())
    assert NEW in project.ok("state", "encrypt", "--new-key-env", NEW).err
    assert "error[state-key-wrong]" in project.ok("plan", code=1).err
    monkeypatch.setenv(VARIABLE, OTHER)
    assert told(project) == after
    project.ok("state", "history", "verify")
    assert "already" in project.ok("state", "encrypt").out

    project.ok("state", "decrypt")
    monkeypatch.delenv(VARIABLE)
    assert told(project) == after
    assert "not encrypted" in project.ok("state", "decrypt").out
    project.ok("plan", "--exit-code")


@pytest.mark.usefixtures("with_key")
def test_a_new_state_is_encrypted_from_the_beginning(project: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    project.ok("apply", "--auto-approve")
    assert not any(map(is_clear, beside(project).values()))
    monkeypatch.delenv(VARIABLE)
    assert "error[state-encrypted]" in project.ok("plan", code=1).err


@pytest.mark.parametrize(
    "arguments", [["plan"], ["apply", "--auto-approve"], ["state", "list"], ["state", "check"], ["state", "decrypt"]]
)
@pytest.mark.parametrize(("key", "code"), [(None, "state-encrypted"), (OTHER, "state-key-wrong")])
def test_without_the_right_key_nothing_is_read_or_written(
    project: Folder, remote: Remote, monkeypatch: pytest.MonkeyPatch, arguments: list[str], key: str | None, code: str
) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    project.ok("apply", "--auto-approve")
    files, calls = beside(project), remote.total
    if key is None:
        monkeypatch.delenv(VARIABLE)
    else:
        monkeypatch.setenv(VARIABLE, key)
    ran = project.ok(*arguments, code=1)
    assert f"error[{code}]" in ran.err
    assert VARIABLE in ran.err
    assert (beside(project), remote.total) == (files, calls)


@pytest.mark.usefixtures("with_key")
def test_the_library_says_nothing_of_its_own(project: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would, past Python, on the process's stderr."""
    project.ok("apply", "--auto-approve")
    monkeypatch.setenv(VARIABLE, OTHER)
    out, err = project.start("plan").communicate(timeout=60)
    assert out == ""
    assert [line for line in err.splitlines() if line and not line.startswith((" ", "1 error"))] == [
        next(line for line in err.splitlines() if "error[state-key-wrong]" in line)
    ]


def test_another_key_for_what_cannot_be_read(project: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key that it has is needed, too."""
    monkeypatch.setenv(VARIABLE, KEY)
    project.ok("apply", "--auto-approve")
    monkeypatch.setenv(NEW, OTHER)
    monkeypatch.delenv(VARIABLE)
    assert "error[state-encrypted]" in project.ok("state", "encrypt", "--new-key-env", NEW, code=1).err
    monkeypatch.setenv(VARIABLE, KEY)
    project.ok("state", "encrypt", "--new-key-env", NEW)
    assert "already" in project.ok("state", "encrypt", "--new-key-env", NEW).out


def test_a_plain_state_goes_on_and_is_told_of(project: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    project.ok("apply", "--auto-approve")
    monkeypatch.setenv(VARIABLE, KEY)
    project.write("more.yaml", "defaults: {source: blog}\nitems: [{uri: 'x:more'}]\n")
    project.ok("apply", "--auto-approve")
    assert "not encrypted" in project.ok("state", "check").err
    assert is_clear(state_of(project).read_bytes())


# --- where it must be encrypted ------------------------------------------------------------------


def must_encrypt(folder: Folder) -> None:
    path = folder.root / "reconciler.yaml"
    assert "{target:" in path.read_text()
    path.write_text(path.read_text().replace("{target:", "{encryptState: true, target:"))


def test_a_forgotten_key_makes_no_plain_state(project: Folder, remote: Remote) -> None:
    must_encrypt(project)
    before = remote.total
    project.ok("plan")
    assert "error[state-key-needed]" in project.ok("apply", "--auto-approve", code=1).err
    assert remote.total == before
    assert not state_of(project).exists()


def test_a_plain_state_is_read_and_not_written(project: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    project.ok("apply", "--auto-approve")
    must_encrypt(project)
    monkeypatch.setenv(VARIABLE, KEY)
    project.ok("plan")
    project.write("more.yaml", "defaults: {source: blog}\nitems: [{uri: 'x:more'}]\n")
    for arguments in (["apply", "--auto-approve"], ["state", "rm", "item/handbook/x:canary-address"]):
        ran = project.ok(*arguments, code=1)
        assert "error[state-not-encrypted]" in ran.err
        assert "state encrypt" in ran.err
    project.ok("state", "encrypt")
    project.ok("apply", "--auto-approve")
    assert "error[encryption-required]" in project.ok("state", "decrypt", code=2).err


def test_a_database_server_encrypts_by_its_own_means(project: Folder) -> None:
    must_encrypt(project)
    path = project.root / "reconciler.yaml"
    path.write_text(path.read_text().replace("target:", "state: 'postgresql://db.example.com/search', target:"))
    ran = project.ok("plan", code=1)
    assert "error[encryption-unsupported]" in ran.err
    assert "transparent data encryption" in ran.err


# --- keys ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", ["", " ", "my-word", "ab" * 31, "ab" * 33, "g" * 64, base64.b64encode(b"x" * 31).decode()]
)
def test_what_is_no_key_is_refused(project: Folder, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(VARIABLE, value)
    ran = project.ok("plan", code=2)
    assert "error[state-key-unusable]" in ran.err
    assert not value.strip() or value not in ran.err


def test_encrypting_needs_a_key(project: Folder) -> None:
    project.ok("apply", "--auto-approve")
    before = beside(project)
    for arguments in ([], ["--new-key-env", NEW]):
        assert "error[state-key-needed]" in project.ok("state", "encrypt", *arguments, code=2).err
    assert beside(project) == before


def test_nothing_is_made_where_nothing_was_recorded(project: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    for command in ("encrypt", "decrypt"):
        assert "nothing is recorded yet" in project.ok("state", command).out
    assert not beside(project)


def test_the_key_is_shown_and_kept_nowhere(project: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither key in any form, whatever goes wrong, nor in what is written."""
    monkeypatch.setenv(VARIABLE, KEY)
    monkeypatch.setenv(NEW, OTHER)
    monkeypatch.setenv("RECONCILER_DEBUG", "1")
    shown = []

    def run(*arguments: str) -> Ran:
        ran = project.run(*arguments)
        shown.append(ran.out + ran.err)
        return ran

    run("apply", "--auto-approve")
    run("plan", "--out", str(tmp_path / "plan.json"))
    run("state", "encrypt", "--new-key-env", NEW)
    run("plan")
    run("state", "check", "--format", "json")
    run("state", "decrypt")
    monkeypatch.setenv(VARIABLE, OTHER)
    damaged = bytearray(state_of(project).read_bytes())
    damaged[9000] ^= 1
    state_of(project).write_bytes(damaged)
    run("state", "check")
    run("state", "list")
    run("state", "encrypt", "--new-key-env", NEW)
    monkeypatch.setenv(VARIABLE, KEY[:-1])
    run("plan")
    assert {text for text in shown if "state-key-wrong" in text}
    assert {text for text in shown if "state-corrupt" in text}
    assert {text for text in shown if "state-key-unusable" in text}
    written = b"".join(path.read_bytes() for path in [*project.root.rglob("*"), *tmp_path.rglob("*")] if path.is_file())
    for key in (KEY, OTHER):
        forms = [key, key.upper(), base64.b64encode(bytes.fromhex(key)).decode(), repr(bytes.fromhex(key)), key[:-1]]
        for form in forms:
            assert form not in "".join(shown)
            assert form.encode() not in written
        assert bytes.fromhex(key) not in written
