"""Us beside the peers, on one PostgreSQL with one data set: `python -m benchmarks --help`."""
