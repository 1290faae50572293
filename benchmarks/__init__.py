"""Compares our server with peers, on one PostgreSQL with one data set: `python -m benchmarks --help`."""
