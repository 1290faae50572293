"""`graphql-api activity`: prints the events that an operator's subscription to accountActivity gets."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress

import orjson
from pydantic import SecretStr

from graphql_api.app import build_operations, build_services, close_services
from graphql_api.cli.database import named_or_embedded
from graphql_api.cli.errors import UsageError, not_one_of
from graphql_api.domain.activity import ActivityKind
from graphql_api.execution.operations import GraphQLRequest, Operations
from graphql_api.execution.subscriptions import Subscriptions
from graphql_api.identity.viewer import LoginCredential, Role, Viewer, scopes_of
from graphql_api.postgres.address import Address
from graphql_api.relational.context import Context, Services
from graphql_api.relational.errors import BadInputError
from graphql_api.relational.scalars import parse_id
from graphql_api.settings import Settings

_FOLLOW = """
subscription ($accountIds: [ID!], $kinds: [ActivityKind!], $after: String) {
  accountActivity(accountIds: $accountIds, kinds: $kinds, after: $after) {
    cursor kind change rowId account { id accountNumber }
    node {
      ... on Trade { symbol direction size entryPrice exitPrice pnl status session { id } }
      ... on Session { startedAt endedAt initialBalance finalBalance pnl tradesCount }
      ... on RiskSettings { maxDailyLoss maxPositionSize maxOpenPositions riskPerTrade }
      ... on Account { server isActive lastSync }
    }
  }
}
"""
KINDS = tuple(kind.value.lower() for kind in ActivityKind if kind is not ActivityKind.UP_TO_DATE)
"""What --kind may be, in any case."""
_ROLES = frozenset({Role.OPERATOR})
_OPERATOR = Viewer(roles=_ROLES, scopes=scopes_of(_ROLES), credential=LoginCredential("the command line"))
_TEMPORARY = frozenset({"FEED_UNAVAILABLE", "SERVICE_UNAVAILABLE", "TIMEOUT"})
_RETRY_SECONDS = 1.0


class _AwayError(Exception):
    """The database can't be reached at the moment."""


def show(
    *, follow: bool, accounts: Sequence[str] | None, kinds: Sequence[str] | None, after: str | None
) -> None:
    """Prints events after a cursor as JSON lines, and with `follow` those that come from now on.

    Raises UsageError for arguments that break a rule, and if the feed can't continue without a gap.
    """
    if not follow and after is None:
        raise UsageError("say --follow for what is to come, or --after with a cursor for what came since")
    variables = {"accountIds": _account_ids(accounts), "kinds": _kinds(kinds)}
    settings = Settings()
    with named_or_embedded(settings) as address, suppress(KeyboardInterrupt, BrokenPipeError):
        asyncio.run(_show(settings, address, {**variables, "after": after}, follow=follow))


def _account_ids(accounts: Sequence[str] | None) -> list[str] | None:
    for account in accounts or ():
        try:
            parse_id(account, "--account")
        except BadInputError:
            raise UsageError(f"--account is an account's id, a UUID, and {account!r} is none") from None
    return [*accounts] if accounts else None


def _kinds(kinds: Sequence[str] | None) -> list[str] | None:
    for kind in kinds or ():
        if kind.lower() not in KINDS:
            raise not_one_of("--kind", kind, KINDS)
    return [kind.upper() for kind in kinds] if kinds else None


async def _show(settings: Settings, address: Address, variables: dict[str, object], *, follow: bool) -> None:
    named = settings.model_copy(update={"database_url": SecretStr(address.dsn), "database_direct_url": None})
    services, operations = build_services(named), build_operations(named)
    announced = not follow
    try:
        while True:
            try:
                async with aclosing(_events(services, operations, variables)) as events:
                    async for event in events:
                        variables["after"] = event["cursor"]
                        if event["kind"] != "UP_TO_DATE":
                            sys.stdout.buffer.write(orjson.dumps(event) + b"\n")
                            sys.stdout.buffer.flush()
                        elif not follow:
                            return
                        elif not announced:
                            announced = True
                            sys.stderr.write("following the accounts\n")
            except _AwayError:
                await asyncio.sleep(_RETRY_SECONDS)
    finally:
        await close_services(services)


async def _events(
    services: Services, operations: Operations, variables: Mapping[str, object]
) -> AsyncGenerator[dict[str, object], None]:
    """Yields the events of a subscription. Raises UsageError, and _AwayError where it may be repeated."""
    operation = operations.prepare(GraphQLRequest(_FOLLOW, None, variables))
    subscription = Subscriptions(operations).subscribe(operation, lambda: Context(_OPERATOR, services))
    async with aclosing(subscription) as batches:
        async for results in batches:
            for result in results:
                body = orjson.loads(result.render())
                for error in body.get("errors", ()):
                    if error["extensions"]["code"] in _TEMPORARY:
                        raise _AwayError
                    if body.get("data") is None:
                        raise UsageError(error["message"])
                yield body["data"]["accountActivity"]
