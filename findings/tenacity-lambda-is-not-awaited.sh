#!/usr/bin/env bash
# tenacity's AsyncRetrying hands back a coroutine instead of awaiting and retrying it.
#
# Packages: tenacity 9.2.1
# One would guess: await AsyncRetrying(...)(lambda: read(1)) awaits what the lambda returns, as asyncio.gather
# does, and retries its errors.
# Seen: It looks at the callable alone: a lambda is no coroutine function, so that the coroutine is returned
# as the result, un-awaited, and nothing is ever retried. functools.partial of a coroutine function works.
# Why it matters: A retry around a lambda silently isn't one; only a RuntimeWarning at the garbage collector's
# leisure tells.

set -euo pipefail
sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check tenacity==9.2.1
"$work/venv/bin/python" - <<'EOF'
import asyncio
from functools import partial

from tenacity import AsyncRetrying, RetryError, stop_after_attempt

attempts = 0


async def read(key: int) -> None:
    global attempts
    attempts += 1
    raise OSError(f"no {key}")


async def main() -> None:
    try:
        await AsyncRetrying(stop=stop_after_attempt(3))(partial(read, 1))
    except RetryError:
        print(f"with functools.partial: {attempts} attempts")
    assert attempts == 3
    result = await AsyncRetrying(stop=stop_after_attempt(3))(lambda: read(1))
    print(f"with a lambda: {attempts - 3} attempts, and the result is {result}")
    assert attempts == 3 and asyncio.iscoroutine(result)
    result.close()


asyncio.run(main())
EOF
