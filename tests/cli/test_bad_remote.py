"""Whole commands against a remote that answers anything: they end, say why, show no secret, and record the truth."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from reconciler.cli.session import open_session
from tests.builders import KEY, Folder, Ran, as_yaml
from tests.hostile import Answer, Hostile, closing, container, dripping, hostile, http_answer, json_answer

LOGIN = b"<!DOCTYPE html><html><body>Please log in</body></html>"
APPLY = ("apply", "--auto-approve")


@pytest.fixture
def remote() -> Iterator[Hostile]:
    with hostile() as server:
        yield server


@pytest.fixture
def blog(folder: Folder, remote: Hostile) -> Folder:
    """A project of one source that gives up after one attempt, pointed at a remote that takes all."""
    project = folder.root / "reconciler.yaml"
    text = project.read_text().replace("visibility: shared", "visibility: shared, status: false")
    project.write_text(text.replace("organization:", "retryFor: 0, organization:"))
    return folder.at(remote.url)


def manifest(number: int) -> str:
    items = [{"uri": f"https://example.com/{name}", "source": "blog", "title": "one"} for name in range(number)]
    return as_yaml({"items": items})


def outcomes(folder: Folder) -> list[str]:
    """Return the outcome of each call that was ever begun, as the state has it."""
    with open_session(str(folder.root), None) as session:
        return [entry.outcome.value if entry.outcome else "none" for entry in session.store.journal()]


def decent(ran: Ran) -> None:
    """See that what was said is for people, and no secret."""
    assert "Traceback" not in ran.err
    assert KEY not in ran.out + ran.err
    assert "/upload/" not in ran.out + ran.err


def endless(remote: Hostile) -> Answer:
    return remote.endless(b"[0,", b"HTTP/1.1 202 Accepted\r\nContent-Length: 9999999999\r\n\r\n")


@pytest.mark.parametrize(
    ("answer", "code", "outcome"),
    [
        (http_answer(LOGIN, 200, "text/html"), "bad-reply", "unknown"),
        (http_answer(b'{"x": NaN}', 202), "bad-reply", "unknown"),
        (closing(b"HTTP/1.1 202 Accepted\r\nContent-Length: 99\r\n\r\n{}"), "remote-unreachable", "unknown"),
        (closing(b""), "remote-unreachable", "unknown"),
        (http_answer(LOGIN, 524, "text/html"), "remote-failing", "unknown"),
        (http_answer(b"", 302, Location="https://elsewhere.example.com/"), "call-redirected", "refused"),
        (json_answer({"errorCode": KEY, "message": f"no {KEY}"}, 400), "call-refused", "refused"),
    ],
)
def test_an_apply_that_is_answered_with_anything_else_goes_on_with_the_next_one(
    blog: Folder, remote: Hostile, answer: Answer, code: str, outcome: str
) -> None:
    blog.write("all.yaml", manifest(1))
    remote.answers["call"] = answer
    ran = blog.ok(*APPLY, code=4)
    decent(ran)
    assert f"error[{code}]: " in ran.err
    assert "\n  fix: " in ran.err
    assert outcomes(blog) == [outcome]
    blog.ok("plan", "--exit-code", code=3)
    del remote.answers["call"]
    blog.ok(*APPLY)
    assert outcomes(blog) == [outcome, "accepted"]
    blog.ok("plan", "--exit-code")


def test_an_apply_takes_no_more_of_an_answer_than_it_needs(blog: Folder, remote: Hostile) -> None:
    blog.write("all.yaml", manifest(1))
    remote.answers["call"] = endless(remote)
    ran = blog.ok(*APPLY, code=4)
    decent(ran)
    assert "error[bad-reply]: the answer goes on after 1,048,576 B, the most that is read of one\n" in ran.err
    assert outcomes(blog) == ["unknown"]
    assert remote.sent < 32 * 1024 * 1024


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("http://bucket.example.com/upload/x", "is neither https nor this machine"),
        ("https://me:pa55word@bucket.example.com/upload/x", "holds a user name"),
        ("file:///upload/x", "is none"),
    ],
)
def test_a_container_elsewhere_is_never_filled(blog: Folder, remote: Hostile, address: str, why: str) -> None:
    blog.write("all.yaml", manifest(3))
    remote.answers["files"] = json_answer(container(address), 201)
    ran = blog.ok(*APPLY, code=4)
    decent(ran)
    assert (
        f"error[upload-refused]: uploading to the file container: the remote names an upload address that {why}\n"
        in ran.err
    )
    assert "pa55word" not in ran.err
    assert outcomes(blog) == ["refused"]
    assert {"upload", "batch"}.isdisjoint(remote.kinds)


def test_an_upload_that_a_page_answered_is_none(blog: Folder, remote: Hostile) -> None:
    blog.write("all.yaml", manifest(3))
    remote.answers["upload"] = http_answer(LOGIN, 200, "text/html")
    ran = blog.ok(*APPLY, code=4)
    decent(ran)
    assert "a page for people answers in place of the storage" in ran.err
    assert outcomes(blog) == ["refused"]
    assert "batch" not in remote.kinds


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (http_answer(LOGIN, 200, "text/html"), "bad-reply"),
        (http_answer(b'[{"a":' * 100_000, 200), "bad-reply"),
        (json_answer([], 200), "bad-reply"),
        (closing(b""), "remote-unreachable"),
        (http_answer(b"", 302, Location="https://elsewhere.example.com/"), "call-redirected"),
    ],
)
def test_a_verify_that_reads_nothing_of_use_learns_nothing(
    blog: Folder, remote: Hostile, answer: Answer, code: str
) -> None:
    blog.write("all.yaml", manifest(1))
    blog.ok(*APPLY)
    before = blog.ok("state", "show", "item/blog/https://example.com/0").out
    remote.answers["read"] = answer
    ran = blog.run("verify", "--timeout", "0")
    decent(ran)
    assert (ran.code, f"error[{code}]: " in ran.err) == (4, True), ran.err
    assert blog.ok("state", "show", "item/blog/https://example.com/0").out == before
    assert outcomes(blog) == ["accepted"]


def test_a_refresh_that_a_page_answers_is_a_note_with_its_remedy(blog: Folder, remote: Hostile) -> None:
    blog.write("all.yaml", as_yaml({"groups": [{"name": "Team", "provider": "corp", "members": []}]}))
    remote.answers["read"] = http_answer(LOGIN, 200, "text/html")
    ran = blog.ok(*APPLY, "--refresh-identities")
    decent(ran)
    assert 'note[refresh-not-triggered]: provider "corp": ' in ran.err
    assert "(the answer is not JSON but text/html)" in ran.err
    assert "\n  fix: ask again:\n      reconciler " in ran.err
    assert outcomes(blog) == ["accepted"]


@pytest.mark.parametrize("step", ["call", "files", "upload", "batch"])
def test_an_answer_that_never_ends_is_given_up(
    blog: Folder, remote: Hostile, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No setting shortens the two minutes for a whole reply.
    monkeypatch.setattr("reconciler.pushapi.network.Timeouts.__init__.__defaults__", (10.0, 60.0, 0.2, 3600.0))
    blog.write("all.yaml", manifest(1 if step == "call" else 3))
    remote.answers[step] = dripping(b"HTTP/1.1 202 Accepted\r\n")
    ran = blog.ok(*APPLY, code=4)
    decent(ran)
    assert "error[call-timed-out]: " in ran.err
    assert outcomes(blog) == ["unknown" if step in ("call", "batch") else "refused"]
