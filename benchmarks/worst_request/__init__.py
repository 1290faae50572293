"""Searches for the request that takes most under all limits: `python -m benchmarks.worst_request`."""
