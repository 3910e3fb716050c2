"""`reconciler run`: real git repositories, a real remote over HTTP, real signals."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from test_stopping import Holding

from reconciler.cli.controller import LONGEST_BACKOFF, backoff
from reconciler.cli.session import open_session
from reconciler.state.journal import Outcome
from tests.builders import KEY, ORGANIZATION, SHARED_ID, Folder, Remote, child_environment, command_line, start_remote
from tests.conftest import ON_CI
from tests.controllers import CHANGED, MANIFEST, SECONDS, Checkout, holds_what_is_recorded, project_at, running

ONCE = ("run", "--once", "--verify-timeout", "10")


@pytest.fixture
def checkout(tmp_path: Path, remote: Remote) -> Checkout:
    return Checkout(tmp_path / "project", project_at(remote))


# -- one round -------------------------------------------------------------------------------------


def test_one_round_pulls_what_was_merged_applies_and_verifies_it(checkout: Checkout, remote: Remote) -> None:
    ran = checkout.ok(*ONCE)
    assert (ran.out, "Apply: " in ran.err, "round: applied" in ran.err) == ("", True, True)
    commit = checkout.merge(CHANGED)
    ran = checkout.ok(*ONCE)
    assert f"-> {commit[:12]}" in ran.err
    assert (checkout.head, holds_what_is_recorded(checkout, remote)) == (commit, True)
    assert "Nothing to verify" in checkout.ok("verify").out
    runs = checkout.ok("state", "history", "--format", "json").json["runs"]
    assert commit in [entry["commit"] for entry in runs]

    before = remote.total
    assert checkout.ok(*ONCE).err == f"round: unchanged at {commit[:12]}\n"
    assert remote.total == before


def test_a_round_that_is_told_not_to_pull_takes_the_files_as_they_are(folder: Folder, remote: Remote) -> None:
    folder.write("all.yaml", MANIFEST)
    folder.at(remote).ok(*ONCE, "--no-pull")
    assert holds_what_is_recorded(folder, remote)


def test_a_folder_without_git_cannot_be_pulled(folder: Folder, remote: Remote) -> None:
    folder.write("all.yaml", MANIFEST)
    assert "error[no-checkout]" in folder.at(remote).ok(*ONCE, code=1).err


def test_an_edited_tree_is_told_and_left_alone(checkout: Checkout, remote: Remote) -> None:
    checkout.merge(CHANGED)
    before, sent = checkout.head, remote.total
    checkout.write("all.yaml", MANIFEST + "# mine\n")
    assert "error[tree-dirty]" in checkout.ok(*ONCE, code=1).err
    assert (checkout.root / "all.yaml").read_text().endswith("# mine\n")
    assert (checkout.head, remote.total) == (before, sent)


def test_a_manifest_that_git_does_not_know_is_an_edit(checkout: Checkout) -> None:
    checkout.write("more.yaml", "items: []\n")
    assert "error[tree-dirty]" in checkout.ok(*ONCE, code=1).err


def test_a_manifest_that_git_ignores_is_an_edit_since_it_is_read(checkout: Checkout, remote: Remote) -> None:
    (checkout.root / ".git" / "info" / "exclude").write_text("*.yaml\n")
    hidden = checkout.root / ".venv" / "some.yaml"  # is not read
    hidden.parent.mkdir()
    hidden.write_text("a: b\n")
    checkout.ok(*ONCE)
    before = remote.total
    checkout.write("more.yaml", "items: [{uri: https://example.com/c, title: C, source: blog}]\n")
    assert "error[tree-dirty]" in checkout.ok(*ONCE, code=1).err
    assert remote.total == before


def test_an_edit_within_a_submodule_is_an_edit(checkout: Checkout, remote: Remote, tmp_path: Path) -> None:
    library = tmp_path / "library"
    library.mkdir()
    (library / "more.yaml").write_text("items: []\n")
    checkout.git("init", "-q", "-b", "main", at=library)
    checkout.git("add", "-A", at=library)
    checkout.git("commit", "-qm", "more", at=library)
    checkout.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "library")
    checkout.git("commit", "-qm", "library")
    checkout.git("push", "-q", "origin", "HEAD:main")
    checkout.ok(*ONCE)
    before = remote.total
    checkout.write("library/more.yaml", "items: [{uri: https://example.com/c, title: C, source: blog}]\n")
    assert "error[tree-dirty]" in checkout.ok(*ONCE, code=1).err
    assert remote.total == before


@pytest.mark.parametrize("merged", [True, False], ids=["both went on", "ours alone"])
def test_a_tree_that_went_another_way_is_not_reset(checkout: Checkout, remote: Remote, merged: bool) -> None:
    if merged:
        checkout.merge(CHANGED)
    checkout.write("all.yaml", MANIFEST + "# mine\n")
    checkout.git("commit", "-qam", "mine")
    mine, sent = checkout.head, remote.total
    assert "error[tree-diverged]" in checkout.ok(*ONCE, code=1).err
    assert (checkout.head, remote.total) == (mine, sent)


def test_what_is_on_no_branch_or_follows_none_is_told(checkout: Checkout) -> None:
    checkout.git("branch", "-q", "--unset-upstream")
    assert "error[no-upstream]" in checkout.ok(*ONCE, code=1).err
    checkout.git("checkout", "-q", "--detach")
    assert "error[not-on-branch]" in checkout.ok(*ONCE, code=1).err


def test_a_branch_that_is_gone_from_the_remote_is_told(checkout: Checkout) -> None:
    checkout.git("branch", "-q", "-m", "main", "trunk", at=checkout.origin)
    for _ in range(2):
        assert "error[no-upstream]" in checkout.ok(*ONCE, code=1).err


def test_an_untracked_file_that_what_is_pulled_makes_a_manifest_is_not_applied(
    checkout: Checkout, remote: Remote
) -> None:
    checkout.write("more.draft", "items: [{uri: https://example.com/c, title: C, source: blog}]\n")
    author = checkout.root.with_name("author")
    checkout.git("clone", "-q", str(checkout.origin), str(author))
    project = (author / "reconciler.yaml").read_text()
    (author / "reconciler.yaml").write_text(f'{project}manifests: ["*.yaml", "*.draft"]\n')
    checkout.git("commit", "-qam", "project", at=author)
    checkout.git("push", "-q", at=author)
    before = remote.total
    assert "error[tree-moved]" in checkout.ok(*ONCE, code=1).err
    assert remote.total == before


def test_a_repository_that_is_away_ends_with_4_and_tells_no_password(checkout: Checkout) -> None:
    checkout.git("remote", "set-url", "origin", "http://someone:hunter2@127.0.0.1:9/x.git")
    ran = checkout.ok(*ONCE, code=4)
    assert "error[fetch-failed]" in ran.err
    assert "hunter2" not in ran.err


def test_a_broken_project_is_mended_by_what_is_pulled(checkout: Checkout, remote: Remote) -> None:
    good = (checkout.root / "reconciler.yaml").read_text()
    author = checkout.root.with_name("author")
    checkout.git("clone", "-q", str(checkout.origin), str(author))
    checkout.write("notes.txt", "no manifest")
    for text, code in (("environments: [\n", 1), (good, 0)):
        (author / "reconciler.yaml").write_text(text)
        checkout.git("commit", "-qam", "project", at=author)
        checkout.git("push", "-q", at=author)
        checkout.ok(*ONCE, code=code)
    assert holds_what_is_recorded(checkout, remote)


def test_only_a_signed_commit_is_checked_out_and_applied(checkout: Checkout, remote: Remote, tmp_path: Path) -> None:
    if shutil.which("ssh-keygen") is None:
        assert os.environ.get(ON_CI) != "true", "this must run on CI, and there is no ssh-keygen"
        pytest.skip("there is no ssh-keygen")
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    signers = tmp_path / "signers"
    signers.write_text(f"a@example.com {key.with_suffix('.pub').read_text()}")
    checkout.git("config", "gpg.ssh.allowedSignersFile", str(signers))
    signing = ("-c", "gpg.format=ssh", "-c", f"user.signingkey={key}", "-c", "commit.gpgsign=true")
    first, sent = checkout.head, remote.total

    unsigned = checkout.merge(CHANGED)
    ran = checkout.ok(*ONCE, "--require-signature", code=1)
    assert f"error[signature-missing]: commit {unsigned[:12]}" in ran.err
    assert (checkout.head, remote.total) == (first, sent)

    signed = checkout.merge(CHANGED.replace("B2", "B3"), *signing)
    checkout.ok(*ONCE, "--require-signature")
    assert (checkout.head, holds_what_is_recorded(checkout, remote)) == (signed, True)

    signers.write_text("")  # its key is trusted no more
    assert "error[signature-missing]" in checkout.ok(*ONCE, "--require-signature", "--no-pull", code=1).err


def test_a_tree_that_is_edited_after_its_commit_was_verified_is_not_applied(
    checkout: Checkout, remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A git that finds every signature good, and somebody who is quick."""
    git, manifest = tmp_path / "bin" / "git", checkout.root / "all.yaml"
    git.parent.mkdir()
    git.write_text(
        f'#!/bin/sh\ncase " $* " in *" verify-commit "*) sed -i s/B/C/ {manifest}; exit 0;; esac\n'
        f'exec {shutil.which("git")} "$@"\n'
    )
    git.chmod(0o755)
    monkeypatch.setenv("PATH", f"{git.parent}:{os.environ['PATH']}")
    before = remote.total
    assert "error[tree-moved]" in checkout.ok(*ONCE, "--require-signature", code=1).err
    assert remote.total == before


