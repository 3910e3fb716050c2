"""What we say about entries: one function a problem, so that wording stands in one place.

Each says what is wrong, what would follow from it, and how to mend it; none knows where it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from reconciler.manifest.project import Project, Source
from reconciler.problems import Problem, Severity, did_you_mean

MAX_IDENTITIES = 5_000  # push-api.md 4.1: more are accepted with a 202 and rejected later.


def unknown(what: str, name: str, known: Iterable[str], why: str) -> Problem:
    return Problem(
        f"unknown-{what}",
        f'no {what} is named "{name}"',
        why=why + ", so nothing says where this belongs.",
        fix=did_you_mean(name, known) or f"declare it under `{what}s` in reconciler.yaml.",
    )


def source_needed(sources: tuple[Source, ...]) -> Problem:
    names = ", ".join(source.name for source in sources) or "none is declared"
    return Problem(
        "source-needed",
        "the item does not say which source it is in",
        why=f"the project has {len(sources)} sources ({names}).",
        fix="add `source: NAME`, or `defaults: {source: NAME}` at the top of the file.",
    )


def provider_needed(project: Project) -> Problem:
    names = ", ".join(provider.name for provider in project.providers) or "none is declared"
    return Problem(
        "provider-needed",
        "nothing says which security identity provider this identity lives in",
        why=f"the project has {len(project.providers)} providers ({names}).",
        fix="add `provider: NAME`, or `defaults: {provider: NAME}` at the top of the file.",
    )


EXPIRES_FORM = "write a date, such as 2027-01-31, or a date and time with its zone: 2027-01-31T18:00:00+01:00."

_ENDLESS = {
    "denied": "a denial that ended by itself would let people in, and nobody would have decided it.",
    "wellKnowns": "an end is kept where membership is declared.",
    "of": "this only names the identity; what ends is the alias.",
}
_ENDLESS_FIXES = {
    "denied": "remove it; delete the entry when the denial is to end.",
    "wellKnowns": "list the identity among the `members` of that group, with `expires` there.",
    "of": "write `expires` beside `of`, or beside one mapping under `is`.",
}


def bad_expires(text: str, what: str) -> Problem:
    return Problem(
        "bad-expires",
        f'"expires" is "{text}", which {what}',
        why="until when somebody sees something must be plain: a date ends at 00:00 UTC of that day.",
        fix=EXPIRES_FORM,
    )


def misplaced_expires(key: str) -> Problem:
    """`key` is what the identity with it stands under, or empty where no identity does."""
    return Problem(
        "misplaced-expires",
        '"expires" has no place ' + (f'under "{key}"' if key in _ENDLESS else "here"),
        why=_ENDLESS.get(
            key, "what ends by itself is a grant: a member, an allowed entry, an alias or a mapping of it."
        ),
        fix=_ENDLESS_FIXES.get(key, "write it on one of those, for example `{user: bob, expires: 2027-01-31}`."),
    )


def protected_expires() -> Problem:
    return Problem(
        "protected-expires",
        "the alias is protected, and would end by itself",
        why="the plan after its end would delete it, which `protect` refuses.",
        fix="remove `protect: true`, or `expires`.",
    )


def foreign_provider(provider: str) -> Problem:
    return Problem(
        "foreign-provider",
        f'provider "{provider}" is not one of this project',
        why="identities can only be pushed to a provider that reconciler.yaml declares.",
        fix="declare it under `providers`, or drop the identity here.",
    )


def elsewhere(provider: str, own: str) -> Problem:
    return Problem(
        "other-provider",
        f'this identity lives in provider "{provider}", the group in "{own}"',
        why="a call for a group names no other provider, so the identity would be taken for one of the group's own.",
        fix="drop `provider` here, or tie the two identities together with an alias.",
    )


def outside_cascade(provider: str, target: str) -> Problem:
    return Problem(
        "outside-cascade",
        f'provider "{provider}" does not cascade to "{target}"',
        why="an alias in a provider that the identity's own does not cascade to leads nowhere.",
        fix=f'if it does at the remote, say so: providers.{provider}.cascadesTo: ["{target}"].',
    )


def not_an_identity(text: str) -> Problem:
    return Problem(
        "not-an-identity",
        f'"{text}" names no identity',
        why="an identity is written type:name, and the type is user, group, virtualGroup or unknown.",
        fix=f"write user:{text} or group:{text}." if ":" not in text else "correct the part before the colon.",
    )


def bad_name(name: str) -> Problem:
    return Problem(
        "bad-name",
        f'"{name}" cannot be the name of an identity',
        why="names are compared exactly; spaces at the ends, NUL and `?info=` would make two names look like one.",
        fix="remove them.",
    )


def too_many_identities(count: int) -> Problem:
    return Problem(
        "too-many-identities",
        f"the permission model names {count:,} identities; an item may have {MAX_IDENTITIES:,}",
        why="the service accepts such an item with a 202 and rejects it later.",
        fix="put the people in a group and allow the group.",
    )


def bad_uri(uri: str) -> Problem:
    if "#" in uri:
        return Problem(
            "uri-fragment",
            f'uri "{uri}" has a fragment (#)',
            why="what follows # never reaches the server, so items would overwrite each other.",
            fix="remove it, or percent-encode it as %23.",
        )
    if re.match(r"[A-Za-z][A-Za-z0-9+.\-]*:", uri) is None:
        return Problem(
            "uri-no-scheme",
            f'uri "{uri}" has no scheme',
            why="the call would be accepted and the item never appear.",
            fix=f"write it in full, for example https://example.com/{uri.lstrip('/')} or file://{uri.lstrip('/')}.",
        )
    if re.search(r"[\s\x00-\x20\x7f]", uri):
        return Problem(
            "uri-space",
            f'uri "{uri}" has a space or a control character',
            why="the service compares uris byte by byte and refuses what is no URI.",
            fix="percent-encode it: a space is %20.",
        )
    return Problem("uri-empty", f'uri "{uri}" names nothing', fix="write what follows the scheme.")


def permissions_missing(uri: str, source: str) -> Problem:
    return Problem(
        "permissions-missing",
        f'item "{uri}" has no permissions, and source "{source}" is secured',
        why="unless the source itself has a permission model, the item is accepted and then rejected.",
        fix="add `permissions`, or `defaults: {permissions: NAME}` at the top of the file.",
        severity=Severity.WARNING,
    )


def repeated_key(key: str) -> Problem:
    return Problem(
        "repeated-key",
        f'metadata "{key}" is given twice',
        why="the service ignores the case of keys and refuses an item that has one twice.",
        fix="keep one of them.",
    )


def bad_value(key: str, value: Any) -> Problem:
    shown = "null" if value is None else "a nested object" if isinstance(value, dict) else "a nested list"
    return Problem(
        "metadata-value",
        f'metadata "{key}" is {shown}',
        why="the Push API takes strings, numbers, booleans and lists of those.",
        fix="remove the key." if value is None else f"flatten it, for example {key}_name: value.",
    )


def reserved_key(key: str) -> Problem:
    return Problem(
        "reserved-key",
        f'"{key}" cannot be a metadata key',
        why="the Push API uses this name for the item itself.",
        fix="use the item's own key (body, permissions, parent, fileExtension), or another name.",
    )


def taken_by_digest(key: str, source: str) -> Problem:
    return Problem(
        "reserved-key",
        f'"{key}" cannot be a metadata key in source "{source}"',
        why="it is the source's `digestField`: its value is worked out from the item.",
        fix="remove the key, or give `digestField` in reconciler.yaml another name.",
    )


def bad_key(key: str) -> Problem:
    suggestion = re.sub(r"[^a-z0-9_]+", "_", key.lower()).strip("_") or "name"
    if not suggestion[0].isalpha():
        suggestion = f"x_{suggestion}"
    return Problem(
        "metadata-key",
        f'"{key}" cannot be a metadata key',
        why="no field can have this name: a letter first, then letters, digits and underscores, at most 255.",
        fix=f'write "{suggestion}".',
    )


def bad_extension(extension: str) -> Problem:
    return Problem(
        "file-extension",
        f'file extension "{extension}" does not start with a dot',
        why="it chooses the converter; without the dot the wrong one is taken.",
        fix=f'write ".{extension.lstrip(".")}".',
    )


def bad_base64() -> Problem:
    return Problem(
        "bad-base64",
        "the body is not valid base64",
        why="garbage would be indexed.",
        fix="encode it again, or use `body: {file: PATH}`.",
    )


def nul() -> Problem:
    return Problem(
        "nul-character",
        "a text holds a NUL character",
        why="the service does not say what it would make of it.",
        fix="remove it.",
    )


def bad_wire(what: str) -> Problem:
    """Return the problem of a Push API body that cannot be read."""
    return Problem(
        "bad-body",
        what,
        why="the entry has the shape of a Push API body, and as such it is not clear what it means.",
        fix="correct it, or write the entry in the form of the manifest language.",
    )


def empty_file() -> Problem:
    """Return the problem of a file without sections."""
    return Problem(
        "empty-file",
        "the file holds no section",
        why="a file that was cut off looks the same, and what it declared would be deleted.",
        fix="delete the file if nothing belongs in it, or say so with an empty section, for example `items: []`.",
    )


def repeated_defaults() -> Problem:
    """Return the problem of a second `defaults`."""
    return Problem(
        "repeated-defaults",
        "the file has a second `defaults` section",
        why="defaults hold for the whole file, all its documents, so two of them contradict each other.",
        fix="join the two, or put the documents into files of their own.",
    )


def misplaced(name: str) -> Problem:
    """Return the problem of a section that only reconciler.yaml may hold."""
    return Problem(
        "misplaced-section",
        f'section "{name}" belongs in reconciler.yaml',
        why="what the project is made of stands in one place, whatever manifests come and go.",
        fix="move it there.",
    )


def unknown_section(name: str, known: Iterable[str]) -> Problem:
    """Return the problem of a section that does not exist."""
    known = sorted(known)
    return Problem(
        "unknown-section",
        f'unknown section "{name}"',
        why="a section that is not read would silently not be applied.",
        fix=did_you_mean(name, known) or f"known here: {', '.join(known)}.",
    )


def not_a_list(name: str, value: Any) -> Problem:
    """Return the problem of a section that is no list."""
    shown = "empty" if value is None else "a mapping" if isinstance(value, dict) else "a single value"
    return Problem(
        "wrong-type",
        f'section "{name}" is {shown}; it should be a list',
        why='empty is never taken for "none": a list that was cut off looks the same.' if value is None else "",
        fix=f"write its entries, each after a dash, or `{name}: []`.",
    )


def not_a_mapping(name: str, value: Any) -> Problem:
    """Return the problem of a section that is no mapping."""
    shown = "empty" if value is None else "a list" if isinstance(value, list) else "a single value"
    return Problem(
        "wrong-type", f'section "{name}" is {shown}; it should be a mapping', fix="write `name: ...` for each entry."
    )
