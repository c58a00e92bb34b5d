"""Measurements, not tests: `python -m benchmarks [name]`. One module per figure."""
