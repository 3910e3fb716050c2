"""Policies as code: Rego rules that a plan must satisfy."""