def test_where_only_signed_plans_are_applied_every_round_is_blocked(tmp_path: Path, remote: Remote) -> None:
    project = project_at(remote).replace("retryFor: 0", "retryFor: 0, signedPlans: required")
    before = remote.total
    ran = Checkout(tmp_path / "project", project).ok(*ONCE, code=1)
    assert ("error[plan-unsigned]" in ran.err, "round: blocked" in ran.err, remote.total) == (True, True, before)


def test_a_hazard_blocks_until_it_is_allowed_by_name(checkout: Checkout, remote: Remote) -> None:
    checkout.ok(*ONCE)
    checkout.merge("\n".join(line for line in MANIFEST.splitlines() if "title: B" not in line))
    before = remote.total
    ran = checkout.ok(*ONCE, code=1)
    assert ("error[hazard-emptied]" in ran.err, "round: blocked" in ran.err, remote.total) == (True, True, before)
    checkout.ok(*ONCE, "--allow", "emptied")
    assert holds_what_is_recorded(checkout, remote)


def test_a_policy_blocks_a_round(checkout: Checkout, remote: Remote) -> None:
    checkout.write(
        "policies/p.rego",
        'package reconciler.demo\n\ndeny contains {"msg": "no update", "code": "none"} if input.summary.update > 0\n',
    )
    project = checkout.root / "reconciler.yaml"
    project.write_text(project.read_text() + "policies: policies\n")
    checkout.git("add", "-A")
    checkout.git("commit", "-qm", "policies")
    checkout.git("push", "-q", "origin", "main")
    checkout.ok(*ONCE)
    checkout.merge(CHANGED)
    before = remote.total
    assert "error[policy-denied]" in checkout.ok(*ONCE, code=1).err
    assert remote.total == before


