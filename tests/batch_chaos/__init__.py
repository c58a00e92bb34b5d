"""Batches under faults."""
