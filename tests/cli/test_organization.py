"""A company's whole organization from its manifests to who sees what, and what its everyday edits do to that.

Who should see what comes from the generator (`tests.organization`), which evaluates nothing as the reconciler
does; the emulator, which shares no code with either, is asked as well. The organization is generated and applied
once, and each story works on a copy of its folder.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from reconciler.emulator.options import EmulatorOptions, ProviderOptions, SourceOptions
from reconciler.emulator.server import BackgroundEmulator
from tests.builders import KEY, Ran, run_here
from tests.organization import (
    DIVISIONS,
    EMAIL,
    ORGANIZATION_ID,
    PROVIDERS,
    SOURCES,
    Company,
    Organization,
    Rule,
    write_organization,
)


@dataclass(frozen=True, slots=True)
class Estate:
    """A folder of the organization to run commands on, and what the organization is."""

    root: Path
    organization: Organization
    said: dict[str, Ran]
    """What the commands said that pushed it."""

    @property
    def company(self) -> Company:
        return self.organization.company

    def run(self, *arguments: str, code: int = 0) -> Ran:
        ran = run_here("-C", str(self.root), *arguments)
        assert ran.code == code, f"exit code {ran.code}\n{ran.out}\n{ran.err}"
        return ran

    def access(self, *arguments: str) -> Any:
        return self.run("access", *arguments, "--format", "json").json

    def edit(self, name: str, before: str, after: str) -> None:
        """Replace the one place of a manifest that reads like this."""
        path = self.root / name
        text = path.read_text(encoding="utf-8")
        assert text.count(before) == 1, f"{text.count(before)} places of {name} read {before!r}"
        path.write_text(text.replace(before, after), encoding="utf-8")

    def planned(self, *options: str, code: int = 0) -> Planned:
        """Return what a plan says of access."""
        return Planned(self.run("plan", "--format", "json", *options, code=code).json["access"])

    def seen_by(self, person: str) -> set[str]:
        """Return what the emulator would show somebody."""
        with emulated(self.root) as ask:
            return {item["uri"] for item in ask("visible", provider=EMAIL, type="USER", name=person)["items"]}


@dataclass(frozen=True, slots=True)
class Planned:
    """What a plan says of access."""

    document: dict[str, Any]

    def counts(self, side: str) -> tuple[int, int, int]:
        """Return how many people, items and pairs of both a plan says are gained or lost."""
        totals = self.document["totals"]
        return totals[f"people_{side}"], totals[f"items_{side}"], totals[f"pairs_{side}"]

    def people(self, side: str) -> set[str]:
        """Return the people whom it names, by their addresses."""
        start = f"user/{EMAIL}/"
        named = {name for entry in self.document[side] for name in entry["identities"]}
        return {name.removeprefix(start) for name in named if name.startswith(start)}

    def hazards(self) -> set[str]:
        return {hazard["name"] for hazard in self.document["hazards"]}

    def causes(self, side: str) -> set[str]:
        return {address for entry in self.document[side] for address in entry["because"]}


def counted(pairs: Iterable[tuple[str, str]]) -> tuple[int, int, int]:
    """Return how many people, items and pairs these are."""
    pairs = list(pairs)
    return len({person for person, _ in pairs}), len({uri for _, uri in pairs}), len(pairs)


@pytest.fixture(scope="session")
def organization(tmp_path_factory: pytest.TempPathFactory) -> Organization:
    return write_organization(tmp_path_factory.mktemp("organization"))


@pytest.fixture(scope="session")
def applied(organization: Organization) -> Estate:
    """The organization, checked, planned and pushed. No test changes anything in it."""
    estate = Estate(organization.folder, organization, {})
    plan = str(estate.root / ".reconciler" / "plan.json")
    for command in (("validate",), ("test",), ("plan", "--format", "json", "--out", plan), ("apply", plan)):
        options = ("--auto-approve", "--detail", "none") if command[0] == "apply" else ()
        estate.said[command[0]] = estate.run(*command, *options)
    return estate


@pytest.fixture
def estate(applied: Estate, tmp_path: Path) -> Iterator[Estate]:
    """A copy of the organization, pushed, to change and to apply."""
    root = tmp_path / "organization"
    shutil.copytree(applied.root, root)
    yield replace(applied, root=root)
    shutil.rmtree(root)


@pytest.fixture(scope="session")
def people(organization: Organization) -> dict[str, str]:
    """One person of every kind."""
    cast = organization.cast
    return {
        "member of the board": cast.board_member,
        "developer": cast.developer,
        "contractor": cast.contractor,
        "writer of the wiki": cast.wiki_writer,
        "guest of the wiki": cast.guest,
    }


@contextmanager
def emulated(root: Path) -> Iterator[Callable[..., Any]]:
    """Serve what a folder's embedded emulator holds, and give a way to ask it what it would let be seen."""
    options = EmulatorOptions(
        organizations=(ORGANIZATION_ID,),
        sources=tuple(
            SourceOptions(identifier, "SHARED" if visibility == "SHARED" else "SECURED", PROVIDERS.get(provider or ""))
            for identifier, visibility, provider in SOURCES.values()
        ),
        providers=tuple(ProviderOptions(identifier) for identifier in PROVIDERS.values()),
        api_key=KEY,
        data_dir=root / ".reconciler" / "emulator",
    )
    with (
        BackgroundEmulator(options) as emulator,
        httpx.Client(base_url=emulator.url, trust_env=False, timeout=60) as client,
    ):
        yield lambda what, /, **query: client.get(f"/_emulator/{what}", params=query).raise_for_status().json()


