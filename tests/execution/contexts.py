"""Contexts of operations that load nothing."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from graphql_api.execution.projection import ALL_COLUMNS, Projection


@dataclass
class BareContext:
    """Has what the executor needs of a context, and nothing else."""

    projection: Projection = field(default=ALL_COLUMNS, kw_only=True)
    on_due: Callable[[Any, Any], None] | None = field(default=None, kw_only=True)
    cancelled: bool = field(default=False, kw_only=True)

    joint_key: None = field(default=None, init=False)

    def joint(self) -> None:
        pass

    def load_queued(self) -> None:
        pass

    def cancel(self) -> None:
        self.cancelled = True
