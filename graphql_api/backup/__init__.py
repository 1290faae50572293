"""Backups and point-in-time recovery, by PostgreSQL's own programs.

`schedule` does the daily work. It keeps `receiver` running, which writes the write-ahead log into
`wal_archive`; it has `take` take a full or an incremental base backup, and `verification` restore and compare
one. `recovery` makes a server as of a moment from both. `catalog` holds which backups there are, which of
them a restore needs, and which are too old.
"""