# The whole job


def test_the_whole_organization_is_valid_tested_planned_and_pushed(applied: Estate) -> None:
    company = applied.company
    in_directory = [person for person in company.people if not person.endswith("university.example")]
    identities = len(company.groups) + len(company.groups["FireWardens"]) + len(in_directory) + len(company.accounts)
    resources = len(company.items) + identities

    files = len(list(applied.root.rglob("*.yaml")))
    assert (applied.said["validate"].out, applied.said["validate"].err) == (
        f"Valid: {resources:,} resources in {files} files.\n",
        "",
    )
    assert applied.said["test"].out.splitlines() == [
        "11 access tests: 11 passed, 0 failed",
        "No test speaks of 0 of 10,000 items and 0 of 1,206 people",
    ]
    plan = applied.said["plan"].json
    assert plan["summary"] == {"create": resources, "update": 0, "delete": 0, "no_op": 0}
    first = Planned(plan["access"])
    pairs = sum(len(company.viewers(uri)) for uri in company.items)
    assert first.counts("gained") == (len(company.people), len(company.items), pairs)
    assert (first.counts("lost"), first.hazards()) == ((0, 0, 0), set())
    assert first.document["tests"] == {"run": 11, "failed": 0}
    assert "0 failed, 0 unknown, 0 not started" in applied.said["apply"].err
    again = applied.run("plan", "--detail", "none").out
    assert f"No changes. {resources:,} resources are as recorded; no call is needed.\n" in again


def test_the_organization_is_the_same_each_time(organization: Organization, tmp_path: Path) -> None:
    again = write_organization(tmp_path)

    assert (again.company, again.cast) == (organization.company, organization.cast)
    written = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert len(written) > 100
    for name in written:
        assert (tmp_path / name).read_bytes() == (organization.folder / name).read_bytes(), name


# Who sees what


def test_everybody_sees_what_the_company_means_them_to(applied: Estate, people: dict[str, str]) -> None:
    with emulated(applied.root) as ask:
        for kind, person in people.items():
            expected = applied.company.seen_by(person)
            told = applied.access("what", f"user:{person}", "--provider", EMAIL, "--list")
            listed = {address.split("/", 2)[2] for address in told["items"]}
            assert listed == expected, kind
            by_source = {entry["source"]: entry["items"] for entry in told["sources"]}
            wanted = {name: sum(applied.company.items[uri].source == name for uri in expected) for name in SOURCES}
            assert by_source == wanted, kind
            visible = ask("visible", provider=EMAIL, type="USER", name=person)["items"]
            assert {item["uri"] for item in visible} == expected, kind
        assert {item["uri"] for item in ask("visible")["items"]} == {
            uri for uri, item in applied.company.items.items() if item.source == "blog"
        }


@pytest.mark.parametrize(("name", "side"), [("secret_item", "desired"), ("record", "recorded")])
def test_an_item_is_seen_by_whom_the_company_means(applied: Estate, name: str, side: str) -> None:
    uri = getattr(applied.organization.cast, name)
    expected = applied.company.viewers(uri)

    told = applied.access("who", uri, "--of", side)

    assert told["viewers"] == sorted(f"user:{person}" for person in expected)
    assert (told["anonymous"], told["unresolved"]) == (False, [])
    with emulated(applied.root) as ask:
        users = ask("viewers", source=SOURCES[applied.company.items[uri].source][0], uri=uri)["users"]
    seeing = {(user["securityProvider"], user["identity"]) for user in users if user["decision"] == "ALLOWED"}
    assert {name for place, name in seeing if place == PROVIDERS["corp"]} == expected
    assert {name for place, name in seeing if place == EMAIL} == expected


