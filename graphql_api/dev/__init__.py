"""What a machine without a database and data gets: an embedded PostgreSQL, demo data, a bot."""
