"""A company's whole search organization, generated: what a team would lay out, of the size that a company has.

Divisions hold departments, departments teams, teams squads; projects cut across them. People are users of the
directory `corp`, many also of a wiki that calls them otherwise, all aliased into the email provider. `Company`
says who sees what, by sets of people and nothing else: it shares no code with what it is held against. The same
arguments give the same bytes.
"""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

EMAIL = "Email Security Provider"
ORGANIZATION_ID = "acmeproductionx7k2"
SOURCES = {
    "handbook": ("acmehandbook1", "SECURED", "corp"),
    "projects": ("acmeprojects2", "SECURED", "corp"),
    "hr": ("acmehr3", "SECURED", "corp"),
    "wiki": ("acmewiki4", "SECURED", "wiki"),
    "blog": ("acmeblog5", "SHARED", None),
}
PROVIDERS = {"corp": "acmedirectory", "wiki": "acmewikiaccounts"}

DIVISIONS = {
    "Engineering": ("Platform", "Search", "Apps", "Data", "Quality"),
    "Sales": ("Americas", "Europe", "Asia", "Partners"),
    "Operations": ("Facilities", "IT", "Logistics"),
    "Finance": ("Accounting", "Controlling", "Procurement"),
    "People": ("HR", "Talent", "Payroll"),
}
TEAMS = ("Core", "North", "South", "Service", "Planning", "Tools")
SQUADS = ("Heron", "Otter", "Lynx", "Wren")
PROJECTS = (
    *("apollo", "borealis", "cascade", "delta", "everest", "falcon", "galileo", "horizon", "iris", "juniper"),
    *("kestrel", "lumen", "meridian", "nimbus", "orchid", "phoenix", "quartz", "raven", "sierra", "tundra"),
    *("umbra", "vega", "willow", "xenon", "yukon", "zephyr", "atlas", "beacon", "comet", "dynamo"),
)
SPACES = ("how-to", "architecture", "runbooks", "onboarding", "open-source", "research", "design", "events")
FIRST = (
    *("Ada", "Alan", "Amir", "Anna", "Ben", "Carla", "Chen", "Clara", "Dana", "David", "Elif", "Emma", "Erik"),
    *("Farah", "Felix", "Grace", "Hugo", "Ida", "Ines", "Ivan", "Jana", "Jonas", "Kofi", "Lara", "Leo", "Lin"),
    *("Maria", "Max", "Mila", "Nadia", "Nina", "Noah", "Olga", "Omar", "Paul", "Priya", "Rosa", "Sam", "Tara", "Yuki"),
)
LAST = (
    *("Abel", "Adler", "Bauer", "Berg", "Costa", "Cruz", "Diaz", "Dubois", "Evans", "Fischer", "Garcia", "Haas"),
    *("Ito", "Jansen", "Kaya", "Keller", "Kim", "Lang", "Lopez", "Meyer", "Moreau", "Nagy", "Novak", "Okafor"),
    *("Park", "Patel", "Peters", "Quinn", "Rossi", "Sato", "Schmidt", "Silva", "Singh", "Tanaka", "Varga", "Wolf"),
)
WORDS = (
    *("the", "of", "and", "to", "a", "in", "we", "for", "team", "is", "release", "plan", "customer", "review", "with"),
    *("budget", "on", "incident", "travel", "index", "policy", "search", "query", "office", "process", "contract"),
    *("quarter", "service", "training", "question", "answer", "before", "after", "every", "change", "support"),
)
EMPLOYEES, CONTRACTORS, GUESTS = 1_080, 120, 6
"""People of the company, people whom agencies send, and people who have an account of the wiki and nothing else."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One permission set: names of people (by their address), of groups, and domains as `*@example.com`."""

    allowed: tuple[str, ...]
    denied: tuple[str, ...] = ()


Model = tuple[tuple[Rule, ...], ...]
"""Levels of sets."""


@dataclass(frozen=True, slots=True)
class Item:
    """One item; `model` is the name of its permission model, empty where everybody sees it."""

    uri: str
    source: str
    title: str
    model: str
    classification: str
    text: str


