"""PostgreSQL keeps the contract of stores; here the real server, and what only it can go through."""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from pg_proxy import Proxy
from psycopg.conninfo import conninfo_to_dict
from shared_contract import BRISK, Place, SharedContract
from state_child import STEPS
from store_contract import (
    LATER,
    LINEAGE,
    TARGET,
    OpenStore,
    StoreContract,
    accept,
    address,
    intent_for,
    lock_info,
    put,
    run_info,
    running,
)

from reconciler.problems import StateError
from reconciler.state.journal import Outcome
from reconciler.state.lease import Times
from reconciler.state.postgres import link as postgres_link
from reconciler.state.postgres.link import Link, place_of
from reconciler.state.postgres.store import PostgresStore
from reconciler.state.snapshot import take

STRIDE = 1 if os.environ.get("CI") else 7  # of the statements to be killed at, all on CI

Opened = Callable[[str], PostgresStore]


@pytest.fixture
def opened() -> Iterator[Opened]:
    stores: list[PostgresStore] = []

    def open_at(url: str) -> PostgresStore:
        stores.append(PostgresStore(url))
        return stores[-1]

    yield open_at
    for store in stores:
        store.close()


@pytest.fixture
def url(postgres_url: str) -> str:
    return in_schema(postgres_url)


@pytest.fixture
def open_store(opened: Opened, url: str) -> OpenStore:
    return lambda: opened(url)


@pytest.fixture
def open_fresh_store(opened: Opened, postgres_url: str) -> Callable[[], OpenStore]:
    numbers = itertools.count()

    def fresh() -> OpenStore:
        url = in_schema(postgres_url, f"_{next(numbers)}")
        return lambda: opened(url)

    return fresh


def in_schema(url: str, suffix: str = "") -> str:
    return f"{url}{'&' if '?' in url else '?'}schema=s{uuid.uuid4().hex[:12]}{suffix}"


@pytest.fixture
def shared(url: str, tmp_path: Path) -> Iterator[Place]:
    place = Place(url, tmp_path)
    yield place
    place.close()


class TestPostgresStore(StoreContract, SharedContract):
    """The contracts, kept by PostgreSQL."""


