"""Typed files: the spec, run configurations and search spaces of the user; the artifacts of stages. Knows no data."""