@dataclass(frozen=True)
class Company:
    """Who is in which group, which model lets whom in, which item has which model.

    People are their addresses. `groups` of all providers are in one mapping, by names that no two share;
    `accounts` gives what the wiki calls some of the people. A changed company is `dataclasses.replace`d.
    """

    people: Mapping[str, str]
    accounts: Mapping[str, str]
    groups: Mapping[str, tuple[str, ...]]
    models: Mapping[str, Model]
    items: Mapping[str, Item]

    def people_in(self, name: str) -> frozenset[str]:
        """Return the people that a person's, group's or domain's name stands for."""
        if name.startswith("*@"):
            return frozenset(person for person in self.people if person.endswith(name[1:]))
        if name not in self.groups:
            return frozenset({name})
        if name not in self._expanded:
            self._expanded[name] = frozenset().union(*map(self.people_in, self.groups[name]))
        return self._expanded[name]

    @cached_property
    def _expanded(self) -> dict[str, frozenset[str]]:
        return {}

    @cached_property
    def _viewers(self) -> dict[str, frozenset[str]]:
        return {"": frozenset(self.people)}

    def viewers_by(self, model: str) -> frozenset[str]:
        """Return whom a model lets in: the first level that says something of a person decides."""
        if model not in self._viewers:
            seen: frozenset[str] = frozenset()
            decided: frozenset[str] = frozenset()
            for level in self.models[model]:
                denied = self._any_of(name for rule in level for name in rule.denied)
                let_in = frozenset.intersection(*(self._any_of(rule.allowed) for rule in level)) - denied
                seen |= let_in - decided
                decided |= let_in | denied
            self._viewers[model] = seen
        return self._viewers[model]

    def _any_of(self, names: Iterable[str]) -> frozenset[str]:
        return frozenset().union(*map(self.people_in, names))

    def viewers(self, uri: str) -> frozenset[str]:
        """Return who sees an item."""
        return self.viewers_by(self.items[uri].model)

    def seen_by(self, person: str) -> frozenset[str]:
        """Return the uris of what somebody sees."""
        return frozenset(item.uri for item in self.items.values() if person in self.viewers_by(item.model))

    def with_group(self, name: str, *, more: Sequence[str] = (), fewer: Sequence[str] = ()) -> Company:
        """Return the company with other members in a group."""
        members = tuple(member for member in self.groups[name] if member not in fewer) + tuple(more)
        return replace(self, groups={**self.groups, name: members})

    def gained_from(self, before: Company) -> frozenset[tuple[str, str]]:
        """Return the pairs of a person and the uri of an item that are seen now and were not."""
        return frozenset(
            (person, item.uri)
            for item in self.items.values()
            for person in self.viewers(item.uri)
            - (before.viewers(item.uri) if item.uri in before.items else frozenset())
        )


@dataclass(frozen=True, slots=True)
class Cast:
    """Some of the people and things, by what they are."""

    board_member: str
    hr_partner: str
    council_member: str
    developer: str
    outsider: str
    contractor: str
    wiki_writer: str
    guest: str
    project: str
    secret_item: str
    record: str
    page: str
    article: str
    post: str


@dataclass(frozen=True, slots=True)
class Organization:
    """A project's folder, what it says, and who is who in it."""

    folder: Path
    company: Company
    cast: Cast


def write_organization(folder: Path, *, items: int = 10_000, seed: int = 7) -> Organization:
    """Write a whole project of so many items (2,000 at least) into a folder, and return what it says."""
    return _Writer(folder, items, random.Random(seed)).write()