@pytest.fixture
def admin(postgres_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection


def schema_of(url: str) -> str:
    return place_of(url).schema


def end_sessions(admin: psycopg.Connection, name: str) -> int:
    """End every session that calls itself so; return how many there were."""
    query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"
    return len(admin.execute(query, (name,)).fetchall())


def as_other(url: str, who: str) -> str:
    """The same place for another role, who may have brought a password."""
    return f"postgresql://{who}@{url.rpartition('@')[2]}"


def refused(error: pytest.ExceptionInfo[StateError]) -> str:
    (problem,) = error.value.problems
    return problem.code


# --- connections that drop -----------------------------------------------------------------------


def test_a_run_outlives_dropped_connections(opened: Opened, url: str, admin: psycopg.Connection) -> None:
    name = uuid.uuid4().hex
    with running(opened(f"{url}&application_name={name}")) as writer:
        for number in range(3):
            accept(writer, put(f"n{number}"), number)
            assert end_sessions(admin, name) >= 1  # that of the data, and that of the lock if it was signed meanwhile
            time.sleep(0.1)
        with pytest.raises(StateError) as error, opened(url).lock(lock_info("lock-2")):
            pytest.fail("took the lock of a run whose connection dropped")
        assert refused(error) == "state-locked"
        accept(writer, put("last"), 4)
    assert len(opened(url).fingerprints()) == 4


def test_a_connection_that_drops_amid_a_write_leaves_nothing_of_it(
    opened: Opened, url: str, admin: psycopg.Connection
) -> None:
    name = uuid.uuid4().hex

    def rows():
        yield from take(opened(url)).rows
        end_sessions(admin, name)

    with running(opened(f"{url}&application_name={name}")) as writer:
        accept(writer, put("a", "b"))
        base = opened(url).base()
        with pytest.raises(StateError) as error:
            writer.replace(type(base)(base.lineage, base.serial + 5), rows(), ())
        assert refused(error) == "state-unreachable"
        assert opened(url).base() == base
        accept(writer, put("c"), 2)
    assert len(opened(url).fingerprints()) == 3


@pytest.fixture
def proxied(postgres_url: str) -> Iterator[Callable[[str], tuple[Proxy, str]]]:
    known = conninfo_to_dict(postgres_url)
    proxies: list[Proxy] = []

    def through(url: str) -> tuple[Proxy, str]:
        proxy = Proxy(str(known.get("host") or "127.0.0.1"), int(known.get("port") or 5432))
        proxies.append(proxy)
        return proxy, f"{url}&hostaddr=127.0.0.1&port={proxy.port}&host=localhost&sslmode=disable"

    yield through
    for proxy in proxies:
        proxy.close()


@pytest.mark.parametrize("lost", ["before", "after"])
def test_a_commit_whose_answer_is_lost_is_asked_about(
    lost: str, opened: Opened, url: str, proxied: Callable[[str], tuple[Proxy, str]]
) -> None:
    proxy, through = proxied(url)
    store = PostgresStore(through, times=Times(renew=600))  # no sign of life of the lease takes the cut
    with running(store) as writer:
        proxy.cut = lost
        if lost == "after":
            ticket = accept(writer, put("a"))
            assert ticket == 1
        else:
            with pytest.raises(StateError) as error:
                accept(writer, put("a"))
            assert refused(error) == "state-unreachable"
            assert list(opened(url).journal()) == []
            accept(writer, put("a"))
        assert proxy.cuts == 1
    store.close()
    assert list(opened(url).fingerprints()) == [address("a")]


def test_a_server_that_stays_silent_is_given_up(
    postgres_url: str, proxied: Callable[[str], tuple[Proxy, str]], admin: psycopg.Connection
) -> None:
    """As a paused process does: its system confirms what it receives, so that no timeout of the network notices."""
    proxy, through = proxied(in_schema(postgres_url))
    link = Link(place_of(through), silent_seconds=0.5)
    proxy.open.clear()
    with pytest.raises(psycopg.OperationalError, match="silent"):
        link.execute("SELECT 1")
    proxy.open.set()
    assert link.broken
    assert not link.in_transaction


def test_a_table_that_somebody_locked_keeps_nobody_for_ever(
    opened: Opened, url: str, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_link, "LOCK_SECONDS", 1)
    store = opened(url)
    with running(store) as writer:
        accept(writer, put("a"))
        with psycopg.connect(postgres_url) as other:
            other.execute(f"LOCK TABLE {schema_of(url)}.resources")
            with pytest.raises(StateError) as error:
                accept(writer, put("b"), 2)
            assert refused(error) == "state-busy"
        accept(writer, put("c"), 3)
    assert list(store.fingerprints()) == [address("a"), address("c")]
    assert [[covered for covered, _ in entry.intent.covers] for entry in store.unsettled()] == [[address("b")]]


def test_a_session_is_left_as_it_was_found(postgres_url: str) -> None:
    """Behind a connection pool the next transaction of a session may be another client's, of another state."""
    names = ("search_path", "lock_timeout", "idle_in_transaction_session_timeout", "synchronous_commit")
    with psycopg.connect(postgres_url, autocommit=True) as other:
        before = [other.execute(f"SHOW {name}").fetchone() for name in names]
    link = Link(place_of(in_schema(postgres_url)))
    link.begin(idle_seconds=9)
    assert [link.execute(f"SHOW {name}").fetchone() for name in names] != before
    link.execute("COMMIT")
    assert [link.execute(f"SHOW {name}").fetchone() for name in names] == before
    assert not link.pooled
    link.close()


# --- moments and transactions ---------------------------------------------------------------------


def test_who_reads_may_take_longer_than_a_lease(url: str) -> None:
    store = PostgresStore(url, times=Times(lease=1, renew=0.2, missed=0.8))
    with running(store) as writer:
        accept(writer, put("a"))
    with store.reading():
        store.base()
        time.sleep(2.5)
        assert list(store.fingerprints()) == [address("a")]
    store.close()


def test_a_read_amid_a_write_is_part_of_it(opened: Opened, url: str) -> None:
    store = opened(url)
    with running(store) as writer:
        accept(writer, put("a", "b"))
        base = store.base()

        def rows():
            yield from store.rows()
            assert opened(url).base() == base

        writer.replace(type(base)(base.lineage, base.serial + 5), rows(), ())
    assert store.base().serial == base.serial + 5
    assert list(store.fingerprints()) == [address("a"), address("b")]


# --- holders that go -----------------------------------------------------------------------------


def test_a_killed_holder_of_another_machine_is_missed_when_its_session_ended(shared: Place) -> None:
    times = Times(lease=600, renew=0.2, missed=1)
    with shared.holder(times) as child:
        with psycopg.connect(shared.url.partition("?")[0], autocommit=True) as admin:
            child.kill()
            child.wait()
            admin.execute(f"UPDATE {schema_of(shared.url)}.lease SET place = 'another machine'")
        start = time.monotonic()
        with shared(times).lock(lock_info(), timeout=60):
            assert time.monotonic() - start < 30
            assert shared(times).base().serial == 0


def test_a_holder_paused_amid_a_transaction_holds_nobody_up(shared: Place, admin: psycopg.Connection) -> None:
    """The server ends a transaction that is left alone, and whoever waits for it goes on."""
    times = Times(lease=1, renew=600, missed=1)
    with shared(times).lock(lock_info()) as writer:
        writer.begin_run(run_info("paused"), TARGET, lambda: LINEAGE)

        def rows():
            time.sleep(4)  # amid the transaction, which has looked at the fence
            yield from ()

        def take_over() -> float:
            start = time.monotonic()
            with shared(times).lock(lock_info("lock-2"), timeout=60):
                return time.monotonic() - start

        waited: list[float] = []
        other = threading.Thread(target=lambda: waited.append(take_over()))
        other.start()
        with pytest.raises(StateError) as error:
            writer.replace(type(shared().base())("another", 99), rows(), ())
        assert refused(error) == "state-unreachable"
        other.join(60)
    assert waited and waited[0] < 30
    assert shared().base().serial == 0


def test_a_standby_that_missed_the_taking_of_the_lock_knows_the_holder_no_more(
    url: str, opened: Opened, admin: psycopg.Connection
) -> None:
    """It took over without the last transactions, and whoever takes the lock there gets the same numbers."""
    late = PostgresStore(url, times=Times(renew=0.2))
    with running(late) as writer:
        accept(writer, put("a"))
    schema = schema_of(url)
    admin.execute(f"CREATE TABLE {schema}.lease_before AS TABLE {schema}.lease")
    admin.execute(f"CREATE TABLE {schema}.fence_before AS TABLE {schema}.fence")
    with late.lock(lock_info("late")) as lost:
        lost.begin_run(run_info("late"), TARGET, lambda: LINEAGE)
        for table in ("lease", "fence"):
            admin.execute(f"DELETE FROM {schema}.{table}")
            admin.execute(f"INSERT INTO {schema}.{table} TABLE {schema}.{table}_before")
        admin.execute(f"DELETE FROM {schema}.runs WHERE id = 'late'")
        with opened(url).lock(lock_info("next")) as writer:
            writer.begin_run(run_info("next"), TARGET, lambda: LINEAGE)
            with pytest.raises(StateError) as error:
                accept(lost, put("b"), 5)
            assert refused(error) == "lock-lost"
            time.sleep(1)  # signs of life of the one must not count for the other
            accept(writer, put("c"), 6)
            writer.end_run(at=LATER, result="done")
    late.close()
    assert list(opened(url).fingerprints()) == [address("a"), address("c")]
    assert opened(url).check() == ()


def test_killed_at_every_statement_the_state_is_that_after_some_step(shared: Place, tmp_path: Path) -> None:
    """Each child dies before one of its statements, or after a commit; the next one takes over and goes on."""
    whole = Place(in_schema(shared.url.partition("?")[0]), tmp_path / "whole")
    whole.folder.mkdir()
    states = []
    with whole().lock(lock_info()) as writer:
        tickets: list[int] = []
        states.append(take(whole()))
        for step in STEPS:
            step(writer, tickets)
            states.append(take(whole()))
    whole.close()
    folder = tmp_path / "killed"
    folder.mkdir()
    kills = 0
    child = shared.child("killed", STRIDE, replica=folder, url=in_schema(shared.url.partition("?")[0]))
    for line in child.communicate(timeout=600)[0].splitlines():
        found = json.loads(line)
        place = Place(found["url"], folder)
        assert take(place()) in states[found["steps"] : found["steps"] + 2], found
        assert place().check() == ()
        with running(place(BRISK), "next") as writer:
            accept(writer, put("next"), 90)
        place.close()
        kills += not found["ended"]
    assert child.returncode == 0
    assert kills * STRIDE > 200


# --- what is refused -----------------------------------------------------------------------------


def test_a_role_that_may_only_read_plans_and_does_not_write(
    opened: Opened, url: str, admin: psycopg.Connection, postgres_url: str
) -> None:
    with running(opened(url)) as writer:
        accept(writer, put("a"))
    schema, role = schema_of(url), f"r{uuid.uuid4().hex[:10]}"
    admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'canary-of-a-password'")
    admin.execute(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    admin.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}")
    as_role = as_other(url, f"{role}:canary-of-a-password")
    store = opened(as_role)
    assert list(store.fingerprints()) == [address("a")]
    with pytest.raises(StateError) as error, store.lock(lock_info()):
        pytest.fail("locked by a reader")
    assert refused(error) == "state-access-denied"
    assert "canary" not in str(error.value) + store.where + json.dumps([str(p) for p in error.value.problems])


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("postgresql://u:canary@127.0.0.1:1/none", "state-unreachable"),
        ("postgresql://u:canary@h/d?schema=Not%20One", "state-url"),
        ("postgresql://u:canary@h/d?schema=pg_catalog", "state-url"),
        ("postgresql://u:canary@h/d?sslmod=require", "state-url"),
        ("postgresql://u:canary@127.0.0.1:port/d", "state-unreachable"),
        ("postgresql://u:canary@a..b/d", "state-unreachable"),
        ("postgresql://u:canary@[::1/d", "state-url"),
        ("postgresql://u:half/canary@h/d", "state-url"),
        ("postgresql://u:half#canary@h/d", "state-url"),
        ("postgresql://u:half?canary@h/d", "state-url"),
    ],
)
def test_where_it_leads_nowhere_it_says_so_without_the_password(url: str, code: str) -> None:
    with pytest.raises(StateError) as error:
        PostgresStore(url).base()
    assert refused(error) == code
    assert "canary" not in repr(error.value.problems)
    assert error.value.__cause__ is None


