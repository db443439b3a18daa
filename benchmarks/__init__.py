"""Measures the queue against the same work without a queue: ``python -m benchmarks --help``."""
