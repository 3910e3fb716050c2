"""--quiet, --verbose and --log-format: what stderr says, in what form, and to which run each line belongs."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import click
import httpx
import pytest
from starlette.responses import Response

from reconciler.cli import loudness
from reconciler.cli.main import COMMANDS, cli
from reconciler.cli.session import open_session
from reconciler.emulator.door import Exchange, Hooks
from reconciler.logs import DEBUG, LOGGER, tell
from tests.builders import KEY, Folder, Ran, Remote, child_environment, command_line, run_here, start_remote

MANIFEST = """\
defaults: {source: handbook, provider: corp}
groups:
  - {name: Staff, members: ["user:alice@example.com"]}
items:
  - {uri: "https://example.com/a", title: A, body: {text: one}, permissions: {allowed: ["group:Staff"]}}
  - {uri: "https://example.com/post", title: Post, source: blog}
"""
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ([0-9a-f]{12}) ")
BROKEN = "items:\n  - {uri: 'https://example.com/a', title: A, sourc: blog}\n"


@pytest.fixture
def ready(folder: Folder, remote: Remote) -> Folder:
    folder.write("all.yaml", MANIFEST)
    return folder.at(remote)


def events(ran: Ran) -> list[dict[str, Any]]:
    """Return what stderr holds, each line of it an object with what every one has."""
    found = [json.loads(line) for line in ran.err.splitlines()]
    for entry in found:
        assert list(entry)[:5] == ["time", "level", "run", "event", "message"], entry
        assert entry["level"] in ("error", "warning", "info", "debug", "trace")
    return found


def fail(remote: Remote, *rules: str) -> None:
    httpx.put(f"{remote.url}/_emulator/faults", json={"rules": rules}, trust_env=False).raise_for_status()


# -- quiet -----------------------------------------------------------------------------------------


def test_a_quiet_apply_says_nothing_and_shows_its_data(ready: Folder) -> None:
    ran = ready.ok("apply", "--auto-approve", "--quiet", "--format", "json")
    assert ran.err == ""
    assert ran.json["result"] == "done"


def test_a_quiet_apply_that_fails_says_what_failed_and_how_it_ended(ready: Folder, remote: Remote) -> None:
    fail(remote, "PUT permissions: 400")
    ran = ready.ok("apply", "--auto-approve", "-q", "--no-batch", code=4)
    fail(remote)
    assert "error[call-refused]: HTTP 400" in ran.err
    assert "\nApply: 0 calls done, 1 failed, 0 unknown, 2 not started;" in ran.err
    assert "to go on:" in ran.err
    assert "stage identities" not in ran.err and "told REBUILD" not in ran.err


def test_a_quiet_command_tells_errors_and_no_warnings(ready: Folder) -> None:
    ready.write("bad.yaml", BROKEN)
    assert "error[" in ready.run("plan", "-q").err
    ready.write("bad.yaml", "")
    assert "nothing ran yet" in ready.ok("state", "history").err
    assert ready.ok("state", "history", "--quiet").err == ""


def test_who_wants_less_and_more_at_once_is_refused(ready: Folder) -> None:
    assert "--quiet and --verbose exclude each other" in ready.ok("--quiet", "plan", "-v", code=2).err
    assert "--quiet and --verbose exclude each other" in ready.ok("plan", "-vq", code=2).err


# -- verbose ---------------------------------------------------------------------------------------


def test_every_line_of_a_verbose_run_begins_with_its_id_which_the_history_keeps(ready: Folder) -> None:
    said = ready.ok("apply", "--auto-approve", "-v").err.splitlines()
    found = [LINE.match(line) for line in said]
    assert all(found), [line for line, match in zip(said, found, strict=True) if not match]
    runs = {match[1] for match in found if match}
    assert runs == {ready.ok("state", "history", "--format", "json").json["runs"][0]["id"]}


def test_a_verbose_apply_tells_each_request_without_what_is_secret(ready: Folder, remote: Remote) -> None:
    ready.write("more.yaml", "defaults: {source: blog}\nitems: [{uri: 'x:1', title: B}, {uri: 'x:2', title: C}]\n")
    before = remote.total
    said = ready.ok("apply", "--auto-approve", "--verbose", "--log-format", "json")
    told = [entry for entry in events(said) if entry["event"] == "request"]
    asked = remote.requests(before)
    assert len(told) == len(asked)
    assert {entry["status"] for entry in told} <= {200, 201, 202}
    assert all(entry["seconds"] >= 0 and entry["attempt"] == 1 for entry in told)
    uploads = [entry for entry in told if not entry["path"]]
    assert len(uploads) == sum("_storage" in entry["path"] for entry in asked) > 0
    assert any("statusType=REBUILD" in entry["path"] for entry in told)
    assert "Signature" not in said.err and KEY not in said.err


def test_a_verbose_plan_tells_how_long_its_phases_took_and_what_the_cache_had(ready: Folder) -> None:
    found = events(ready.ok("-v", "plan", "--log-format=json"))
    phases = [entry["phase"] for entry in found if entry["event"] == "phase"]
    assert phases[-2:] == ["reading the manifests", "planning"]
    assert [entry["kept"] for entry in found if entry["event"] == "cache"] == [0]
    assert all(entry["level"] == "debug" for entry in found)


def test_given_twice_wherever_it_says_still_more(ready: Folder) -> None:
    ready.ok("apply", "--auto-approve")
    for words in (("-vv", "verify"), ("-v", "verify", "-v"), ("verify", "--verbose", "--verbose")):
        said = events(ready.run("--log-format", "json", *words, "--all", "--timeout", "0"))
        assert {"trace", "debug"} <= {entry["level"] for entry in said}
    said = events(ready.run("--log-format", "json", "-v", "verify", "--all", "--timeout", "0"))
    assert "trace" not in {entry["level"] for entry in said}


def test_a_retry_is_told_with_its_number(ready: Folder, remote: Remote) -> None:
    fail(remote, "PUT permissions: 503 x1")
    said = events(ready.ok("apply", "--auto-approve", "-v", "--no-batch", "--log-format", "json"))
    fail(remote)
    told = [entry for entry in said if entry["event"] == "request" and "/permissions" in entry["path"]]
    assert [(entry["status"], entry["attempt"]) for entry in told] == [(503, 1), (202, 2)]
    assert [entry["attempt"] for entry in said if entry["event"] == "call.retried"] == [2]


# -- json ------------------------------------------------------------------------------------------


def test_an_apply_is_told_as_events(ready: Folder) -> None:
    said = events(ready.ok("apply", "--auto-approve", "--log-format", "json"))
    assert [entry["event"] for entry in said if not entry["event"].startswith(("call", "source", "stage"))] == [
        "run.started",
        "run.finished",
    ]
    assert len({entry["run"] for entry in said}) == 1
    accepted = [entry for entry in said if entry["event"] == "call.accepted"]
    assert accepted and all(entry["status"] == 202 and entry["call"] > 0 for entry in accepted)
    assert said[-1]["done"] == len(accepted) and said[-1]["failed"] == 0


def test_each_run_has_lines_and_an_id_of_its_own(ready: Folder) -> None:
    runs = []
    for title in "AB":
        ready.write("all.yaml", MANIFEST.replace("title: A", f"title: {title}"))
        runs.append(events(ready.ok("apply", "--auto-approve", "--log-format", "json"))[0]["run"])
    history = [run["id"] for run in ready.ok("state", "history", "--format", "json").json["runs"]]
    assert runs[::-1] == history


def test_a_plan_beside_a_report_is_an_event_too(ready: Folder) -> None:
    ran = ready.ok("apply", "--auto-approve", "--format", "json", "--log-format", "json")
    plan = next(entry for entry in events(ran) if entry["event"] == "plan")
    assert plan["changes"] == 3 and "Plan: 3 to create" in plan["message"]
    assert ran.json["result"] == "done"


def test_problems_are_events_with_their_places(ready: Folder) -> None:
    ready.write("bad.yaml", BROKEN)
    (told,) = [entry for entry in events(ready.ok("plan", "--log-format", "json", code=1)) if "sourc" in entry["what"]]
    assert (told["event"], told["level"], told["line"]) == ("problem", "error", 2)
    assert told["file"].endswith("bad.yaml") and told["what"] == told["message"]


@pytest.mark.parametrize("words", [("nonsense",), ("plan", "--nonsense"), ("plan", "--format", "nonsense")])
def test_wrong_usage_is_an_event_wherever_the_form_was_asked_for(ready: Folder, words: tuple[str, ...]) -> None:
    for given in (("--log-format", "json", *words), ("--log-format=json", *words)):
        (told,) = events(ready.ok(*given, code=2))
        assert (told["event"], told["code"]) == ("problem", "wrong-usage")


def test_a_form_that_does_not_exist_is_refused(ready: Folder) -> None:
    assert "'xml' is not one of 'text', 'json'" in ready.ok("--log-format", "xml", "plan", code=2).err


def test_a_name_that_is_no_text_is_told_all_the_same() -> None:
    command = command_line("-C", "/nowhere/\udcff", "--log-format", "json", "plan")
    ran = subprocess.run(command, env=child_environment(), capture_output=True, check=False)
    assert json.loads(ran.stderr)["code"] == "no-folder"


def test_nothing_stays_loud_after_a_command(ready: Folder) -> None:
    """Several commands may run in a process, and each begins as by default."""
    ready.ok("plan", "-vv", "--log-format", "json")
    assert ready.ok("plan").err == ""


def leaves(command: click.Command, *path: str) -> list[tuple[str, ...]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        found = [(name, command.get_command(context, name)) for name in command.list_commands(context)]
        return list(chain.from_iterable(leaves(entry, *path, name) for name, entry in found if entry is not None))
    return [path]


@pytest.mark.parametrize("path", leaves(cli), ids=" ".join)
def test_every_command_takes_the_options(path: tuple[str, ...]) -> None:
    """Also one that goes on to complain of something else, in the form that was asked for."""
    assert path[0] in COMMANDS
    ran = run_here(*path, "-v", "--log-format", "json", "--no-such-option")
    (told,) = events(ran)
    assert ran.code == 2 and "--no-such-option" in told["what"]


# -- request ids -----------------------------------------------------------------------------------


class Named(Hooks):
    """A remote that gives each request an id."""

    async def answering(self, exchange: Exchange, response: Response) -> Response:
        response.headers["X-Request-ID"] = f"id-of-{exchange.path.rsplit('/', 1)[-1]}"
        return response


def test_what_the_remote_calls_a_request_is_kept(folder: Folder) -> None:
    folder.write("all.yaml", MANIFEST)
    with start_remote(hooks=Named()) as remote:
        folder.at(remote)
        fail(remote, "PUT documents: 400")
        ran = folder.ok("apply", "--auto-approve", "-v", "--no-batch", "--log-format", "json", code=4)
    said = events(ran)
    assert next(entry for entry in said if entry["event"] == "call.accepted")["request_ids"] == ["id-of-permissions"]
    failed = next(entry for entry in said if entry["event"] == "call.failed")
    assert "(request id-of-documents)" in failed["what"]
    assert {entry.get("request_id") for entry in said if entry["event"] == "request"} >= {"id-of-documents"}
    with open_session(str(folder.root), None) as session:
        details = [entry.detail for entry in session.store.journal() if entry.outcome != "accepted"]
    assert details and all("(request id-of-documents)" in detail for detail in details)


def test_of_a_request_without_an_answer_the_one_before_is_told(folder: Folder) -> None:
    folder.write("all.yaml", MANIFEST)
    with start_remote(hooks=Named()) as remote:
        folder.at(remote)
        project = folder.root / "reconciler.yaml"
        project.write_text(project.read_text().replace("target: ", "retryFor: 5, target: "))
        fail(remote, "PUT documents: 503 x1", "PUT documents: drop-after")
        folder.ok("apply", "--auto-approve", "-q", "--no-batch", "--source", "blog", code=4)
    with open_session(str(folder.root), None) as session:
        (detail,) = [entry.detail for entry in session.store.journal()]
    assert "(request id-of-documents came before it)" in detail


# -- runs and lines --------------------------------------------------------------------------------


def test_each_run_of_the_journal_has_an_id_of_its_own_and_the_first_has_that_of_the_lines() -> None:
    loudness.reset([])
    lines = loudness.run_id()
    assert loudness.take_run() == lines == loudness.run_id()
    second = loudness.take_run()
    assert second != lines and loudness.run_id() == second
    third = loudness.new_run()
    assert third != second and loudness.take_run() == third


class Broken(io.StringIO):
    """What cannot be written to."""

    def write(self, _text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_line_that_cannot_be_written_ends_the_command_but_no_thread_and_no_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loudness.reset([])
    loudness.install()
    monkeypatch.setattr(sys, "stderr", Broken())
    with pytest.raises(OSError, match="No space"):
        tell("note", "something")
    raised: list[BaseException] = []

    def speak() -> None:
        try:
            tell("note", "something")
        except OSError as error:
            raised.append(error)

    thread = threading.Thread(target=speak)
    thread.start()
    thread.join()
    assert raised == []
    with logs_at(DEBUG):
        tell("request", "something", DEBUG)


@contextmanager
def logs_at(level: int) -> Iterator[None]:
    before = LOGGER.level
    LOGGER.setLevel(level)
    try:
        yield
    finally:
        LOGGER.setLevel(before)
