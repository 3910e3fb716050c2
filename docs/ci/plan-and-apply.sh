#!/usr/bin/env bash
# For any CI: `plan-and-apply.sh plan` for what is to be reviewed, `plan-and-apply.sh apply` for what was merged,
# `plan-and-apply.sh drift` now and then. Keep the folder $REPORTS as an artifact between the two.
# Reads PROJECT (the project's folder), ENVIRONMENT and REPORTS; keys and credentials as the environment asks for them.
set -euo pipefail

project="${PROJECT:-.}"
reports="${REPORTS:-reconciler-reports}"
command=(reconciler -C "$project")
[ -z "${ENVIRONMENT:-}" ] || command+=(-e "$ENVIRONMENT")

case "${1:-}" in
plan)
    mkdir -p "$reports"
    # Reports are written also when there are errors, and the exit code says so.
    "${command[@]}" plan --out "$reports/plan.json" \
        --report "comment=$reports/comment.md" --report "html=$reports/plan.html" \
        --report "sarif=$reports/findings.sarif" --report "junit=$reports/access-tests.xml"
    ;;
apply)
    # What was saved is what is made: a plan that is stale, altered or of other manifests is refused.
    "${command[@]}" apply --auto-approve --same-manifests --lock-timeout 600 "$reports/plan.json"
    "${command[@]}" verify
    ;;
drift)
    mkdir -p "$reports"
    code=0
    "${command[@]}" drift >"$reports/drift.txt" || code=$?
    cat "$reports/drift.txt"
    # 3 says that there is drift, 4 that nobody could look.
    exit "$code"
    ;;
*)
    echo "usage: $0 plan|apply|drift" >&2
    exit 2
    ;;
esac
