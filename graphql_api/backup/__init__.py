"""Backups and point-in-time recovery, by PostgreSQL's own programs.

`schedule` does the daily work. It keeps `receiver` running, which writes the write-ahead log into
`wal_archive`; it takes full and incremental base backups (`take`), and restores and compares them
(`verification`). `recovery` restores a server as of a moment from a backup and the log. `catalog` knows which
backups there are, which of them a restore needs, and which are too old.
"""
