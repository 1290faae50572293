"""Development without a database: an embedded PostgreSQL, demo data, a simulated bot."""
