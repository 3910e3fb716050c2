"""The examples for containers: what can be held without a cluster and without an image to pull."""

from __future__ import annotations

import io
import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any

import click
import pytest
from ruamel.yaml import YAML

from reconciler.cli.main import cli
from reconciler.cli.serving import Standing, application
from tests.builders import REPOSITORY

EXAMPLES = REPOSITORY / "docs" / "controller"
MANIFESTS = sorted(EXAMPLES.glob("*.yaml"))
CONTAINERFILE = (EXAMPLES / "Containerfile").read_text(encoding="utf-8")
each = pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)


def loaded(path: Any) -> Any:
    """Return a manifest as the API server gets it: plain JSON values, anchors resolved."""
    return json.loads(json.dumps(YAML(typ="safe").load(io.StringIO(path.read_text(encoding="utf-8")))))


def pod_of(manifest: Any) -> Any:
    spec = manifest["spec"].get("jobTemplate", manifest)["spec"]
    return spec["template"]["spec"]


def containers(pod: Any) -> Iterator[Any]:
    yield from (*pod["initContainers"], *pod["containers"])


def parsed(words: list[str]) -> tuple[str, dict[str, Any]]:
    """Return the command that these words mean and its options; one that cannot be parsed raises."""
    at = words.index("run")
    context = cli.make_context("reconciler", words[: at + 1])
    command = cli.get_command(context, "run")
    assert isinstance(command, click.Command)
    return "run", command.make_context("run", words[at + 1 :], parent=context).params | context.params


def test_there_is_a_deployment_and_a_cronjob() -> None:
    assert [loaded(path)["kind"] for path in MANIFESTS] == ["CronJob", "Deployment"]


@each
def test_a_manifest_fits_the_schema_of_kubernetes(path: Any) -> None:
    validator = pytest.importorskip("kubernetes_validate")
    validator.validate(loaded(path), validator.latest_version(), strict=True)


@each
def test_no_container_is_root_or_writes_to_its_root(path: Any) -> None:
    pod = pod_of(loaded(path))
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(pod):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert set(container["resources"]) == {"requests", "limits"}


@each
def test_every_mount_has_its_volume_and_no_secret_stands_in_the_text(path: Any) -> None:
    pod = pod_of(loaded(path))
    volumes = {entry["name"] for entry in pod["volumes"]}
    for container in containers(pod):
        assert {entry["name"] for entry in container["volumeMounts"]} <= volumes
        assert not [entry for entry in container["env"] if "KEY" in entry["name"] and "GIT_CONFIG" not in entry["name"]]
    assert {"secretRef": {"name": "reconciler-environment"}} in pod["containers"][0]["envFrom"]


@each
def test_the_command_line_is_one_that_reconciler_takes(path: Any) -> None:
    manifest = loaded(path)
    name, options = parsed(pod_of(manifest)["containers"][0]["args"])
    assert name == "run"
    assert options["once"] is (manifest["kind"] == "CronJob")
    assert (options["directory"], options["environment"]) == ("project", "prod")


def test_the_probes_ask_what_is_served_where_it_is_served() -> None:
    container = pod_of(loaded(EXAMPLES / "deployment.yaml"))["containers"][0]
    routes = {getattr(route, "path", "") for route in application(Standing(), bytes, "").routes}
    probes = [container[kind]["httpGet"] for kind in ("livenessProbe", "readinessProbe")]
    assert [probe["path"] for probe in probes] == ["/healthz", "/readyz"]
    assert {probe["path"] for probe in probes} <= routes
    _, options = parsed(container["args"])
    assert options["listen"] == ("0.0.0.0", container["ports"][0]["containerPort"])
    assert {probe["port"] for probe in probes} == {container["ports"][0]["name"]}


def test_the_image_is_made_of_what_is_there_and_runs_as_nobody() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", CONTAINERFILE, re.MULTILINE)
    assert copied
    for name in " ".join(copied).split():
        assert (REPOSITORY / name).exists(), name
    extras = re.search(r"'\.\[([\w,]+)\]'", CONTAINERFILE)
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert extras is not None
    assert set(extras[1].split(",")) <= set(project["optional-dependencies"])
    assert re.findall(r"^USER (\S+)$", CONTAINERFILE, re.MULTILINE) == ["65532:65532"]
    entry, words = re.findall(r"^(?:ENTRYPOINT|CMD) (\[.*\])$", CONTAINERFILE, re.MULTILINE)
    assert json.loads(entry) == ["reconciler"]
    assert parsed(json.loads(words))[0] == "run"


def test_the_constraints_that_the_image_makes_of_the_lock_are_plain_requirements() -> None:
    """The same replacement as in the file of the image: no hash and no backslash stay."""
    lock = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8")
    kept = [re.sub(r" *\\$", "", line) for line in lock.splitlines() if not re.match(r" *--hash", line)]
    assert len(kept) > 20
    assert [line for line in kept if line.strip() and not re.fullmatch(r"[\w.\[\],-]+==\S+( ; .+)?", line)] == []