class _Writer:
    """Draws the company part by part, and writes each part into files of its own."""

    def __init__(self, folder: Path, items: int, chance: random.Random) -> None:
        self._folder, self._chance, self._total = folder, chance, items
        self._people: dict[str, str] = {}
        self._accounts: dict[str, str] = {}
        self._groups: dict[str, tuple[str, ...]] = {}
        self._models: dict[str, Model] = {}
        self._items: dict[str, Item] = {}
        self._division_of: dict[str, str] = {}

    def write(self) -> Organization:
        """Write everything."""
        self._draw_people()
        self._draw_company()
        self._write_people()
        self._write_handbook(self._total * 20 // 100)
        records = self._write_hr()
        self._write_wiki(self._total * 15 // 100)
        self._write_blog(self._total * 5 // 100)
        self._write_projects(self._total - self._total * 40 // 100 - records)
        company = Company(self._people, self._accounts, self._groups, self._models, self._items)
        cast = self._cast(company)
        self._put("reconciler.yaml", _project_file())
        self._put("access-tests.yaml", _access_tests(cast))
        return Organization(self._folder, company, cast)

    def _put(self, name: str, text: str) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    # People and the groups that they work in

    def _draw_people(self) -> None:
        chance = self._chance
        names = [(first, last) for first in FIRST for last in LAST]
        chosen = chance.sample(names, EMPLOYEES + CONTRACTORS + GUESTS)
        for number, (first, last) in enumerate(chosen):
            hired, sent = number < EMPLOYEES, number < EMPLOYEES + CONTRACTORS
            domain = "example.com" if hired else "agency.example" if sent else "university.example"
            self._people[f"{first}.{last}@{domain}".lower()] = f"{first} {last}"
        self._employees, self._contractors, self._guests = (
            list(self._people)[:EMPLOYEES],
            list(self._people)[EMPLOYEES : EMPLOYEES + CONTRACTORS],
            list(self._people)[EMPLOYEES + CONTRACTORS :],
        )
        for number, person in enumerate((*chance.sample(self._employees, 560), *self._guests)):
            first, _, last = self._people[person].lower().partition(" ")
            self._accounts[person] = f"{first[0]}{last}{number}"

    def _draw_company(self) -> None:
        chance, waiting = self._chance, iter(self._employees)
        self._groups["Company"] = tuple(DIVISIONS)
        leads, squads = [], []
        for division, departments in DIVISIONS.items():
            leads.append(next(waiting))
            self._groups[division] = (*departments, leads[-1])
            for department in departments:
                leads.append(next(waiting))
                teams = [f"{department}-{team}" for team in chance.sample(TEAMS, chance.randint(2, 5))]
                self._groups[department] = (*teams, leads[-1])
                for team in teams:
                    leads.append(next(waiting))
                    inner = [f"{team}-{squad}" for squad in chance.sample(SQUADS, chance.randint(1, 4))]
                    self._groups[team] = (*inner, leads[-1])
                    squads += inner
                    self._division_of.update(dict.fromkeys(inner, division))
        self._fill(squads, list(waiting))
        self._leads = leads
        division_heads = [self._groups[division][-1] for division in DIVISIONS]
        workers = [person for person in self._employees if person not in leads]
        outside_hr = [person for squad in squads if not squad.startswith("HR-") for person in self._groups[squad]]
        self._groups["Board"] = tuple(division_heads)
        self._groups["Managers"] = tuple(leads)
        self._groups["WorksCouncil"] = tuple(chance.sample(outside_hr, 9))
        self._groups["Cleared"] = ("Board", "Platform", *chance.sample(workers, 60))
        agencies = ("agency-north", "agency-south", "agency-overseas")
        self._groups["Contractors"] = agencies
        for number, agency in enumerate(agencies):
            self._groups[agency] = tuple(self._contractors[number::3])
        self._groups["FireWardens"] = tuple(sorted(chance.sample(workers, 24)))

    def _fill(self, groups: Sequence[str], people: Sequence[str]) -> None:
        """Put each person into one of the groups: two into each, the rest mostly into the first ones."""
        drawn = self._chance.choices(range(len(groups)), _zipf(len(groups), 0.6), k=len(people))
        order = self._chance.sample(range(len(groups)), len(groups))
        for number, person in enumerate(people):
            group = groups[number // 2 if number < len(groups) * 2 else order[drawn[number]]]
            self._groups[group] = (*self._groups.get(group, ()), person)

    def _write_people(self) -> None:
        for division, departments in DIVISIONS.items():
            inside = [division, *(name for name in self._groups if name.startswith(departments))]
            self._put(f"people/{division.lower()}.yaml", _header("corp") + self._group_lines(inside))
        across = ["Company", "Board", "Managers", "WorksCouncil", "Cleared"]
        self._put("people/company.yaml", _header("corp") + self._group_lines(across))
        agencies = ["Contractors", *self._groups["Contractors"]]
        each = 'aliases:\n  - ofEach: {membersOf: "agency-*"}\n    is: '
        each += f'[{{provider: {EMAIL}, identity: "user:{{name}}"}}]\n'
        self._put("people/contractors.yaml", _header("corp") + self._group_lines(agencies) + each)
        lines = [
            f"  - {{of: user:{name}, is: [{{provider: {EMAIL}, identity: user:{name}}}]}}" for name in self._employees
        ]
        self._put("people/mail.yaml", _header("corp") + "aliases:\n" + "\n".join(sorted(lines)) + "\n")
        wardens = "".join(
            f"  - {{name: {name}, wellKnowns: [virtualGroup:FireWardens]}}\n" for name in self._groups["FireWardens"]
        )
        virtual = "virtualGroups:\n  - {name: FireWardens, members: []} # who is trained says so\nusers:\n"
        self._put("people/fire-wardens.yaml", _header("corp") + virtual + wardens)

    def _group_lines(self, names: Iterable[str]) -> str:
        lines = ["groups:"]
        for name in names:
            lines += [f"  - name: {name}", "    members:"]
            lines += [f"      - {self._spelled(member)}" for member in self._groups[name]]
        return "\n".join(lines) + "\n"

    def _spelled(self, name: str, provider: str = "corp") -> str:
        if name.startswith("*@"):
            return f'{{group: "{name}", provider: {EMAIL}}}'
        if name in self._groups:
            return f"{'virtualGroup' if name == 'FireWardens' else 'group'}:{name}"
        return f"user:{self._accounts[name] if provider == 'wiki' else name}"

    # Permission models

    def _model(self, name: str, *levels: Sequence[Rule]) -> None:
        self._models[name] = tuple(map(tuple, levels))

    def _model_lines(self, names: Iterable[str], provider: str = "corp") -> str:
        lines = ["permissions:"]
        for name in names:
            levels = [f"[{', '.join(self._rule(rule, provider) for rule in level)}]" for level in self._models[name]]
            if len(levels) == 1:
                one = len(self._models[name][0]) == 1
                lines.append(f"  {name}: {levels[0][1:-1]}" if one else f"  {name}: {{sets: {levels[0]}}}")
            else:
                lines += [f"  {name}:", "    levels:", *(f"      - {level}" for level in levels)]
        return "\n".join(lines) + "\n"

    def _rule(self, rule: Rule, provider: str) -> str:
        parts = [("allowed", rule.allowed), ("denied", rule.denied)]
        said = (
            f"{key}: [{', '.join(self._spelled(name, provider) for name in names)}]" for key, names in parts if names
        )
        return f"{{{', '.join(said)}}}"

    # Sources

    def _item(self, source: str, uri: str, model: str, classification: str) -> Item:
        title = f"{self._chance.choice(WORDS[8:]).title()} {self._chance.choice(WORDS[8:])} {len(self._items)}"
        item = Item(uri, source, title, model, classification, self._text())
        self._items[uri] = item
        return item

    def _text(self) -> str:
        """Return prose of 200 to 2,000 characters, mostly short."""
        wanted = min(1_990, int(200 * self._chance.paretovariate(1.1)))
        words = " ".join(self._chance.choices(WORDS, _ZIPF_WORDS, k=wanted // 3))
        return (words + " as it was agreed" * 20)[: max(wanted, 200)].strip().capitalize().ljust(200, ".")

    def _write_handbook(self, count: int) -> None:
        self._model("staff", [Rule(("Company",))])
        self._model("welcome", [Rule(("*@example.com",))])
        self._model("managers", [Rule(("Managers",), ("WorksCouncil",))])
        self._model("wardens", [Rule(("FireWardens", "Facilities"))])
        self._model("board-papers", [Rule(("Board",))])
        divisions = [f"only-{division.lower()}" for division in DIVISIONS]
        for name, division in zip(divisions, DIVISIONS, strict=True):
            self._model(name, [Rule((division,))])
        pages = count // 10
        for number in range(pages):
            item = self._item(
                "handbook", f"https://handbook.example.com/pages/page-{number:03}.md", "staff", "internal"
            )
            front = f"---\ntitle: {item.title}\nowner: {self._chance.choice(self._leads)}\n---\n"
            self._put(f"handbook/pages/page-{number:03}.md", f"{front}\n{item.text}\n")
        choices = ["staff", "welcome", *divisions, "managers", "wardens", "board-papers"]
        rows = []
        for number, model in enumerate(self._chance.choices(choices, _zipf(len(choices), 0.9), k=count - pages)):
            part = "board" if model == "board-papers" else "articles"
            uri = f"https://handbook.example.com/{part}/{number:04}"
            rows.append(self._item("handbook", uri, model, "secret" if model == "board-papers" else "internal"))
        self._put_rows("handbook/articles.csv", rows)
        pages_set = (
            'itemSets:\n  - from: {files: "handbook/pages/*.md"}\n    item:\n'
            '      uri: "https://handbook.example.com/pages/{name}"\n      title: "{front.title}"\n'
            "      permissions: staff\n"
            '      metadata: {classification: internal, documenttype: Page, author: "{front.owner}"}\n'
        )
        names = ["staff", "welcome", "managers", "wardens", "board-papers", *divisions]
        rows_set = _rows_set("csv: handbook/articles.csv", "Article")
        text = _header("corp", "handbook") + self._model_lines(names) + pages_set + rows_set
        self._put("handbook/handbook.yaml", text)

    def _write_hr(self) -> int:
        """One record for everybody of the company: the board and whom it is about first, then human resources."""
        rows = []
        for person in self._employees:
            name = person.partition("@")[0]
            self._model(f"hr/{name}", [Rule(("Board", person))], [Rule(("HR",), ("WorksCouncil",))])
            rows.append(self._item("hr", f"https://hr.example.com/records/{name}", f"hr/{name}", "secret"))
        self._put_rows("hr/records.csv", rows, more=("person", self._employees))
        first = "[{allowed: [group:Board, 'user:{row.person}']}]"
        levels = f"{{levels: [{first}, [{{allowed: [group:HR], denied: [group:WorksCouncil]}}]]}}"
        text = "itemSets:\n" + _rows_set("csv: hr/records.csv", "Record", levels)
        self._put("hr/hr.yaml", _header("corp", "hr") + text)
        return len(rows)

    def _write_wiki(self, count: int) -> None:
        writers = list(self._accounts)
        names = []
        for rank, space in enumerate(SPACES, 1):
            members = self._chance.sample(writers, max(8, int(len(writers) / rank**0.9)))
            guests = self._guests if space == "open-source" else ()
            inside = [person for person in members if person not in self._guests]
            self._groups[f"wiki-{space}"] = tuple(dict.fromkeys((*inside, *guests)))
            self._model(space, [Rule((f"wiki-{space}",))])
            names.append(space)
        self._groups["wiki-editors"] = tuple(self._chance.sample(self._groups["wiki-how-to"], 12))
        self._groups["wiki-everybody"] = tuple(f"wiki-{space}" for space in SPACES)
        self._model("wiki-open", [Rule(("wiki-everybody",))])
        self._model("drafts", [Rule(("wiki-editors",))])
        choices = ["wiki-open", *SPACES, "drafts"]
        rows = []
        for number, model in enumerate(self._chance.choices(choices, _zipf(len(choices), 0.8), k=count)):
            rows.append(self._item("wiki", f"https://wiki.example.com/{model}/{number:04}", model, "internal"))
        text = "".join(json.dumps(_row(item)) + "\n" for item in rows)
        self._put("wiki/pages.jsonl", text)
        sets = "itemSets:\n" + _rows_set("jsonl: wiki/pages.jsonl", "Page")
        self._put(
            "wiki/wiki.yaml",
            _header("wiki", "wiki") + self._model_lines([*names, "wiki-open", "drafts"], "wiki") + sets,
        )
        lines = ["groups:"]
        for name in (name for name in self._groups if name.startswith("wiki-")):
            lines += [f"  - name: {name}", "    members:"]
            lines += [f"      - {self._spelled(member, 'wiki')}" for member in self._groups[name]]
        lines.append("aliases: # whom the wiki calls otherwise")
        known = sorted({person for space in SPACES for person in self._groups[f"wiki-{space}"]})
        lines += [
            f"  - {{of: user:{self._accounts[name]}, is: [{{provider: {EMAIL}, identity: user:{name}}}]}}"
            for name in known
        ]
        self._accounts = {name: self._accounts[name] for name in known}
        self._put("wiki/accounts.yaml", _header("wiki") + "\n".join(lines) + "\n")

    def _write_blog(self, count: int) -> None:
        rows = [self._item("blog", f"https://blog.example.com/{number:04}", "", "public") for number in range(count)]
        self._put_rows("blog/posts.csv", rows)
        self._put(
            "blog/blog.yaml", _header(None, "blog") + "itemSets:\n" + _rows_set("csv: blog/posts.csv", "Post", "")
        )

    def _write_projects(self, count: int) -> None:
        """Teams, squads and some people from elsewhere work together; what is secret needs a clearance as well."""
        working = [name for name in self._groups if name in self._division_of or self._is_team(name)]
        sizes = [max(4, int(count * share)) for share in _shares(len(PROJECTS))]
        sizes[0] += count - sum(sizes)
        cleared = [person for person in self._groups["Cleared"] if "@" in person]
        for rank, (project, size) in enumerate(zip(PROJECTS, sizes, strict=True)):
            groups = self._chance.sample(working, 1 + self._chance.randrange(4))
            people = [*self._chance.sample(cleared, 2), *self._chance.sample(self._employees, rank % 6)]
            sent = self._chance.sample(self._contractors, 2 + rank % 7)
            group = f"project-{project}"
            self._groups[group] = tuple(dict.fromkeys((*groups, *people, *sent)))
            inside, secret = f"{project}-inside", f"{project}-secret"
            self._model(project, [Rule((group,))])
            self._model(inside, [Rule((group,), ("Contractors",))])
            self._model(secret, [Rule((group,)), Rule(("Cleared",), ("Contractors",))])
            rows = []
            for number, model in enumerate(self._chance.choices((project, inside, secret), (12, 5, 2), k=size)):
                part = "shared" if model == project else model.removeprefix(f"{project}-")
                uri = f"https://projects.example.com/{project}/{part}/{number:04}"
                rows.append(self._item("projects", uri, model, "secret" if model == secret else "internal"))
            self._put_rows(f"projects/{project}/documents.csv", rows)
            text = self._group_lines([group]) + self._model_lines([project, inside, secret])
            sets = "itemSets:\n" + _rows_set(f"csv: projects/{project}/documents.csv", "Document")
            self._put(f"projects/{project}/{project}.yaml", _header("corp", "projects") + text + sets)

    def _is_team(self, name: str) -> bool:
        return name.endswith(tuple(f"-{team}" for team in TEAMS))

    def _put_rows(self, name: str, items: Sequence[Item], more: tuple[str, Sequence[str]] | None = None) -> None:
        out = io.StringIO()
        rows = [_row(item) for item in items]
        if more:
            rows = [{**row, more[0]: value} for row, value in zip(rows, more[1], strict=True)]
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        self._put(name, out.getvalue())

    def _cast(self, company: Company) -> Cast:
        """Choose people and items that tests speak of; the rules above see to it that there are such."""
        plain = [person for person in self._employees if person not in self._leads]
        special = company.people_in("Cleared") | company.people_in("HR") | company.people_in("WorksCouncil")
        project = PROJECTS[0]
        inside = company.people_in(f"project-{project}")
        developer = next(person for person in plain if person in inside - special and person not in self._accounts)
        outsider = next(person for person in plain if person not in inside | special and person not in self._accounts)
        uris = list(self._items)
        return Cast(
            board_member=self._groups["Board"][0],
            hr_partner=next(person for person in plain if person in company.people_in("HR")),
            council_member=self._groups["WorksCouncil"][0],
            developer=developer,
            outsider=outsider,
            contractor=next(person for person in self._contractors if person in inside),
            wiki_writer=next(person for person in self._groups["wiki-how-to"] if person not in special),
            guest=self._guests[0],
            project=project,
            secret_item=next(uri for uri in uris if f"/{project}/secret/" in uri),
            record=f"https://hr.example.com/records/{developer.partition('@')[0]}",
            page=next(uri for uri in uris if "/pages/" in uri),
            article=next(uri for uri in uris if self._items[uri].model == "only-sales"),
            post=next(uri for uri in uris if uri.startswith("https://blog")),
        )


def _zipf(count: int, exponent: float) -> list[float]:
    return [rank**-exponent for rank in range(1, count + 1)]


_ZIPF_WORDS = _zipf(len(WORDS), 0.7)


def _shares(count: int) -> list[float]:
    weights = _zipf(count, 0.8)
    return [weight / sum(weights) for weight in weights]


def _header(provider: str | None, source: str | None = None) -> str:
    given = [("source", source), ("provider", provider)]
    return f"defaults: {{{', '.join(f'{key}: {name}' for key, name in given if name)}}}\n"


def _row(item: Item) -> dict[str, str]:
    permissions = {"permissions": item.model} if item.model and not item.model.startswith("hr/") else {}
    said = {"uri": item.uri, "title": item.title, "classification": item.classification}
    return {**said, **permissions, "text": item.text}


def _rows_set(origin: str, kind: str, permissions: str = '"{row.permissions}"') -> str:
    return (
        f"  - from: {{{origin}}}\n    item:\n"
        '      uri: "{row.uri}"\n      title: "{row.title}"\n      body: {text: "{row.text}"}\n'
        "      fileExtension: .txt\n"
        + (f"      permissions: {permissions}\n" if permissions else "")
        + f'      metadata: {{classification: "{{row.classification}}", documenttype: {kind}}}\n'
    )


def _project_file() -> str:
    lines = ["sources:"]
    for name, (identifier, visibility, provider) in SOURCES.items():
        extra = f", provider: {provider}" if provider else ""
        lines.append(f"  {name}: {{id: {identifier}, visibility: {visibility.lower()}{extra}}}")
    lines.append("providers:")
    lines += [f'  {name}: {{id: {identifier}, cascadesTo: ["{EMAIL}"]}}' for name, identifier in PROVIDERS.items()]
    lines += ["environments:", f"  local: {{target: emulator, organization: {ORGANIZATION_ID}}}"]
    lines += ["guardrails: {deletes: 5%, maxChanges: 20000}"]
    return "\n".join(lines) + "\n"


def _access_tests(cast: Cast) -> str:
    secured = [f"https://{source}.example.com/**" for source, (_, seen, _) in SOURCES.items() if seen == "SECURED"]
    anybody = f'{{group: "*@*", provider: {EMAIL}}}'
    wiki = "{group: wiki-everybody, provider: wiki}"
    ours = f'{{group: "*@example.com", provider: {EMAIL}}}'
    tests = [
        f'{{who: {anybody}, canView: ["https://blog.example.com/**"]}}',
        f"{{items: {json.dumps(secured)}, onlyVisibleTo: [{ours}, group:Company, group:Contractors, {wiki}]}}",
        '{who: group:Contractors, cannotView: ["https://hr.example.com/**", "https://handbook.example.com/**"]}',
        f"{{who: group:WorksCouncil, cannotView: [{cast.record}]}}",
        '{who: [group:Board, group:HR-*], canView: ["https://hr.example.com/records/a*"]}',
        '{items: ["https://projects.example.com/**"], where: {classification: secret}, onlyVisibleTo: [group:Cleared]}',
        '{items: ["https://handbook.example.com/board/**"], onlyVisibleTo: [group:Board]}',
        f"{{items: [{cast.record}], onlyVisibleTo: [group:Board, group:HR, user:{cast.developer}]}}",
        '{who: group:Company, canView: ["https://handbook.example.com/pages/**"]}',
        f'{{who: group:project-{cast.project}, canView: ["https://projects.example.com/{cast.project}/shared/**"]}}',
        f'{{who: user:{cast.outsider}, cannotView: ["https://projects.example.com/{cast.project}/**"]}}',
    ]
    return _header("corp") + "accessTests:\n" + "".join(f"  - {test}\n" for test in tests)
