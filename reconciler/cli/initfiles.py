"""The texts of a new project, as `reconciler init` writes them: commented, valid, and applied as they are.

Values go in as they are, in quotes where YAML would read another type than text; whoever gives them has checked that
they are names (see `cli.init`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from string import Template
from typing import Literal

Forge = Literal["github", "gitlab"]


@dataclass(frozen=True, slots=True)
class Answers:
    """What a new project is told: `organization` is empty for one that knows the embedded emulator alone."""

    organization: str = ""
    region: str = "us"
    environment: str = "prod"
    source: str = "handbook"
    source_id: str = ""
    provider: str = "corp"
    provider_id: str = ""
    ci: Forge | None = None


# A name that every reader of YAML takes for text without quotes: 1.2 as ours, 1.1 as those of the forges.
_PLAIN = re.compile(r"(?!(?:true|false|null|yes|no|on|off|y|n)\Z)[a-z_].*", re.IGNORECASE)

# What a repository must not hold: the state and the emulator's data, and plans, which name people.
IGNORED = (".reconciler/", "plan.json")

_PROJECT = """\
# yaml-language-server: $$schema=schemas/project.json
# The project: what the organization calls our sources and providers, and where calls go.

# Where the manifests are. Files and their order carry no meaning: cut them as it suits you.
manifests: ["manifests/**/*.yaml"]

sources:
  # The name is ours, the id is the organization's. Items of a secured source are seen by whom they permit.
  $source: {id: $source_id, visibility: secured, provider: $provider}

providers:
  # Who a group or a user is, is told to a security identity provider; people log in by their email address.
  $provider: {id: $provider_id, cascadesTo: ["Email Security Provider"]}