def delete_by_hand(remote: Remote) -> None:
    httpx.delete(
        f"{remote.url}/push/v1/organizations/{ORGANIZATION}/sources/{SHARED_ID}/documents",
        params={"documentId": "https://example.com/b", "orderingId": time.time_ns() // 1_000_000},
        headers={"Authorization": f"Bearer {KEY}"},
        trust_env=False,
    ).raise_for_status()
    remote.flush()


def test_drift_made_by_hand_is_told_with_3_and_repaired_where_asked(checkout: Checkout, remote: Remote) -> None:
    checkout.ok(*ONCE, "--drift-every", "1h")
    delete_by_hand(remote)
    assert "1 drifted" in checkout.ok(*ONCE, "--drift-every", "1h", code=3).err
    assert not holds_what_is_recorded(checkout, remote)

    ran = checkout.ok(*ONCE, "--drift-every", "1h", "--repair-drift")
    assert "1 drifted and planned again" in ran.err
    assert "round: applied" in ran.err
    assert holds_what_is_recorded(checkout, remote)


def test_what_a_repair_leaves_alone_is_still_told_with_3(tmp_path: Path, remote: Remote) -> None:
    project = project_at(remote).replace("visibility: shared", "visibility: shared, exclusive: true")
    checkout = Checkout(tmp_path / "project", project)
    checkout.ok(*ONCE)
    httpx.put(
        f"{remote.url}/push/v1/organizations/{ORGANIZATION}/sources/{SHARED_ID}/documents",
        params={"documentId": "https://example.com/theirs", "orderingId": time.time_ns() // 1_000_000},
        headers={"Authorization": f"Bearer {KEY}"},
        json={"title": "Theirs"},
        trust_env=False,
    ).raise_for_status()
    remote.flush()
    before = remote.total
    checkout.ok(*ONCE, "--drift-every", "1h", "--repair-drift", code=3)
    assert [entry for entry in remote.requests(before) if entry["method"] in ("PUT", "DELETE")] == []


def test_what_the_remote_rejects_is_a_failure_and_sent_again(checkout: Checkout, remote: Remote) -> None:
    fail(remote, "PUT documents: reject=https://example.com/b")
    ran = checkout.run(*ONCE)
    fail(remote)
    assert (ran.code, "1 rejected" in ran.err) == (1, True), ran.err


def test_what_the_remote_does_not_take_ends_with_4_and_goes_on_in_the_next_round(
    checkout: Checkout, remote: Remote
) -> None:
    fail(remote, "PUT permissions: 503")
    ran = checkout.ok(*ONCE, code=4)
    assert "round: failed" in ran.err
    fail(remote)
    checkout.ok(*ONCE)
    assert holds_what_is_recorded(checkout, remote)


def fail(remote: Remote, *rules: str) -> None:
    httpx.put(f"{remote.url}/_emulator/faults", json={"rules": rules}, trust_env=False).raise_for_status()


def test_a_suspended_controller_does_nothing(checkout: Checkout, remote: Remote, tmp_path: Path) -> None:
    (tmp_path / "suspend").touch()
    sent = remote.total
    assert checkout.ok(*ONCE, "--suspend-file", str(tmp_path / "suspend")).err == "round: suspended\n"
    assert remote.total == sent


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--repair-drift",), "error[no-drift-check]"),
        (("--interval", "0"), "is no time of a second or more"),
        (("--interval", "soon"), "is no time of a second or more"),
        (("--listen", "9090"), "is no HOST:PORT"),
        (("--listen", "127.0.0.1:99999"), "is no HOST:PORT"),
        (("--listen", "192.0.2.1:1"), "error[cannot-listen]"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_done(
    checkout: Checkout, options: tuple[str, ...], said: str
) -> None:
    assert said in checkout.ok("run", *options, code=2).err


def test_what_is_not_installed_is_named(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "reconciler.cli.metrics", raising=False)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    ran = checkout.ok("run", "--listen", "127.0.0.1:0", code=2)
    assert "error[controller-packages]: the controller needs prometheus_client" in ran.err


def test_the_wait_after_failures_doubles_with_jitter_up_to_a_quarter_of_an_hour() -> None:
    waits = {failures: [backoff(10, failures) for _ in range(50)] for failures in (1, 2, 3, 1000)}
    for failures, least in ((1, 10), (2, 20), (3, 40)):
        assert least <= min(waits[failures]) < max(waits[failures]) <= least + 5
    assert LONGEST_BACKOFF <= min(waits[1000]) < max(waits[1000]) <= LONGEST_BACKOFF + 5


# -- again and again -------------------------------------------------------------------------------


def test_a_controller_applies_what_is_merged_while_it_runs_and_counts_it(checkout: Checkout, remote: Remote) -> None:
    with running(checkout) as controller:
        controller.until(lambda: controller.result == "applied" or controller.result == "unchanged")
        before = controller.metrics()
        assert before["reconciler_leader"] == 1
        assert before["reconciler_changes_total"] == 3
        assert before["reconciler_calls_total[accepted]"] == 3
        assert before["reconciler_calls_total[unknown]"] == 0
        assert time.time() - before["reconciler_last_success_timestamp_seconds"] < SECONDS
        assert before["reconciler_phase_seconds_count[apply]"] >= 1

        commit = checkout.merge(CHANGED)
        controller.until(lambda: controller.get("/healthz").json()["commit"] == commit)
        controller.until(lambda: controller.metrics()["reconciler_changes_total"] == 4)
        after = controller.metrics()
        assert after["reconciler_rounds_total[applied]"] == 2
        assert after["reconciler_rounds_total[failed]"] == 0
        assert KEY not in controller.get("/metrics").text
        assert controller.stop() == 0
    assert holds_what_is_recorded(checkout, remote)
    # A run of the log is one of the history, and each round has its own.
    runs = {entry["id"] for entry in checkout.ok("state", "history", "--format", "json").json["runs"]}
    assert {entry["run"] for entry in controller.named("run.started")} <= runs
    assert len({entry["run"] for entry in controller.named("round.finished")}) >= 2


def test_the_lock_is_given_back_at_the_end_and_held_between_rounds(checkout: Checkout) -> None:
    with running(checkout) as controller:
        controller.until(lambda: controller.result == "unchanged")
        checkout.write("all.yaml", CHANGED)
        assert "error[state-locked]" in checkout.ok("apply", "--auto-approve", code=1).err
        assert controller.stop(signal.SIGINT) == 0
    checkout.ok("apply", "--auto-approve")


def test_of_two_controllers_one_stands_by_until_the_other_ends(checkout: Checkout, remote: Remote) -> None:
    with running(checkout) as first:
        first.until(lambda: first.result == "unchanged")
        with running(checkout) as second:
            second.until(lambda: second.result == "standby")
            assert second.get("/readyz").status_code == 200
            assert second.metrics()["reconciler_leader"] == 0
            assert "holds the lock" in second.named("standby")[0]["message"]
            assert first.stop() == 0
            second.until(lambda: second.result == "unchanged")
            assert second.metrics()["reconciler_leader"] == 1
            assert second.stop() == 0
    assert holds_what_is_recorded(checkout, remote)


def test_a_killed_leader_is_followed_by_the_other(checkout: Checkout) -> None:
    with running(checkout) as first:
        first.until(lambda: first.result == "unchanged")
        with running(checkout) as second:
            second.until(lambda: second.result == "standby")
            first.process.kill()
            second.until(lambda: second.result == "unchanged")
            assert second.stop() == 0


def test_a_remote_that_is_away_for_a_while_makes_it_unready_and_is_caught_up_with(
    checkout: Checkout, remote: Remote
) -> None:
    fail(remote, "PUT permissions: 503", "PUT documents: 503")
    with running(checkout) as controller:
        controller.until(lambda: controller.metrics()["reconciler_rounds_total[failed]"] >= 2)
        assert controller.get("/readyz").status_code == 503
        assert controller.get("/healthz").status_code == 200
        assert controller.metrics()["reconciler_leader"] == 0
        assert controller.metrics()["reconciler_failures_in_a_row"] >= 2
        fail(remote)
        controller.process.send_signal(signal.SIGHUP)
        controller.until(lambda: controller.get("/readyz").status_code == 200)
        assert controller.metrics()["reconciler_failures_in_a_row"] == 0
        assert controller.stop() == 0
    assert holds_what_is_recorded(checkout, remote)


def test_a_hangup_begins_the_next_round_at_once(checkout: Checkout) -> None:
    with running(checkout, "--interval", "1h") as controller:
        controller.until(lambda: controller.result == "applied")
        commit = checkout.merge(CHANGED)
        controller.process.send_signal(signal.SIGHUP)
        controller.until(lambda: controller.get("/healthz").json()["commit"] == commit)
        assert controller.stop() == 0


def test_a_hazard_is_told_in_each_round_and_gone_with_what_caused_it(checkout: Checkout, remote: Remote) -> None:
    checkout.ok(*ONCE)
    checkout.merge("\n".join(line for line in MANIFEST.splitlines() if "title: B" not in line))
    before = remote.total
    with running(checkout) as controller:
        controller.until(lambda: controller.metrics()["reconciler_rounds_total[blocked]"] >= 2)
        assert controller.metrics()["reconciler_blocking_hazards"] == 1
        assert controller.metrics()["reconciler_planned_changes[delete]"] == 1
        assert {entry["code"] for entry in controller.named("problem")} == {"hazard-emptied"}
        assert remote.total == before
        assert len(controller.named("plan")) == 1
        checkout.merge(CHANGED)
        controller.until(lambda: controller.result == "unchanged")
        assert controller.metrics()["reconciler_blocking_hazards"] == 0
        assert controller.stop() == 0
    assert holds_what_is_recorded(checkout, remote)


def test_drift_is_repaired_while_it_runs(checkout: Checkout, remote: Remote) -> None:
    checkout.ok(*ONCE)
    with running(checkout, "--drift-every", "1s", "--repair-drift") as controller:
        controller.until(lambda: controller.result == "unchanged")
        delete_by_hand(remote)
        controller.until(lambda: controller.metrics()["reconciler_changes_total"] == 1)
        controller.until(lambda: controller.metrics()["reconciler_drifted"] == 0)
        assert controller.stop() == 0
    assert holds_what_is_recorded(checkout, remote)


def test_while_it_is_suspended_others_may_have_the_lock(checkout: Checkout, tmp_path: Path) -> None:
    suspend = tmp_path / "suspend"
    with running(checkout, "--suspend-file", str(suspend)) as controller:
        controller.until(lambda: controller.result == "unchanged")
        suspend.touch()
        controller.until(lambda: controller.result == "suspended")
        assert controller.metrics()["reconciler_suspended"] == 1
        checkout.write("all.yaml", CHANGED)
        checkout.ok("apply", "--auto-approve")
        checkout.git("checkout", "-q", ".")
        suspend.unlink()
        controller.until(lambda: controller.result == "unchanged")
        assert controller.stop() == 0


def test_asked_to_stop_while_files_are_checked_out_it_leaves_no_half_of_them(
    checkout: Checkout, tmp_path: Path
) -> None:
    """A git that takes its time says when it has begun."""
    began = tmp_path / "began"
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text(
        f'#!/bin/sh\ncase " $* " in *" merge --ff-only "*) touch {began}; sleep 1;; esac\n'
        f'exec {shutil.which("git")} "$@"\n'
    )
    slow.chmod(0o755)
    commit = checkout.merge(CHANGED)
    with running(checkout, PATH=f"{slow.parent}:{os.environ['PATH']}") as controller:
        controller.until(began.exists)
        assert controller.stop() == 0
    assert (checkout.head, checkout.git("status", "--porcelain", "--untracked-files=no")) == (commit, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_finishes_the_call_in_flight_and_records_it(tmp_path: Path, number: signal.Signals) -> None:
    holding = Holding()
    holding.held, holding.seconds = "/documents", 1.0
    with start_remote(hooks=holding) as remote:
        checkout = Checkout(tmp_path / "project", project_at(remote))
        with running(checkout, "--parallelism", "1") as controller:
            assert holding.got.wait(SECONDS)
            assert controller.stop(number) == 0
            assert controller.named("stopped")
        with open_session(str(checkout.root), None) as session:
            entries = list(session.store.journal())
            assert entries and {entry.outcome for entry in entries} == {Outcome.ACCEPTED}
            assert session.store.runs(1)[0].result in ("interrupted", "done")
        holding.held = "nothing"
        checkout.ok(*ONCE)
        assert holds_what_is_recorded(checkout, remote)


def test_asked_twice_to_stop_it_ends_at_once_and_says_what_is_unknown(tmp_path: Path) -> None:
    holding = Holding()
    holding.held = "/permissions"
    with start_remote(hooks=holding) as remote:
        checkout = Checkout(tmp_path / "project", project_at(remote))
        with running(checkout, "--parallelism", "1") as controller:
            assert holding.got.wait(SECONDS)
            controller.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            assert controller.stop(signal.SIGINT) == 0
            (problem,) = controller.named("problem")
            assert "stopped at once: 0 calls done, 1 unknown" in problem["what"]
        holding.held = "nothing"
        checkout.ok(*ONCE)
        assert holds_what_is_recorded(checkout, remote)


# -- traces ----------------------------------------------------------------------------------------


@pytest.fixture
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """A server that takes traces by OTLP over HTTP: its address, and the bodies that came."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            bodies.append(body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", bodies
    server.shutdown()
    server.server_close()
    thread.join()


def test_traces_have_a_span_for_each_phase_and_call_and_no_secret(
    checkout: Checkout, collector: tuple[str, list[bytes]]
) -> None:
    url, bodies = collector
    ran = subprocess.run(
        command_line("-C", str(checkout.root), *ONCE),
        env=child_environment(OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_SERVICE_NAME="docs"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    assert KEY.encode() not in b"".join(bodies)
    spans = {}
    services = set()
    for body in bodies:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            services |= {
                entry.value.string_value for entry in resource.resource.attributes if entry.key == "service.name"
            }
            spans |= {span.span_id: span for scope in resource.scope_spans for span in scope.spans}
    assert services == {"docs"}
    parents = {(span.name, spans[span.parent_span_id].name if span.parent_span_id else "") for span in spans.values()}
    assert parents == {
        ("reconcile", ""),
        *((name, "reconcile") for name in ("pull", "apply", "verify")),
        *((name, "apply") for name in ("plan", "call")),
    }
    calls = [span for span in spans.values() if span.name == "call"]
    assert len(calls) == 3
    for call in calls:
        values = {entry.key: entry.value.string_value for entry in call.attributes}
        assert values["reconciler.call.outcome"] == "accepted"
        assert re.match(r"organizations/|/?push/", values["url.path"])


def test_a_collector_that_is_away_stops_nothing(checkout: Checkout, remote: Remote) -> None:
    ran = subprocess.run(
        command_line("-C", str(checkout.root), "--log-format", "json", *ONCE),
        env=child_environment(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", OTEL_EXPORTER_OTLP_TIMEOUT="1"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    assert all(json.loads(line)["run"] for line in ran.stderr.splitlines())
    assert holds_what_is_recorded(checkout, remote)
