"""What lints are shown of the manifests."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import msgspec

from reconciler.model.address import Kind
from reconciler.model.canonical import DIGEST_SIZE, NO_SHARED, digest

if TYPE_CHECKING:
    from reconciler.lints.subject import Model, Subject
    from reconciler.manifest.cache import ManifestCache
    from reconciler.manifest.load import Loaded
    from reconciler.problems import Problem

_ITEM = f"{Kind.ITEM.value}/"


def lints_of(loaded: Loaded, cache: ManifestCache) -> list[Problem]:
    """Return what lints find in manifests that have no errors; of what did not change since, the same as then."""
    from reconciler.lints.run import lint
    from reconciler.manifest.load import bulk
    from reconciler.problems import Problem

    if loaded.key is not None and (kept := cache.lints(loaded.key)) is not None:
        with contextlib.suppress(msgspec.DecodeError):
            return msgspec.msgpack.decode(kept, type=list[Problem])
    with bulk():
        found = lint(subject_of(loaded), dict(loaded.project.lints), loaded.find_places)
    if loaded.key is not None:
        cache.save_lints(loaded.key, msgspec.msgpack.encode(found), time.time_ns())
    return found


def subject_of(loaded: Loaded) -> Subject:
    """Return the desired state as lints see it."""
    from reconciler.cli.worlds import readings_of
    from reconciler.lints.subject import Subject

    readings = readings_of(loaded.project)
    identities = loaded.identities()
    email = f"/{readings.email_provider}/"
    aliased = {
        resource.address.scope
        for resource in identities
        if resource.address.kind is Kind.ALIAS and any(email in who for who in resource.own().get("mappings", ()))
    }
    for provider in loaded.project.providers:
        targets = {known.name for known in loaded.project.providers if known.id in provider.cascades_to}
        if readings.email_provider in {*provider.cascades_to, *targets}:
            aliased.add(provider.name)
    providers = [provider.name for provider in loaded.project.providers]
    return Subject(readings, identities, models_of(loaded), providers, aliased)


def models_of(loaded: Loaded) -> list[Model]:
    """Return every permission model once: the named ones, and those that only items have, in order of the items."""
    from reconciler.lints.subject import Model

    desired = loaded.desired
    items: dict[bytes, tuple[str, int]] = {}
    for address, fingerprint in desired.fingerprints.items():
        key = fingerprint[DIGEST_SIZE:]
        if key != NO_SHARED and address.startswith(_ITEM):
            first, count = items.get(key, (address, 0))
            items[key] = first, count + 1
    named = [Model(doc, name, items=items.get(digest(doc), ("", 0))[1]) for name, doc in sorted(desired.models.items())]
    for model in named:
        items.pop(digest(model.doc), None)
    inline = loaded.inline_models()
    lacking = [first for key, (first, _) in items.items() if key not in inline]
    inline |= {digest(item.shared): item.shared for item in loaded.resources(lacking).values()}
    return [*named, *(Model(inline[key], item=first, items=count) for key, (first, count) in items.items())]
