"""The log of operations: a line for each, if that is set, and the statements of slow ones.

It never contains variables or arguments of statements, which may be secrets.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from cachetools import TTLCache

from graphql_api.execution.operations import Operation
from graphql_api.identity.viewer import Viewer
from graphql_api.postgres.database import Database
from graphql_api.quotas import Usage

log = logging.getLogger(__name__)

_EXPLAINED_AGAIN: Final = 3600.0
"""Seconds after which the plan of one statement is logged again."""
_LONGEST_ID: Final = 128


class OperationLog:
    """Logs operations of one process."""

    def __init__(
        self,
        database: Database,
        start: Callable[[Coroutine[Any, Any, None]], object],
        *,
        every: bool,
        slow: float,
    ) -> None:
        """Logs `every` operation, or only those that take `slow` seconds or more; 0 logs none.

        `start` runs coroutines in the background, which explain slow statements.
        """
        self._database = database
        self._start = start
        self._every = every
        self._slow = slow
        self._explained: TTLCache[str, bool] = TTLCache(1000, _EXPLAINED_AGAIN)

    def finished(self, operation: Operation, viewer: Viewer, usage: Usage, seconds: float) -> None:
        """Logs an operation that has ended."""
        is_slow = 0 < self._slow <= seconds
        if not is_slow and not self._every:
            return
        details = _details(operation, viewer, usage, seconds)
        text = " ".join(f"{name}={value}" for name, value in details.items() if value != "")
        log.log(
            logging.WARNING if is_slow else logging.INFO,
            "%s operation: %s",
            "slow" if is_slow else "an",
            text,
            extra={"operation": details},
        )
        unexplained = [sql for _, sql in usage.statements if sql not in self._explained] if is_slow else []
        if unexplained:
            self._explained.update(dict.fromkeys(unexplained, True))
            self._start(self._explain(str(details["id"]), dict.fromkeys(unexplained)))

    async def _explain(self, identifier: str, statements: Mapping[str, None]) -> None:
        """Logs the generic plans of statements that took long, since their arguments aren't kept."""
        for sql in statements:
            try:
                plan = await self._database.generic_plan(sql)
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - the operation was slow, and there is no more to say
                log.debug("a statement can't be explained: %r", error)
                continue
            log.warning(
                "slow operation %s: a statement took long:\n%s\n%s",
                identifier,
                sql,
                plan,
                extra={"operation": {"id": identifier}, "statement": sql, "plan": plan},
            )


def _details(operation: Operation, viewer: Viewer, usage: Usage, seconds: float) -> dict[str, Any]:
    extensions = operation.request.extensions or {}
    digest = hashlib.sha256(operation.text.encode()).hexdigest()
    name = operation.parsed.definition.name
    return {
        "id": _printable(extensions.get("requestId")),
        "operation": name.value if name else "",
        "type": operation.type.value,
        "document": digest[:12],
        "viewer": viewer.principal or "",
        "client": _printable(extensions.get("clientName")),
        "ms": round(seconds * 1e3, 1),
        "cpu_ms": round(usage.cpu * 1e3, 1),
        "database_ms": round(usage.database * 1e3, 1),
        "rows": usage.rows,
        "cost": operation.cost,
    }


def _printable(value: object) -> str:
    """Returns a client's name or the like without characters that could forge lines of the log."""
    text = value if isinstance(value, str) else ""
    return "".join(letter for letter in text[:_LONGEST_ID] if letter.isprintable() and letter != " ")