def test_what_is_in_the_wiki_is_seen_by_its_own_accounts(applied: Estate) -> None:
    company, cast = applied.company, applied.organization.cast
    uri = next(uri for uri, item in company.items.items() if item.model == "open-source")

    told = applied.access("who", uri)

    assert told["viewers"] == sorted(f"user:{company.accounts[person]}" for person in company.viewers(uri))
    assert f"user:{company.accounts[cast.guest]}" in told["viewers"]


def test_the_board_sees_a_record_by_the_first_level_and_human_resources_by_the_second(applied: Estate) -> None:
    cast = applied.organization.cast

    board = applied.access("why", f"user:{cast.board_member}", cast.record)
    council = applied.access("why", f"user:{cast.council_member}", cast.record)
    partner = applied.access("why", f"user:{cast.hr_partner}", cast.record)

    assert (board["allowed"], board["decided_by"]["level"], board["decided_by"]["outcome"]) == (True, 1, "allowed")
    assert (partner["allowed"], partner["decided_by"]["level"]) == (True, 2)
    assert (council["allowed"], council["decided_by"]["level"], council["decided_by"]["outcome"]) == (
        False,
        2,
        "denied",
    )


def test_five_groups_and_an_alias_are_between_a_person_and_a_page(applied: Estate) -> None:
    company, cast = applied.company, applied.organization.cast
    squad = next(name for name, members in company.groups.items() if name.count("-") == 2 and cast.outsider in members)
    department, team, _ = squad.split("-")
    division = next(name for name, members in company.groups.items() if department in members)

    asked = ("why", f"user:{cast.outsider}", cast.page, "--provider", EMAIL)
    chain = applied.access(*asked)["chain"]
    shown = applied.access(*asked, "--of", "remote")

    way = [squad, f"{department}-{team}", department, division, "Company"]
    assert [step["to"].split("/", 2)[2] for step in chain] == [cast.outsider, *way]
    assert [step["how"] for step in chain] == ["alias", *["member of"] * 5]
    assert (shown["allowed"], shown["chain"]) == (True, chain)


def test_who_says_so_themselves_is_in_the_virtual_group(applied: Estate) -> None:
    company = applied.company
    uri = next(uri for uri, item in company.items.items() if item.model == "wardens")
    facilities = company.people_in("Facilities")
    warden = next(person for person in company.groups["FireWardens"] if person not in facilities)

    chain = applied.access("why", f"user:{warden}", uri)["chain"]

    assert chain == [{"from": f"user/corp/{warden}", "how": "well-known", "to": "virtual-group/corp/FireWardens"}]


# What everyday edits do to it


def test_a_line_in_a_group_is_planned_allowed_applied_and_taken_back(estate: Estate) -> None:
    before = estate.company
    after = before.with_group("project-apollo", more=["Payroll"])
    gained = after.gained_from(before)
    people, items, pairs = counted(gained)
    person = min(person for person, _ in gained)
    path = estate.root / "projects/apollo/apollo.yaml"
    path.write_text(path.read_text().replace("    members:\n", "    members:\n      - group:Payroll\n", 1))
    plan, back = str(estate.root / "plan.json"), str(estate.root / "back.json")

    text = estate.run("plan", "--allow", "widened-access:item/projects", "--out", plan).out
    planned = Planned(json.loads(Path(plan).read_text())["access"])
    refused = estate.run("apply", "--auto-approve", code=1)

    assert people > 20 and items > 500
    assert f"{people} users gain sight of {items} items ({pairs:,} in pairs of both)" in text
    assert "because of group/corp/project-apollo: now group:Payroll member of group:project-apollo" in text
    assert (planned.counts("gained"), planned.counts("lost")) == ((people, items, pairs), (0, 0, 0))
    assert planned.causes("gained") == {"group/corp/project-apollo"}
    assert planned.people("gained") == {person for person, _ in gained}
    assert "error[hazard-widened-access]" in refused.err

    told = estate.run("apply", plan, "--auto-approve", "--refresh-identities").err
    assert "0 failed, 0 unknown, 0 not started" in told
    assert "1 identity change of corp accepted; takes effect as soon as the refresh that was triggered is done." in told
    assert estate.seen_by(person) == after.seen_by(person)

    estate.run("rollback", "--access-only", "--out", back)
    estate.run("apply", back, "--auto-approve")
    assert estate.seen_by(person) == before.seen_by(person)
    assert estate.planned().counts("gained") == (people, items, pairs)