# Variables, for $${base} in manifests; an environment may have its own.
vars: {base: https://handbook.example.com}

environments:
  # The embedded emulator: no account, no network. It starts by itself and is what commands use without -e.
  local: {target: emulator, organization: $local}
$remote
# What a plan may do before somebody allows it by name.
guardrails: {deletes: 10%, widenedAccess: confirm}
"""

_REMOTE = """\
  # The organization. The key is read when a command needs it, and never stands here.
  $environment:
    organization: $organization
    region: $region
    apiKey: {env: COVEO_API_KEY}
    # Where a team, or CI, shares the state; without it, it is a file on this machine.
    # state: s3://my-bucket/reconciler/$called
"""

_NO_REMOTE = """\
  # An organization of yours. The key is read when a command needs it, and never stands here.
  # prod:
  #   organization: ID
  #   region: us
  #   apiKey: {env: COVEO_API_KEY}
"""

_MANIFEST = """\
# yaml-language-server: $$schema=../schemas/manifest.json
# One item, the group that may see it, and the test that holds it to that.
defaults: {source: $source, provider: $provider}

permissions:
  staff: {allowed: [group:Staff]} # a model with a name, for as many items as you like

items:
  - uri: $${base}/welcome # unique in its source
    title: Welcome
    body: {text: This is where everything begins.} # or {file: content/welcome.html}
    fileExtension: .txt
    permissions: staff
    metadata: {author: Alice Smith, documenttype: Guide}

groups:
  - name: Staff
    members:
      - user:alice@example.com
      - user:bob@example.com

aliases:
  # Whoever a group names logs in by the same email address.
  - ofEach: {membersOf: "*", type: user}
    is: [{provider: Email Security Provider, identity: "user:{name}"}]

# Every plan holds the manifests to these: one that fails stops `apply`.
accessTests:
  - {who: group:Staff, canView: ["$${base}/welcome"]}
  - {items: ["$${base}/**"], onlyVisibleTo: [group:Staff]}
"""

_GITHUB = """\
# Checks manifests on every pull request$applies.
name: reconciler
on:
  pull_request:
  push: {branches: [main]}
permissions: {contents: read}
concurrency: {group: "reconciler-$${{ github.ref }}"}
jobs:
  check:
    runs-on: ubuntu-latest
    steps:
      - name: Check out with the whole history, by which an old branch is noticed
        env: {TOKEN: "$${{ github.token }}"}
        run: |
          auth="AUTHORIZATION: basic $$(printf 'x-access-token:%s' "$$TOKEN" | base64 -w0)"
          git -c http.extraheader="$$auth" clone --quiet "$$GITHUB_SERVER_URL/$$GITHUB_REPOSITORY" .
          git -c http.extraheader="$$auth" fetch --quiet origin "$$GITHUB_SHA"
          git checkout --quiet --detach "$$GITHUB_SHA"
      - run: pipx install reconciler
      - run: reconciler validate
      - run: reconciler test
$rest"""

_GITHUB_PLAN = """\
      # Needs no key; where the state is a store that is shared, its credentials belong into `env`.
      - run: >-
          reconciler plan$chosen --out plan.json --report "summary=$$GITHUB_STEP_SUMMARY" --report annotations=-
"""

_GITHUB_APPLY = """\
      - if: github.event_name == 'push'
        env: {COVEO_API_KEY: "$${{ secrets.COVEO_API_KEY }}"}
        run: reconciler apply$chosen --auto-approve --same-manifests plan.json
"""

_GITLAB = """\
# Checks manifests on every merge request$applies.
default:
  image: python:3.13-slim
  before_script:
    - pip install --quiet reconciler
variables:
  GIT_DEPTH: "0" # the whole history, by which an old branch is noticed
stages: [check, apply]

check:
  stage: check
  script:
    - reconciler validate
    - reconciler test
    - mkdir -p reports
    # A merge request shows the access tests; the plan and its page are in the job's artifacts.
    - >-
      reconciler plan$chosen --out reports/plan.json --report html=reports/plan.html
      --report junit=reports/access-tests.xml
  artifacts:
    when: always
    paths: [reports/]
    reports: {junit: reports/access-tests.xml}
$rest"""

_GITLAB_APPLY = """
apply:
  stage: apply
  needs: [check] # its artifact is the saved plan
  resource_group: $environment # one at a time
  environment: $environment
  rules:
    - if: $$CI_COMMIT_BRANCH == $$CI_DEFAULT_BRANCH
  script:
    # COVEO_API_KEY is a masked variable of the project
    - reconciler apply$chosen --auto-approve --same-manifests reports/plan.json
"""


def project_files(answers: Answers) -> dict[str, str]:
    """Return the texts of a new project by their paths, without schemas and `.gitignore`."""
    values = {
        "source": _quoted(answers.source),
        "source_id": _quoted(answers.source_id or f"{answers.source}-source-id"),
        "provider": _quoted(answers.provider),
        "provider_id": _quoted(answers.provider_id or f"{answers.provider}-provider-id"),
        "environment": _quoted(answers.environment),
        "called": answers.environment,
        "organization": _quoted(answers.organization),
        "local": _quoted(answers.organization or "local"),
        "region": answers.region,
        "applies": f", and applies what is merged to {answers.environment}" if answers.organization else "",
    }
    there = bool(answers.organization)
    values["chosen"] = f" -e {answers.environment}" if there else ""
    values["remote"] = _filled(_REMOTE if there else _NO_REMOTE, values)
    files = {
        "reconciler.yaml": _filled(_PROJECT, values),
        f"manifests/{answers.source}.yaml": _filled(_MANIFEST, values),
    }
    if answers.ci == "github":
        values["rest"] = _filled(_GITHUB_PLAN + (_GITHUB_APPLY if there else ""), values)
        files[".github/workflows/reconciler.yml"] = _filled(_GITHUB, values)
    elif answers.ci == "gitlab":
        values["rest"] = _filled(_GITLAB_APPLY, values) if there else ""
        files[".gitlab-ci.yml"] = _filled(_GITLAB, values)
    return files


def ignoring(text: str) -> str:
    """Return what `.gitignore` says with our lines at its end, as far as it has not got them."""
    known = {line.strip().rstrip("/").lstrip("/") for line in text.splitlines()}
    missing = [line for line in IGNORED if line.rstrip("/") not in known]
    if not missing:
        return text
    gap = "" if not text or text.endswith("\n") else "\n"
    return text + gap + "".join(line + "\n" for line in missing)


def _quoted(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else f'"{name}"'


def _filled(text: str, values: dict[str, str]) -> str:
    return Template(text).substitute(values)
