"""Prints how fast the main job is, as ratios measured in one run: `make bench`.

The yardstick is a bare parse of the same manifests with the fastest parser, in a process of its own.
Machines are noisy: every figure is the median of several runs that take turns, and only ratios count.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from reconciler.model.address import Address
from reconciler.model.states import Resource, Target
from reconciler.state.journal import Effect, Intent, Outcome, RunInfo
from reconciler.state.sqlite.store import SqliteStore
from reconciler.state.store import LockInfo
from tests.bench import access
from tests.bench.corpus import write_project

RECONCILER = [sys.executable, "-m", "reconciler.cli.main"]
BARE = """
import gc, glob, sys, time, yaml_rs
gc.disable()
texts = [open(path, encoding="utf-8").read() for path in sorted(glob.glob(sys.argv[1] + "/*.yaml"))]
began = time.perf_counter()
for text in texts:
    yaml_rs.loads(text, parse_datetime=False)
print(time.perf_counter() - began)
"""


@dataclass(frozen=True)
class Run:
    """One finished process: seconds, the peak of its memory and that of its largest child, in MB."""

    seconds: float
    memory: float
    output: str


def run(args: list[str], *, expect: int = 0) -> Run:
    """Run a command to its end."""
    with tempfile.TemporaryFile() as out:
        began = time.perf_counter()
        process = subprocess.Popen(args, stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        output = out.read().decode()
    if process.returncode != expect:
        raise SystemExit(f"{' '.join(args)} ended with {process.returncode}:\n{output[-2000:]}")
    return Run(seconds, usage.ru_maxrss / 1024, output)


def in_turns(rounds: int, jobs: dict[str, Callable[[], Run]]) -> dict[str, list[Run]]:
    """Run every job once a round, so that a slow moment of the machine hits all of them."""
    results: dict[str, list[Run]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            results[name].append(job())
    return results


def median(runs: list[Run]) -> float:
    return statistics.median(entry.seconds for entry in runs)


def peak(runs: list[Run]) -> float:
    return max(entry.memory for entry in runs)


def touch_one_in_a_hundred(folder: Path, stamp: str) -> None:
    """Change the title or the first member of every hundredth entry, spread over all files."""
    for path in sorted(folder.glob("*.yaml")):
        text = path.read_text()
        entries = re.split(r"(?m)^(?=  - )", text)
        for index in range(1, len(entries), 100):
            entries[index] = re.sub(r"(title: \w+ \d+)\S*", rf"\1-{stamp}", entries[index], count=1)
        changed = "".join(entries)
        if changed != text:
            path.write_text(changed)


def plan(folder: Path, *options: str) -> Run:
    return run([*RECONCILER, "-C", str(folder), "plan", "--detail", "none", *options])


def large(folder: Path, rounds: int, *, files: int, groups: int, aliases: int) -> None:
    """Cold, warm and slightly changed plans beside a bare parse."""
    write_project(folder, files=files, per_file=1000, groups=groups, aliases=aliases, pages=1000)
    size = sum(path.stat().st_size for path in folder.glob("*.yaml"))
    run([*RECONCILER, "-C", str(folder), "apply", "--auto-approve", "--detail", "none"])
    plan(folder)
    plan(folder)
    counter = iter(range(1_000_000))

    def bare() -> Run:
        done = run([sys.executable, "-c", BARE, str(folder)])
        return Run(float(done.output), done.memory, "")

    def changed() -> Run:
        touch_one_in_a_hundred(folder, f"v{next(counter)}")
        return plan(folder)

    quiet = in_turns(
        rounds,
        {
            "bare parse": bare,
            "cold no-op plan": lambda: plan(folder, "--no-cache"),
            "warm no-op plan": lambda: plan(folder),
        },
    )
    edited = in_turns(rounds, {"bare parse": bare, "1% changed": changed})
    print(f"\n{files * 1000:,} items, {groups:,} groups, {aliases:,} aliases: {size / 1e6:.0f} MB of YAML")
    row("bare parse, one process", quiet["bare parse"], quiet["bare parse"], None)
    row("cold no-op plan", quiet["cold no-op plan"], quiet["bare parse"], 1.3)
    row("warm no-op plan", quiet["warm no-op plan"], quiet["bare parse"], 0.1)
    row("plan, 1% of the entries changed", edited["1% changed"], edited["bare parse"], 0.3)


def row(name: str, runs: list[Run], yardstick: list[Run], goal: float | None) -> None:
    ratios = [mine.seconds / theirs.seconds for mine, theirs in zip(runs, yardstick, strict=True)]
    aim = f"   (aim {goal})" if goal else ""
    print(
        f"  {name:36} {median(runs):7.2f} s   {statistics.median(ratios):5.2f} x bare"
        f"   {min(ratios):.2f}..{max(ratios):.2f}   {peak(runs):4.0f} MB{aim}"
    )


def ten_thousand(folder: Path) -> None:
    """The first apply of 10,000 items of 1 KB to an emulator, one file and a hundred; then nothing changed."""
    print("\n10,000 items of about 1 KB, first apply to the embedded emulator, then again")
    for name, files, per_file in (("one file", 1, 10_000), ("100 files", 100, 100)):
        project = write_project(
            folder / f"{files}-files", files=files, per_file=per_file, groups=100, aliases=1000, words=110
        )
        first = run([*RECONCILER, "-C", str(project), "apply", "--auto-approve", "--detail", "none"])
        again = run([*RECONCILER, "-C", str(project), "apply", "--auto-approve", "--detail", "none"])
        seconds = re.search(r"not started; ([\d.]+) s", first.output)
        assert "no call is needed" in again.output
        print(
            f"  {name:10} first {first.seconds:5.2f} s (calls {seconds[1] if seconds else '?'} s),"
            f" {first.memory:3.0f} MB"
            f"   again {again.seconds:5.2f} s, {again.memory:3.0f} MB"
        )


def whole_job(folder: Path, *, items: int, large: int, groups: int) -> None:
    """First apply of small items, large ones and groups to an emulator in another process, then nothing changed.

    One call per change is measured on a tenth of it, beside the batches of that tenth.
    """
    print(f"\n{items:,} items of 1 KB, {large} of 8 MB and {groups:,} groups, to an emulator in another process")
    with served_emulator(folder / "served") as (url, key):
        os.environ["RECONCILER_BENCH_KEY"] = key
        names = {"whole": 1, "tenth": 10}
        projects = {
            name: write_project(
                folder / name,
                files=max(1, items // 100 // part),
                per_file=100,
                groups=groups // part,
                aliases=0,
                large=large // part,
                target=url,
            )
            for name, part in names.items()
        }
        job(url, "first", projects["whole"])
        job(url, "again", projects["whole"])
        print("  a tenth of it")
        batched = job(url, "first", projects["tenth"])
        shutil.rmtree(projects["tenth"] / ".reconciler")
        single = job(url, "one by one", projects["tenth"], "--no-batch")
        print(f"  one by one takes {single.seconds / batched.seconds:.1f} times as long")


def job(url: str, name: str, project: Path, *options: str) -> Run:
    """Apply a project and print what it took."""
    before = received(url)
    done = run([*RECONCILER, "-C", str(project), "apply", "--auto-approve", "--format", "json", *options])
    after = received(url)
    report = json.loads(done.output[done.output.rindex("\n{\n") :] if "\n{\n" in done.output else done.output)
    sent = sum(call["bytes_sent"] for call in report["calls"])
    found = re.search(r"([\d,]+) API calls? in ([\d,]+) requests?", done.output)
    print(
        f"  {name:10} {done.seconds:6.2f} s   {done.memory:4.0f} MB   {after - before:6,} requests,"
        f" {found[1] if found else 0:>6} API calls planned   {sent:13,} B in calls and uploads"
    )
    return done


@contextmanager
def served_emulator(folder: Path) -> Iterator[tuple[str, str]]:
    """An emulator in a process of its own: its address and its key."""
    key = "bench-key"
    command = [*RECONCILER, "emulator", "--port", "0", "--organization", "bench", "--source", "benchsource"]
    command += ["--provider", "benchprovider"]
    process = subprocess.Popen(
        [*command, "--data", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "RECONCILER_EMULATOR_API_KEY": key},
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip(), key
    finally:
        process.terminate()
        process.wait()


def received(url: str) -> int:
    """Return how many requests the emulator has had."""
    with urllib.request.urlopen(f"{url}/_emulator/requests?since={10**9}") as answer:
        total: int = json.load(answer)["total"]
    return total


# Ten times the items may take so many times the time, and each item so many bytes of memory.
GROWTH, BYTES_AN_ITEM = 11.0, 2000
# What a single change costs beside reading, which grows with the manifests, may not grow with the state.
APPENDING = 2.0


def growth(folder: Path, rounds: int, sizes: Sequence[int]) -> list[str]:
    """No-op plans at ten times the items each time, and the cost of one change; returns what grew too much.

    Only ratios are judged, and memory: whatever the machine, a plan of ten times the items takes at most eleven times
    the time, and what is written for one accepted call does not depend on how much is recorded.
    """
    print("\nno-op plan by number of items, cold (--no-cache) and warm; one recorded change")
    failures: list[str] = []
    before: tuple[float, float, float] | None = None
    for files in sizes:
        project = write_project(folder / f"{files}k", files=files, per_file=1000, groups=100, aliases=100)
        run([*RECONCILER, "-C", str(project), "apply", "--auto-approve", "--detail", "none"])
        plan(project)
        results = in_turns(rounds, {"cold": lambda p=project: plan(p, "--no-cache"), "warm": lambda p=project: plan(p)})
        cold, warm, memory = median(results["cold"]), median(results["warm"]), peak(results["cold"])
        append = appending(project)
        ratio = f"{cold / before[0]:5.2f} x the one before" if before else ""
        print(
            f"  {files * 1000:7,} items   cold {cold:6.2f} s   warm {warm:5.2f} s   {memory:4.0f} MB"
            f"   a change {append * 1e6:5.0f} us   {ratio}"
        )
        if before:
            more = (memory - before[1]) * 2**20 / (files * 900)
            if cold / before[0] > GROWTH:
                failures.append(f"{files * 1000:,} items: {cold / before[0]:.1f} times the time of a tenth of them")
            if more > BYTES_AN_ITEM:
                failures.append(f"{files * 1000:,} items: {more:,.0f} bytes of memory for each further one")
            if append / before[2] > APPENDING:
                failures.append(f"{files * 1000:,} items: one change costs {append / before[2]:.1f} times as much")
        before = cold, memory, append
    return failures


def appending(project: Path) -> float:
    """Return the seconds that the writing of one accepted call takes, a median, without waiting for a disk."""
    [state] = (project / ".reconciler").glob("*.state.db")
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        copy = shutil.copy(state, name)
        with closing(sqlite3.connect(copy)) as connection:
            (address, doc) = connection.execute("SELECT address, doc FROM resources LIMIT 1").fetchone()
        took = []
        with SqliteStore(Path(copy)) as store, store.lock(LockInfo("bench", "bench", "t", "h", "u", 1)) as writer:
            writer.begin_run(RunInfo("bench", "bench", "t"), store.target() or Target("x"), lambda: "none")
            for number in range(200):
                effect = Effect((Resource(Address(address), doc.encode()),))
                began = time.perf_counter()
                intent = Intent(number, "item-put", "digest", 10**16 + number, "t", effect.covers)
                writer.settle(writer.intent(intent), Outcome.ACCEPTED, at="t", effect=effect)
                took.append(time.perf_counter() - began)
        return statistics.median(took)


def start_up(rounds: int) -> None:
    results = in_turns(
        rounds,
        {
            "click": lambda: run([sys.executable, "-c", "import click"]),
            "version": lambda: run([*RECONCILER, "--version"]),
        },
    )
    row("\n  interpreter importing click", results["click"], results["click"], None)
    row("reconciler --version", results["version"], results["click"], 1.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="a tenth of the large project")
    parser.add_argument("--gate", action="store_true", help="end with 1 where anything grows too much")
    parser.add_argument("--only", choices=["start", "large", "ten", "job", "growth", "access"])
    options = parser.parse_args()
    scale = 10 if options.small else 1
    with tempfile.TemporaryDirectory(prefix="reconciler-bench-") as name:
        folder = Path(name)
        if options.only in (None, "start"):
            start_up(options.rounds * 2)
        if options.only in (None, "large"):
            large(folder / "large", options.rounds, files=100 // scale, groups=10_000 // scale, aliases=50_000 // scale)
        if options.only in (None, "ten"):
            ten_thousand(folder)
        if options.only in (None, "job"):
            whole_job(folder, items=10_000 // scale, large=100 // scale, groups=5_000 // scale)
        if options.only in (None, "growth"):
            sizes = (1, 10) if options.small else (1, 10, 100)
            failures = growth(folder, max(2, options.rounds // 2), sizes)
            if failures and options.gate:
                raise SystemExit("\n".join(["grew too much:", *failures]))
    if options.only in (None, "access"):
        access.report([0.01, 0.1] if options.small else [0.01, 0.1, 1])


if __name__ == "__main__":
    main()