def test_a_team_that_moves_loses_the_old_place_and_gains_the_new_one(estate: Estate) -> None:
    before = estate.company
    # A project names the team, so that the team sees its secrets, too, once it is cleared as all of Platform is.
    named = {name for group, members in before.groups.items() if group.startswith("project-") for name in members}
    department, team = next(
        (department, name)
        for department in DIVISIONS["Sales"]
        for name in before.groups[department]
        if name in named and name in before.groups
    )
    after = before.with_group(department, fewer=[team]).with_group("Platform", more=[team])
    gained, lost = after.gained_from(before), before.gained_from(after)
    estate.edit("people/sales.yaml", f"      - group:{team}\n", "")
    estate.edit(
        "people/engineering.yaml",
        "- name: Platform\n    members:\n",
        f"- name: Platform\n    members:\n      - group:{team}\n",
    )

    planned = estate.planned()

    assert planned.counts("gained") == counted(gained)
    assert planned.counts("lost") == counted(lost)
    assert {person for person, _ in lost} == before.people_in(team)
    assert any(before.items[uri].classification == "secret" for _, uri in gained)
    assert planned.hazards() == {"widened-access"}
    assert planned.causes("gained") == {"group/corp/Platform"}
    assert planned.causes("lost") == {f"group/corp/{department}"}


def test_a_deny_that_is_removed_lets_in_whom_the_allow_names(estate: Estate) -> None:
    before = estate.company
    after = replace(before, models={**before.models, "apollo-inside": ((Rule(("project-apollo",)),),)})
    gained = after.gained_from(before)
    rule = "apollo-inside: {allowed: [group:project-apollo]"
    estate.edit("projects/apollo/apollo.yaml", f"{rule}, denied: [group:Contractors]}}", f"{rule}}}")

    planned = estate.planned()

    assert planned.counts("gained") == counted(gained)
    assert {person for person, _ in gained} == before.people_in("Contractors") & before.people_in("project-apollo")
    assert planned.people("gained") == {person for person, _ in gained}
    assert planned.hazards() == {"deny-removed", "widened-access"}


def test_a_model_that_is_made_public_opens_its_items_to_whoever_did_not_log_in(estate: Estate) -> None:
    before = estate.company
    estate.edit(
        "projects/apollo/apollo.yaml", "  apollo: {allowed: [group:project-apollo]}", "  apollo: {anonymous: true}"
    )
    items = [uri for uri, item in before.items.items() if item.model == "apollo"]

    plan = str(estate.root / "plan.json")
    page = estate.run("plan", "--format", "html", "--out", plan, code=1).out
    saved = json.loads(Path(plan).read_text())
    planned = Planned(saved["access"])

    outside = before.people.keys() - before.people_in("project-apollo")
    assert planned.counts("gained") == (len(outside), len(items), len(outside) * len(items))
    hazards = {hazard["name"]: hazard for hazard in planned.document["hazards"]}
    assert hazards["item-public"]["items"] == len(items)
    assert (saved["access"]["tests"], [problem["line"] for problem in saved["problems"]]) == (
        {"run": 11, "failed": 2},
        [4, 13],
    )
    assert f"{len(outside):,} users gain sight of {len(items)} items" in page
    assert "item-public:item/projects" in page and "access-test-failed" in page


def test_papers_that_nobody_sees_any_more_are_named(estate: Estate) -> None:
    before = estate.company
    estate.edit("handbook/handbook.yaml", "board-papers: {allowed: [group:Board]}", "board-papers: {allowed: []}")
    papers = {uri for uri, item in before.items.items() if item.model == "board-papers"}

    planned = estate.planned()

    assert planned.counts("lost") == counted((person, uri) for uri in papers for person in before.viewers(uri))
    assert planned.hazards() == {"item-unseen"}


def test_who_joins_a_group_sees_for_no_moment_what_leaves_it(estate: Estate) -> None:
    before = estate.company
    joined = before.with_group("project-apollo", more=["Payroll"])
    after = replace(joined, models={**before.models, "apollo": ((Rule(("Board",)),),)})
    gained = after.gained_from(before)
    path = estate.root / "projects/apollo/apollo.yaml"
    path.write_text(path.read_text().replace("    members:\n", "    members:\n      - group:Payroll\n", 1))
    estate.edit(
        "projects/apollo/apollo.yaml", "apollo: {allowed: [group:project-apollo]}", "apollo: {allowed: [group:Board]}"
    )

    # The project's own members are to see what is shared in it, says a test that must go along.
    plan = estate.run("plan", "--format", "json", code=1).json

    assert Planned(plan["access"]).counts("gained") == counted(gained)
    # Usually identities come first: here Payroll would have seen the project's items until these are put.
    kinds = [call["kind"] for call in plan["calls"]]
    assert [kind.split("-")[0] for kind in kinds] == ["item", "identity"], kinds
    assert (plan["access"]["order"]["checked"], plan["access"]["order"]["transients"]) == (True, [])


