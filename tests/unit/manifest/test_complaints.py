"""What pydantic says, in our words: one problem per mistake, at its place."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from reconciler.manifest.complaints import findings_of
from reconciler.manifest.schema import AliasSpec, GroupSpec, ItemSetSpec, ItemSpec, PermissionSpec, ProjectSections

ITEM = {"uri": "x:1"}


def complaints(model: type[BaseModel], value: Any) -> list[tuple[tuple[str | int, ...], bool, str, str]]:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(value)
    return [
        (found.path, found.on_key, found.problem.what, found.problem.fix)
        for found in findings_of(caught.value, value, model)
    ]


@pytest.mark.parametrize(
    ("model", "value", "wanted"),
    [
        (ItemSpec, {**ITEM, "titel": 1}, [(("titel",), True, 'unknown key "titel"', 'did you mean "title"?')]),
        (
            ItemSpec,
            {**ITEM, "zzz": 1},
            [
                (
                    ("zzz",),
                    True,
                    'unknown key "zzz"',
                    "known here: body, clickableUri, fileExtension, metadata, parent, permanentId,"
                    " permissions, protect, source, title, uri.",
                )
            ],
        ),
        (ItemSpec, {}, [((), False, '"uri" is missing', "add `uri:`.")]),
        (
            ItemSpec,
            [],
            [((), False, "the entry is a list; it should be a mapping (key: value)", "write a mapping (key: value).")],
        ),
        (ItemSpec, {"uri": 5}, [(("uri",), False, '"uri" is the number 5; it should be a text', 'quote it: "5".')]),
        (
            ItemSpec,
            {"uri": True},
            [(("uri",), False, '"uri" is the boolean true; it should be a text', "write a text.")],
        ),
        (
            ItemSpec,
            {**ITEM, "protect": "yes"},
            [(("protect",), False, '"protect" is a text; it should be true or false', "write true or false.")],
        ),
        (
            ItemSpec,
            {**ITEM, "permissions": 5},
            [
                (
                    ("permissions",),
                    False,
                    '"permissions" is the number 5; it should be a text or a mapping (key: value) or a list',
                    'quote it: "5".',
                )
            ],
        ),
        (
            ItemSpec,
            {**ITEM, "permissions": {"allowed": [{"usr": "a"}]}},
            [(("permissions", "allowed", 0, "usr"), True, 'unknown key "usr"', 'did you mean "user"?')],
        ),
        (
            ItemSpec,
            {**ITEM, "metadata": {"a": {"b": 1}}},
            [(("metadata", "a"), False, 'metadata "a" is a nested object', "flatten it, for example a_name: value.")],
        ),
        (
            ItemSpec,
            {**ITEM, "metadata": 5},
            [
                (
                    ("metadata",),
                    False,
                    '"metadata" is the number 5; it should be a mapping (key: value)',
                    "write a mapping (key: value).",
                )
            ],
        ),
        (
            ItemSpec,
            {**ITEM, "body": "text"},
            [
                (
                    ("body",),
                    False,
                    '"body" is a text; it should be a mapping (key: value)',
                    "write a mapping (key: value).",
                )
            ],
        ),
        (
            ItemSpec,
            {"titel": 1, "title": 2, "metadata": {"a": None}},
            [
                ((), False, '"uri" is missing', "add `uri:`."),
                (("title",), False, '"title" is the number 2; it should be a text', 'quote it: "2".'),
                (("metadata", "a"), False, 'metadata "a" is null', "remove the key."),
                (("titel",), True, 'unknown key "titel"', 'did you mean "title"?'),
            ],
        ),
        (
            GroupSpec,
            {"name": "A", "members": [5]},
            [
                (
                    ("members", 0),
                    False,
                    '"members" is the number 5; it should be a text or a mapping (key: value)',
                    'quote it: "5".',
                )
            ],
        ),
        (GroupSpec, {"name": "", "members": []}, [(("name",), False, '"name" is empty', "fill it in, or remove it.")]),
        (
            AliasSpec,
            {"of": "user:a", "is": [{"provider": "P"}]},
            [(("is", 0), False, '"identity" is missing', "add `identity:`.")],
        ),
        (
            AliasSpec,
            {"is": [{"provider": "P", "identity": "user:a"}]},
            [((), False, "the entry does not say exactly one thing", "give exactly one of of, ofEach.")],
        ),
        (
            ItemSetSpec,
            {"from": {}, "item": {"uri": "x"}},
            [
                (
                    ("from",),
                    False,
                    '"from" does not say exactly one thing',
                    "give exactly one of files, csv, jsonl, parquet.",
                )
            ],
        ),
        (
            PermissionSpec,
            {"levels": [[{"alowed": []}]]},
            [(("levels", 0, 0, "alowed"), True, 'unknown key "alowed"', 'did you mean "allowed"?')],
        ),
        (
            PermissionSpec,
            {"levels": [{"nmae": "L", "sets": [{}]}]},
            [(("levels", 0, "nmae"), True, 'unknown key "nmae"', 'did you mean "name"?')],
        ),
        (
            ProjectSections,
            {"sources": {"a b": {"id": "1"}}},
            [
                (
                    ("sources", "a b"),
                    True,
                    '"a b" cannot be a name here',
                    "use letters, digits, `_`, `-` and `.`, at most 64; the first is no `-` or `.`.",
                )
            ],
        ),
        (
            ProjectSections,
            {"sources": {"a": {"id": "1", "visibility": "secret"}}},
            [(("sources", "a", "visibility"), False, '"visibility" is "secret"', 'did you mean "secured"?')],
        ),
        (
            ProjectSections,
            {"guardrails": {"maxChanges": -1}},
            [
                (
                    ("guardrails", "maxChanges"),
                    False,
                    '"maxChanges" is the number -1; it should be at least 0',
                    "write at least 0.",
                )
            ],
        ),
        (
            ProjectSections,
            {"quotas": {"callsPerDay": 0}, "environments": {"a": {"retryFor": 100000}}},
            [
                (
                    ("environments", "a", "retryFor"),
                    False,
                    '"retryFor" is the number 100000; it should be at most 86,400',
                    "write at most 86,400.",
                ),
                (
                    ("quotas", "callsPerDay"),
                    False,
                    '"callsPerDay" is the number 0; it should be at least 1',
                    "write at least 1.",
                ),
            ],
        ),
        (
            ProjectSections,
            {"environments": {"a": {"apiKey": {"evn": "X"}, "sources": {"s": {"status": True}}}}},
            [
                (("environments", "a", "apiKey", "evn"), True, 'unknown key "evn"', 'did you mean "env"?'),
                (
                    ("environments", "a", "sources", "s", "status"),
                    True,
                    'unknown key "status"',
                    "known here: exclusive, id, kind, visibility.",
                ),
            ],
        ),
        (
            ProjectSections,
            {"environments": {"a": {"apiKey": "the key itself"}}},
            [
                (
                    ("environments", "a", "apiKey"),
                    False,
                    '"apiKey" is a text; it should be a mapping (key: value)',
                    "write {env: NAME}, {file: PATH} or {command: [NAME, ARGUMENT]}.",
                )
            ],
        ),
    ],
)
def test_complaints(model: type[BaseModel], value: Any, wanted: list[Any]) -> None:
    assert complaints(model, value) == wanted
