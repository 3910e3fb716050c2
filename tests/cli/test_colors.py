"""Where output is coloured, and where a bar stands in place of lines."""

from __future__ import annotations

import io
import sys

import pytest
from test_apply import Terminal

from reconciler.cli import loudness
from reconciler.cli.options import wants_bar, wants_color
from tests.builders import Folder, run_here

ITEM = "defaults: {source: blog}\nitems: [{uri: 'x:a', title: A}]\n"
VARIABLES = ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI", "TERM")


class Screen(io.StringIO):
    """What says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    loudness.reset([])


@pytest.mark.parametrize(
    ("variables", "on_terminal", "elsewhere"),
    [
        ({}, True, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": ""}, True, False),
        ({"CI": "true"}, False, False),
        ({"TERM": "dumb"}, False, False),
        ({"CLICOLOR": "0"}, False, False),
        ({"CLICOLOR": "1"}, True, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": "0"}, True, False),
        ({"CLICOLOR_FORCE": "1", "CI": "true"}, True, True),
        ({"CLICOLOR_FORCE": "1", "TERM": "dumb"}, True, True),
        ({"FORCE_COLOR": "3", "NO_COLOR": "1"}, False, False),
    ],
)
def test_what_is_coloured(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], on_terminal: bool, elsewhere: bool
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert (wants_color(Screen()), wants_color(io.StringIO())) == (on_terminal, elsewhere)


@pytest.mark.parametrize(
    ("variables", "words", "bar"),
    [
        ({}, [], True),
        ({"NO_COLOR": "1"}, [], True),
        ({"CI": "1"}, [], False),
        ({"TERM": "dumb"}, [], False),
        ({}, ["--log-format", "json"], False),
    ],
)
def test_where_a_bar_is_drawn(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], words: list[str], bar: bool
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stderr", Screen())
    loudness.reset(words)
    assert wants_bar() is bar


def test_a_forced_colour_goes_into_files_and_never_into_json(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write("a.yaml", ITEM)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[" in folder.ok("plan").out
    assert "\x1b[" in run_here("-C", "/nowhere", "plan").err
    ran = run_here("-C", "/nowhere", "plan", "--log-format", "json", "--format", "json")
    assert "\x1b" not in ran.out + ran.err and "\\u001b" not in ran.out + ran.err


@pytest.mark.parametrize(("words", "bar"), [((), True), (("-v",), False), (("-q",), False)])
def test_a_terminal_shows_a_bar_unless_it_was_asked_for_lines(
    folder: Folder, words: tuple[str, ...], bar: bool
) -> None:
    folder.write("a.yaml", ITEM)
    terminal = Terminal("-C", str(folder.root), "apply", "--auto-approve", *words)
    assert terminal.end() == 0, terminal.shown
    assert ("accepted (HTTP 202)" in terminal.shown) is ("-v" in words)
    assert ("━" in terminal.shown) is bar