def test_a_contractor_s_time_ends_by_itself(estate: Estate) -> None:
    before, contractor = estate.company, estate.organization.cast.contractor
    lost = before.gained_from(before.with_group("project-apollo", fewer=[contractor]))
    member = f"      - user:{contractor}\n"
    estate.edit("projects/apollo/apollo.yaml", member, f"      - {{user: {contractor}, expires: 2027-01-31}}\n")

    soon = estate.planned("--as-of", "2027-01-15", "--expiring-within", "30")
    over = estate.planned("--as-of", "2027-02-01")

    assert [(entry["entry"], entry["state"]) for entry in soon.document["expiring"]] == [
        (f"user/corp/{contractor}", "lapses")
    ]
    assert [entry["state"] for entry in over.document["expiring"]] == ["lapsed-live"]
    assert over.counts("lost") == counted(lost)


def test_a_pull_request_says_whom_it_lets_see_what(estate: Estate) -> None:
    before, guest = estate.company, estate.organization.cast.guest
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@example.com", "-C", str(estate.root))
    for command in (("init", "--quiet"), ("add", "--all"), ("commit", "--quiet", "--message", "m")):
        subprocess.run([*git, *command], check=True)
    after = before.with_group("wiki-research", more=[guest])
    estate.edit(
        "wiki/accounts.yaml",
        "  - name: wiki-research\n    members:\n",
        f"  - name: wiki-research\n    members:\n      - user:{before.accounts[guest]}\n",
    )

    found = Planned(estate.access("diff", "--from", "HEAD"))

    assert found.counts("gained") == counted(after.gained_from(before))
    assert found.people("gained") == {guest}


def test_a_member_whom_nobody_can_log_in_as_is_found_before_anything_happens(estate: Estate) -> None:
    path = estate.root / "projects/apollo/apollo.yaml"
    path.write_text(path.read_text().replace("    members:\n", "    members:\n      - user:new@example.com\n", 1))

    ran = estate.run("validate")

    assert "projects/apollo/apollo.yaml:5:9: warning[member-without-alias]" in ran.err
    assert "0 errors, 1 warning" in ran.err


def test_a_person_who_leaves_no_longer_sees_what_their_groups_saw(estate: Estate) -> None:
    before, leaver = estate.company, estate.organization.cast.outsider
    seen = before.seen_by(leaver)
    # The address keeps what its domain sees, and the name in the directory what its groups see.
    by_domain = {uri for uri in seen if before.items[uri].model in ("", "welcome")}
    by_groups = {uri for uri in seen if before.items[uri].model != "welcome"}
    alias = f"  - {{of: user:{leaver}, is: [{{provider: {EMAIL}, identity: user:{leaver}}}]}}\n"
    estate.edit("people/mail.yaml", alias, "")

    planned = estate.planned()
    told = estate.access("what", f"user:{leaver}", "--provider", EMAIL, "--list")

    assert {address.split("/", 2)[2] for address in told["items"]} == by_domain
    lost = len(seen - (by_domain & by_groups))
    assert planned.counts("lost") == (1, lost, lost)
    assert planned.counts("gained") == (0, 0, 0)
    assert planned.causes("lost") == {f"alias/corp/user:{leaver}"}


def test_who_is_of_the_wiki_alone_sees_more_of_it_and_nothing_else(estate: Estate) -> None:
    before, guest = estate.company, estate.organization.cast.guest
    after = before.with_group("wiki-research", more=[guest])
    account = before.accounts[guest]
    estate.edit(
        "wiki/accounts.yaml",
        "  - name: wiki-research\n    members:\n",
        f"  - name: wiki-research\n    members:\n      - user:{account}\n",
    )

    told = estate.access("what", f"user:{account}", "--provider", "wiki", "--list")
    planned = estate.planned()

    assert {address.split("/", 2)[2] for address in told["items"]} == after.seen_by(guest)
    assert {before.items[uri].source for uri in after.seen_by(guest)} == {"wiki", "blog"}
    assert planned.counts("gained") == counted(after.gained_from(before))
    assert planned.people("gained") == {guest}
