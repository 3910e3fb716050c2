"""The pages of `docs/`: what is made from code is fresh, the site is built strictly, and it looks right."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from ruamel.yaml import YAML

from reconciler.cli.main import cli
from tests.browser.chromium import BEYOND, Chromium
from tests.browser.conftest import browser, shared_browser  # noqa: F401
from tests.builders import REPOSITORY
from tests.docs.generate import FOLDER, PAGES, _commands

DOCS = REPOSITORY / "docs"
CONFIG = REPOSITORY / ".mkdocs.yml"


@pytest.mark.parametrize("name", PAGES)
def test_what_is_made_from_code_is_fresh(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == PAGES[name](), "run: make reference"


def test_every_command_option_key_and_code_has_its_place() -> None:
    commands = PAGES["commands.md"]()
    for words, command in _commands(cli, ()):
        assert f"\n## {' '.join(words)}\n" in commands
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                assert all(name in commands for name in parameter.opts), (words, parameter.opts)
    problems = PAGES["problems.md"]()
    for code in ("unknown-group", "stale-plan", "cannot-format", "file-exists", "state-locked"):
        assert f"\n## {code}\n" in problems


def test_what_stands_as_it_is_in_a_help_keeps_its_indentation_on_the_page() -> None:
    block = re.search(r"^```text\n(- name: .*?)```$", PAGES["commands.md"](), re.DOTALL | re.MULTILINE)
    assert block is not None
    assert YAML(typ="safe").load(block[1])[0]["package"] == "reconciler.calendar"


def test_every_page_is_in_the_table_of_contents() -> None:
    listed = set(re.findall(r"[\w/.-]+\.md", CONFIG.read_text(encoding="utf-8")))
    assert listed == {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-f", str(CONFIG), "-d", str(folder)],
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_is_built_strictly_and_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > len(list(DOCS.rglob("*.md")))
    for page in pages:
        loaded = re.findall(r'<(?:script|link|img|iframe)[^>]*\b(?:src|href)="?(https?:[^" >]+)', page.read_text())
        assert [url for url in loaded if "canonical" not in url] == [], page


def _pages() -> Iterator[str]:
    nav = YAML(typ="safe").load(CONFIG)["nav"]
    yield from re.findall(r"[\w/.-]+\.md", str(nav))


@pytest.mark.debian
@pytest.mark.parametrize("width", [1280, 360])
def test_no_page_is_wider_than_the_screen(site: Path, browser: Chromium, width: int) -> None:  # noqa: F811
    browser.screen(width)
    for page in _pages():
        place = page.removesuffix(".md").removesuffix("index")
        browser.open(f"file://{site / place / 'index.html'}")
        assert browser.value("document.documentElement.scrollWidth <= innerWidth"), page
        assert browser.value("document.querySelector('h1').innerText.length > 0"), page
        outside = re.compile("md-(nav|search|header|tabs|sidebar|grid|ellipsis)")  # drawers that are shut
        assert [piece for piece in browser.value(BEYOND) if not outside.search(piece)] == [], page


def _lines_of_commands() -> Iterator[tuple[str, str]]:
    """Return each line of a page that calls us, with the page's name; one that goes on below is joined."""
    for path in [*sorted(DOCS.rglob("*.md")), REPOSITORY / "README.md"]:
        for block in re.findall(r"^ *```\w*\n(.*?)^ *```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
            for line in block.replace("\\\n", " ").splitlines():
                for piece in re.split(r"&&|\|\||[|;<>)]", re.sub(r"'[^']*'|\"[^\"]*\"", "WORD", line)):
                    words = piece.strip().removeprefix("$ ").removeprefix("- ").split("#")[0].split()
                    if words[:1] == ["reconciler"] and len(words) > 1:
                        yield path.relative_to(REPOSITORY).as_posix(), " ".join(words)


@pytest.mark.parametrize(("page", "line"), sorted(set(_lines_of_commands())))
def test_every_command_line_of_a_page_is_one_that_there_is(page: str, line: str) -> None:
    command: click.Command = cli
    words = line.split()[1:]
    while True:
        context = click.Context(command)
        _, rest, _ = command.make_parser(context).parse_args(list(words))
        if not isinstance(command, click.Group) or not rest:
            return
        found = command.get_command(context, rest[0])
        assert found is not None or command.invoke_without_command, f"{page}: {line}"
        if found is None:
            return
        command, words = found, rest[1:]
