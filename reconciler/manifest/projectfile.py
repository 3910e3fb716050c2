"""From the sections of `reconciler.yaml` to the `Project` of one environment.

Pure: it takes validated sections. Overrides of the environment win over the project's own values.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from reconciler.manifest.normalize import Finding, Path
from reconciler.manifest.paths import check_pattern
from reconciler.manifest.project import (
    ApiKey,
    Environment,
    Exemption,
    Guardrails,
    Overlay,
    OverlayScope,
    Project,
    Provider,
    Quotas,
    Source,
    TransientMode,
    WidenedMode,
)
from reconciler.manifest.schema import (
    EnvironmentSpec,
    GuardrailsSpec,
    ProjectSections,
    ProviderOverride,
    QuotasSpec,
    Scalar,
    ScopeSpec,
    SourceOverride,
    WidenedAccessSpec,
)
from reconciler.manifest.urls import bad_store, has_credentials, is_store, secret_in
from reconciler.model.canonical import RESERVED_KEYS
from reconciler.model.metadata import WELL_KNOWN
from reconciler.problems import Problem, UsageError, did_you_mean

DEFAULT_ENVIRONMENT = "local"
EMULATOR = "emulator"
_UNITS = {"m": 60, "h": 3600, "d": 86_400}
DEFAULT_MANIFESTS = ("**/*.yaml", "**/*.yml")


def resolve(sections: ProjectSections, environment: str | None) -> tuple[Project, tuple[Finding, ...]]:
    """Return the project for an environment, and what is wrong with names inside it.

    Without a name the environment is `local`, else the only one there is. A project that declares
    none has `local` on the embedded emulator. Raises UsageError for an unknown one.
    """
    environments = sections.environments or {DEFAULT_ENVIRONMENT: EnvironmentSpec(target=EMULATOR)}
    name = _chosen(environments, environment)
    spec = environments[name]
    project = Project(
        environment=_environment(name, spec),
        manifests=tuple(sections.manifests or DEFAULT_MANIFESTS),
        sources=_sources(sections, spec),
        providers=_providers(sections, spec),
        variables=_variables({**sections.vars, **spec.vars}),
        guardrails=_guardrails(sections.guardrails, spec.guardrails),
        quotas=_quotas(sections.quotas, spec.quotas),
        fields=sections.fields,
        policies=_folder(spec.policies or sections.policies),
        overlays=_overlays(spec),
        overlay_files=tuple(
            sorted({file for each in environments.values() for entry in _overlays(each) for file in entry.files})
        ),
        lints=tuple(
            sorted((sections.lints.model_dump(by_alias=True, exclude_none=True) if sections.lints else {}).items())
        ),
    )
    return project, tuple(_findings(sections, name, spec, project))


def _overlays(spec: EnvironmentSpec) -> tuple[Overlay, ...]:
    out = []
    for entry in spec.overlays:
        if isinstance(entry, str):
            out.append(Overlay((entry,)))
            continue
        scope, files = entry.scope, entry.files
        out.append(
            Overlay(
                (files,) if isinstance(files, str) else tuple(files),
                None if scope is None else _scope(scope),
                entry.may_widen,
            )
        )
    return tuple(out)


def _scope(spec: ScopeSpec) -> OverlayScope:
    return OverlayScope(
        None if spec.sources is None else tuple(spec.sources),
        None if spec.uris is None else tuple(spec.uris),
        tuple(spec.groups),
    )


def _bad_overlays(sections: ProjectSections, name: str, spec: EnvironmentSpec) -> Iterator[Finding]:
    """Yield what is wrong with the patterns of overlays, and with the sources that their scopes name."""
    for number, (entry, overlay) in enumerate(zip(spec.overlays, _overlays(spec), strict=True)):
        place: Path = ("environments", name, "overlays", number)
        for pattern in overlay.files:
            if problem := check_pattern(pattern):
                yield Finding(place if isinstance(entry, str) else (*place, "files"), problem)
        for index, source in enumerate((overlay.scope.sources if overlay.scope else None) or ()):
            if source not in sections.sources:
                yield Finding(
                    (*place, "scope", "sources", index),
                    Problem(
                        "unknown-source",
                        f'no source is named "{source}"',
                        why="the scope would hold nothing.",
                        fix=did_you_mean(source, sections.sources) or "declare it under `sources`.",
                    ),
                )


def _folder(path: str | None) -> str | None:
    return None if path is None else path.removeprefix("./").rstrip("/")


def _chosen(environments: dict[str, EnvironmentSpec], wanted: str | None) -> str:
    if wanted is None:
        if DEFAULT_ENVIRONMENT in environments:
            return DEFAULT_ENVIRONMENT
        if len(environments) == 1:
            return next(iter(environments))
        raise UsageError(
            Problem(
                "environment-needed",
                "the project has several environments and none is called local",
                fix=f"choose one with -e: {', '.join(sorted(environments))}.",
            )
        )
    if wanted not in environments:
        raise UsageError(
            Problem(
                "unknown-environment",
                f'no environment is named "{wanted}"',
                why=f"reconciler.yaml declares {', '.join(sorted(environments))}.",
                fix=did_you_mean(wanted, environments) or "declare it under `environments`.",
            )
        )
    return wanted


def _environment(name: str, spec: EnvironmentSpec) -> Environment:
    key = spec.api_key
    return Environment(
        name=name,
        target=spec.target or "",
        organization=spec.organization or ("local" if spec.target == EMULATOR else ""),
        state=spec.state or f".reconciler/{name}.state.db",
        region=spec.region,
        api_key=ApiKey(key.env, key.file, tuple(key.command or ())) if key else ApiKey(env="COVEO_API_KEY"),
        proxy=spec.proxy,
        ca_file=spec.ca_file,
        upload_hosts=tuple(spec.upload_hosts or ()),
        retry_for=spec.retry_for,
        signed_plans=spec.signed_plans == "required",
        encrypt_state=spec.encrypt_state,
    )


def _sources(sections: ProjectSections, spec: EnvironmentSpec) -> tuple[Source, ...]:
    out = []
    for name, source in sorted(sections.sources.items()):
        override = spec.sources.get(name) or SourceOverride()
        out.append(
            Source(
                name=name,
                id=override.id or source.id,
                visibility=override.visibility or source.visibility,
                provider=source.provider or _only_provider(sections),
                kind=override.kind or source.kind,
                exclusive=source.exclusive if override.exclusive is None else override.exclusive,
                compression=source.compression,
                status=source.status,
                digest_field=source.digest_field,
            )
        )
    return tuple(out)


def _only_provider(sections: ProjectSections) -> str | None:
    return next(iter(sections.providers)) if len(sections.providers) == 1 else None


def _providers(sections: ProjectSections, spec: EnvironmentSpec) -> tuple[Provider, ...]:
    out = []
    for name, provider in sorted(sections.providers.items()):
        override = spec.providers.get(name) or ProviderOverride()
        cascades = provider.cascades_to if override.cascades_to is None else override.cascades_to
        out.append(
            Provider(
                name=name,
                id=override.id or provider.id,
                cascades_to=tuple(cascades),
                exclusive=provider.exclusive if override.exclusive is None else override.exclusive,
                refresh_every=_seconds(override.refresh_every or provider.refresh_every),
                case_sensitive=(
                    provider.case_sensitive if override.case_sensitive is None else override.case_sensitive
                ),
            )
        )
    return tuple(out)


def _seconds(duration: str | None) -> int | None:
    return None if duration is None else int(duration[:-1]) * _UNITS[duration[-1]]


def _variables(values: dict[str, Scalar]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, _text(value)) for name, value in values.items()))


def _text(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _guardrails(*specs: GuardrailsSpec | None) -> Guardrails:
    deletes: float = Guardrails().deletes
    updates: float | None = None
    max_changes: int | None = None
    mode: WidenedMode = Guardrails().widened_access
    exceptions: tuple[Exemption, ...] = ()
    people: int | None = None
    items: int | None = None
    transient: TransientMode = Guardrails().transient_exposure
    for spec in specs:
        if spec is None:
            continue
        deletes = _share(spec.deletes) if spec.deletes is not None else deletes
        updates = _share(spec.updates) if spec.updates is not None else updates
        max_changes = spec.max_changes if spec.max_changes is not None else max_changes
        if spec.widened_access is not None:
            mode, exceptions = _widened(spec.widened_access)
        if spec.max_widened is not None:
            people, items = spec.max_widened.people, spec.max_widened.items
        transient = spec.transient_exposure or transient
    return Guardrails(deletes, updates, max_changes, mode, exceptions, people, items, transient)


def _widened(spec: WidenedMode | WidenedAccessSpec) -> tuple[WidenedMode, tuple[Exemption, ...]]:
    if isinstance(spec, str):
        return spec, ()
    exceptions = []
    for entry in spec.except_:
        to = None if entry.to is None else tuple("*" if name == "everybody" else name for name in entry.to)
        exceptions.append(Exemption(None if entry.items is None else tuple(entry.items), to, entry.provider or ""))
    return spec.mode, tuple(exceptions)


def _quotas(*specs: QuotasSpec | None) -> Quotas:
    merged: dict[str, int] = {}
    for spec in specs:
        if spec is not None:
            merged |= spec.model_dump(exclude_none=True)
    return Quotas(**merged)


def _share(percent: str) -> float:
    return float(percent.rstrip("%")) / 100


def _findings(sections: ProjectSections, name: str, spec: EnvironmentSpec, project: Project) -> list[Finding]:
    found = []
    for source, entry in sections.sources.items():
        if entry.provider is not None and entry.provider not in sections.providers:
            found.append(
                Finding(
                    ("sources", source, "provider"),
                    Problem(
                        "unknown-provider",
                        f'no provider is named "{entry.provider}"',
                        why="the source's permissions name identities of this provider.",
                        fix=did_you_mean(entry.provider, sections.providers) or "declare it under `providers`.",
                    ),
                )
            )
    found += _bad_overrides(sections, name, spec)
    if not project.environment.organization:
        found.append(
            Finding(
                ("environments", name),
                Problem(
                    "organization-needed",
                    f'environment "{name}" does not say which organization it is',
                    why="every call names it.",
                    fix="add `organization: ID`, or `target: emulator`.",
                ),
                on_key=True,
            )
        )
    for number, pattern in enumerate(sections.manifests or ()):
        if problem := check_pattern(pattern):
            found.append(Finding(("manifests", number), problem))
    for place, folder in ((("policies",), sections.policies), (("environments", name, "policies"), spec.policies)):
        if folder is not None and (problem := _bad_folder(folder)):
            found.append(Finding(place, problem))
    found += _bad_overlays(sections, name, spec)
    found += _bad_ways(name, spec)
    if spec.state is not None and (problem := bad_state(spec.state)):
        found.append(Finding(("environments", name, "state"), problem))
    for provider, declared in sections.providers.items():
        found += _bad_cascades(("providers", provider, "cascadesTo"), declared.cascades_to)
    for provider, changed in spec.providers.items():
        found += _bad_cascades(("environments", name, "providers", provider, "cascadesTo"), changed.cascades_to or [])
    for source, entry in sections.sources.items():
        if entry.digest_field in RESERVED_KEYS | WELL_KNOWN:
            problem = _bad_digest_field(entry.digest_field)
            found.append(Finding(("sources", source, "digestField"), problem))
    found += _doubles(project)
    return found


def _bad_overrides(sections: ProjectSections, name: str, spec: EnvironmentSpec) -> list[Finding]:
    """Return what an environment says otherwise of sources and providers that the project does not declare."""
    found = []
    for what, overrides, known in (
        ("source", spec.sources, set(sections.sources)),
        ("provider", spec.providers, set(sections.providers)),
    ):
        for override in overrides:
            if override not in known:
                found.append(
                    Finding(
                        ("environments", name, f"{what}s", override),
                        Problem(
                            f"unknown-{what}",
                            f'no {what} is named "{override}"',
                            why="an environment can only change what the project declares.",
                            fix=did_you_mean(override, known) or f"declare it under `{what}s`.",
                        ),
                        on_key=True,
                    )
                )
    return found


def _bad_digest_field(name: str) -> Problem:
    return Problem(
        "bad-digest-field",
        f'"{name}" cannot be the digest field',
        why="the Push API or the indexing pipeline uses this name itself, so the digest would take its place.",
        fix="choose a name that nothing else uses, such as reconcilerdigest.",
    )


def bad_state(state: str) -> Problem | None:
    """Return why `state` of an environment cannot say this."""
    return bad_store(state) if is_store(state) else _outside(state, ".reconciler/prod.state.db")


def _bad_folder(folder: str) -> Problem | None:
    """Return why policies cannot be kept in `folder`."""
    if problem := _outside(folder, "policies"):
        return problem
    name = _folder(folder)
    if name in ("", ".") or check_pattern(folder.rstrip("/")) or set(folder) & set("*?["):
        return Problem(
            "bad-policies",
            f'"{folder}" is no folder of its own for policies',
            why="what lies in it is read as policies and their data, and not as manifests.",
            fix="name a folder below that of reconciler.yaml, such as policies.",
        )
    return None


def _outside(path: str, example: str) -> Problem | None:
    if path.startswith(("/", "~", "\\")) or path[1:2] == ":" or ".." in path.replace("\\", "/").split("/"):
        return Problem(
            "path-outside",
            f'"{path}" leads out of the project folder',
            why="a project may only touch what belongs to it, wherever it came from.",
            fix=f"name a file below the folder of reconciler.yaml, such as {example}.",
        )
    return None


def _bad_ways(name: str, spec: EnvironmentSpec) -> list[Finding]:
    """Return what is wrong with the addresses and certificates that lead to the remote."""
    found = []
    place = ("environments", name)
    for key, url, instead in (
        (
            "target",
            None if spec.target == EMULATOR else spec.target,
            "put the API key where `apiKey` says, and nothing into the URL.",
        ),
        ("proxy", spec.proxy, "drop `proxy` and set HTTPS_PROXY in the environment, credentials included."),
    ):
        if url is not None and has_credentials(url):
            found.append(Finding((*place, key), secret_in(key, instead)))
        elif url is not None and not _is_web_address(url, path=key == "target"):
            found.append(Finding((*place, key), _bad_proxy(url) if key == "proxy" else _bad_target(url)))
    if spec.ca_file is not None and (problem := _outside(spec.ca_file, "certificates/company.pem")):
        found.append(Finding((*place, "caFile"), problem))
    return found


def _bad_proxy(url: str) -> Problem:
    return Problem(
        "bad-proxy",
        f'"{url}" is not the URL of an HTTP proxy',
        why="nothing could be sent through it.",
        fix="write it as http://HOST:PORT or https://HOST:PORT.",
    )


def _bad_target(url: str) -> Problem:
    return Problem(
        "bad-target",
        f'"{url}" is neither "{EMULATOR}" nor the URL of a Push API',
        why="no call could be sent there.",
        fix=did_you_mean(url, (EMULATOR,))
        or "write it as https://HOST, or drop `target` for the public hosts of `region`.",
    )


def _is_web_address(url: str, *, path: bool) -> bool:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return usable and url.isascii() and url.isprintable() and " " not in url and (path or parts.path in ("", "/"))


def _bad_cascades(path: Path, names: list[str]) -> list[Finding]:
    return [
        Finding(
            (*path, index),
            Problem(
                "bad-name",
                f'"{name}" cannot be the name of a provider here',
                why="identities are written type/provider/name, and a slash would end the provider early.",
                fix="name the provider by its id.",
            ),
        )
        for index, name in enumerate(names)
        if "/" in name or "\0" in name
    ]


def _doubles(project: Project) -> list[Finding]:
    found = []
    for what, entries in (("sources", project.sources), ("providers", project.providers)):
        seen: dict[str, str] = {}
        for entry in entries:
            if entry.id in seen:
                found.append(
                    Finding(
                        (what, entry.name, "id"),
                        Problem(
                            "repeated-id",
                            f'{what} "{seen[entry.id]}" and "{entry.name}" have the same id "{entry.id}"',
                            why="two names for one place would overwrite and delete each other's resources.",
                            fix="keep one of them.",
                        ),
                    )
                )
            seen[entry.id] = entry.name
    return found
