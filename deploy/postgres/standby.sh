#!/bin/bash
# Makes the standby from the primary at its first start, and runs it. Promoted, it stays a primary.
set -euo pipefail
export PGDATA=${PGDATA:-/var/lib/postgresql/18/docker}
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    install --directory --owner postgres --group postgres --mode 0700 "$PGDATA"
    until PGPASSWORD=$REPLICATION_PASSWORD gosu postgres pg_basebackup \
        --dbname "host=primary user=replicator application_name=standby" --pgdata "$PGDATA" \
        --write-recovery-conf --slot standby --wal-method stream --checkpoint fast
    do
        rm -rf "${PGDATA:?}"/*
        sleep 2
    done
fi
exec gosu postgres postgres -c config_file=/etc/postgresql/postgresql.conf -c data_directory="$PGDATA"
