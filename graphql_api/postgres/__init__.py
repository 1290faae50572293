"""PostgreSQL: the tables, the pool, migrations, and a server of our own where there is none."""