def test_what_leads_to_a_place_is_not_shown() -> None:
    place = place_of("postgresql://u:canary@h1:1,h2:2/d?password=canary")
    assert "canary" not in repr(place) + place.shown
    assert place_of("postgresql:///d?host=/run/postgresql&user=u").shown == "postgresql:///d?schema=reconciler"


def test_a_schema_may_have_the_name_of_a_word_of_sql(opened: Opened, postgres_url: str) -> None:
    store = opened(f"{postgres_url}?schema=user")
    with running(store) as writer:
        accept(writer, put("a"))
    assert list(store.fingerprints()) == [address("a")]


def test_a_later_format_is_left_untouched(opened: Opened, url: str, admin: psycopg.Connection) -> None:
    with running(opened(url)) as writer:
        accept(writer, put("a"))
    admin.execute(f"UPDATE {schema_of(url)}.meta SET value = '99' WHERE key = 'format'")
    for ask in (PostgresStore.base, PostgresStore.fingerprints, PostgresStore.runs):
        with pytest.raises(StateError) as error:
            ask(opened(url))
        assert refused(error) == "state-newer-version"
    with pytest.raises(StateError) as error, opened(url).lock(lock_info()):
        pytest.fail("locked what a later one wrote")
    assert refused(error) == "state-newer-version"


