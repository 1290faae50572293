#!/bin/bash
# Run once, when the primary's data is made: the role of the standby and of backups, and the standby's slot.
set -euo pipefail
psql --set=ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
     --set=password="$REPLICATION_PASSWORD" <<'SQL'
CREATE ROLE replicator LOGIN REPLICATION PASSWORD :'password' IN ROLE pg_read_all_data, pg_maintain, pg_monitor;
SELECT pg_create_physical_replication_slot('standby', true);
SQL
echo "host replication replicator all scram-sha-256" >> "$PGDATA/pg_hba.conf"
