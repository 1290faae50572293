#!/usr/bin/env bash
# obstore exports NotFoundError and a BaseError of all its errors, and raises neither for a missing object.
#
# Packages: obstore 0.12.1
# One would guess: A missing object is obstore.exceptions.NotFoundError, and `except BaseError` has caught all
# that the library raises.
# Seen: It is Python's FileNotFoundError, which is no subclass of either.
# Why it matters: Code that looks whether an object is there passes on the error for the one answer that it
# waited for; code that turns the library's errors into its own lets this one through, with a path in it.

set -euo pipefail
sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check obstore==0.12.1
venv/bin/python - <<'PYTHON'
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import MemoryStore

store = MemoryStore()
for read in (store.head, store.get):
    try:
        read("missing")
    except Exception as error:
        print(f"{read.__name__}: {type(error).__mro__}")
        assert type(error) is FileNotFoundError
        assert not isinstance(error, BaseError | NotFoundError)
assert issubclass(NotFoundError, BaseError)
PYTHON