def test_damage_is_told(opened: Opened, url: str, admin: psycopg.Connection) -> None:
    with running(opened(url)) as writer:
        accept(writer, put("a"))
    admin.execute(f"DELETE FROM {schema_of(url)}.shared_docs")
    with pytest.raises(StateError) as error:
        list(opened(url).rows())
    assert refused(error) == "state-corrupt"
    assert [problem.code for problem in opened(url).check()] == ["state-corrupt"]


def test_tables_that_go_amid_a_run_are_missed(opened: Opened, url: str, admin: psycopg.Connection) -> None:
    with opened(url).lock(lock_info()) as writer:
        writer.begin_run(run_info(), TARGET, lambda: LINEAGE)
        admin.execute(f"DROP SCHEMA {schema_of(url)} CASCADE")
        with pytest.raises(StateError):
            accept(writer, put("a"))


def test_commits_are_durable_where_the_server_would_not_wait(postgres_url: str, admin: psycopg.Connection) -> None:
    admin.execute(f'ALTER DATABASE "{admin.info.dbname}" SET synchronous_commit = off')
    link = Link(place_of(postgres_url))
    link.begin(idle_seconds=9)
    assert link.execute("SHOW synchronous_commit").fetchone() == ("on",)
    link.close()


def test_addresses_are_sorted_by_their_bytes_in_any_locale(opened: Opened, url: str) -> None:
    names = ["a", "B", "ä", "Z", "\N{GRINNING FACE}", "~", "_"]
    with running(opened(url)) as writer:
        accept(writer, put(*names))
        ticket = writer.intent(intent_for(put("x"), 2))
        writer.settle(ticket, Outcome.UNKNOWN, at=LATER, detail="a reply with \0 in it")
    assert list(opened(url).fingerprints()) == sorted(address(name) for name in names)
    assert [row.address for row in opened(url).rows()] == sorted(address(name) for name in names)
