"""Faults on purpose, against the whole service as real processes. Each test prints its counts."""
