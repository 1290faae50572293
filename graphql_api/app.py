"""The composition root: makes the application that the settings describe."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from math import inf

from fastapi import FastAPI

from graphql_api.domain.account_changes import CHANGES
from graphql_api.domain.account_logs import AccountLogRecording
from graphql_api.domain.query_costs import BASE_COST, COST_RULES
from graphql_api.domain.risk.event_recording import RiskEventRecording
from graphql_api.execution.analysis import RequestLimits
from graphql_api.execution.operations import Operations
from graphql_api.execution.persisted_documents import (
    AutomaticDocuments,
    NoPersistedDocuments,
    PersistedDocuments,
    TrustedDocuments,
    load_manifest,
)
from graphql_api.gateway.errors import mask
from graphql_api.gateway.gateway import Gateway, TransportLimits
from graphql_api.gateway.idempotency import IdempotencyKeys
from graphql_api.gateway.metrics import (
    DocumentCollector,
    FeedCollector,
    Metrics,
    PoolCollector,
    RecorderCollector,
    ReplicaCollector,
    VocabularyCollector,
)
from graphql_api.gateway.operation_log import OperationLog
from graphql_api.gateway.rate_limit import RateLimiter
from graphql_api.gateway.replica_reads import ReplicaReads
from graphql_api.gateway.tracing import TracedDatabase, TracedReplica, Tracing
from graphql_api.identity.authenticator import Authenticator
from graphql_api.identity.signing_keys import derive_key, signing_key
from graphql_api.log_feed.feed import Feed, FeedOptions
from graphql_api.log_feed.recorder import Recorder, Recording
from graphql_api.postgres.address import Address, direct_address
from graphql_api.postgres.database import Database
from graphql_api.postgres.replica import Replica, ReplicaDatabase
from graphql_api.relational.context import Context, Services
from graphql_api.schema import OPEN_MUTATIONS, schema
from graphql_api.settings import Settings
from graphql_api.transport import graphiql
from graphql_api.transport.application import Application, routes
from graphql_api.transport.garbage_collection import GarbageCollection
from graphql_api.transport.lame_duck import LameDuck
from graphql_api.transport.origins import Origins
from graphql_api.transport.uvicorn_server import exit_with_parent, tune_allocator
from graphql_api.transport.worker_metrics import WorkerMetrics

_LEASE_MARGIN = 5.0
"""Seconds after the operation timeout by which a mutation has ended, unless its process was killed."""
_SHUTDOWN_GRACE_PERIOD = 5.0
"""Seconds that a stopping process waits for mutations whose clients have disconnected."""


def create_app(settings: Settings) -> FastAPI:
    """Returns the service over the database that the settings name. Raises ValueError if they name none."""
    services = build_services(settings)
    replica_reads = build_replica_reads(settings, services.database)
    recorders = build_recorders(settings, services.database)
    gateway = build_gateway(settings, services, replica_reads, recorders)
    development = settings.profile == "development"
    lame_duck = LameDuck(settings.lame_duck_time)
    workers = WorkerMetrics(gateway.metrics.registry)
    garbage_collection = GarbageCollection()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        lame_duck.install()
        tune_allocator()
        garbage_collection.start()
        services.feed.start_trimming()
        services.activity.start_trimming()
        for recorder in recorders:
            recorder.start()
        if replica_reads is not None:
            replica_reads.replica.start()
        try:
            async with workers.shared():
                yield
        finally:
            garbage_collection.stop()
            await gateway.close(_SHUTDOWN_GRACE_PERIOD)
            await asyncio.gather(*(recorder.close() for recorder in recorders))
            if replica_reads is not None:
                await replica_reads.close()
            await close_services(services)

    return Application(
        title="graphql-api",
        openapi_url=None,
        lifespan=lifespan,
        routes=routes(
            gateway,
            ready=services.database.ping,
            lame_duck=lame_duck,
            workers=workers,
            get_requests=settings.get_requests or ("open" if development else "off"),
            origins=Origins(settings.allowed_origins, local=development),
            graphiql_html=graphiql.html(settings.demo_logins) if development else None,
        ),
    )


def build_gateway(
    settings: Settings,
    services: Services,
    replica_reads: ReplicaReads | None = None,
    recorders: Sequence[Recorder] = (),
) -> Gateway:
    """Returns the gateway that all transports share: operations, authentication, limits and metrics."""
    operations = build_operations(settings)

    return Gateway(
        operations,
        services.authenticator,
        partial(Context, services=services),
        limits=TransportLimits.from_settings(settings),
        metrics=Metrics(
            (
                FeedCollector("log_feed", services.feed.stats),
                FeedCollector("activity", services.activity.stats),
                RecorderCollector(recorders),
                PoolCollector(services.database),
                *([ReplicaCollector(replica_reads)] if replica_reads is not None else []),
                DocumentCollector(operations),
                VocabularyCollector(),
            )
        ),
        rate_limiter=build_rate_limiter(settings),
        idempotency_keys=IdempotencyKeys(
            services.database,
            lifetime=settings.idempotency_lifetime,
            lease=settings.operation_timeout + _LEASE_MARGIN,
        ),
        open_fields=OPEN_MUTATIONS,
        replica_reads=replica_reads,
        operation_log=partial(
            OperationLog,
            services.database,
            every=settings.log_operations,
            slow=settings.slow_operation,
        ),
        log_from=0 if settings.log_operations else settings.slow_operation or inf,
        tracing=services.database.tracing if isinstance(services.database, TracedDatabase) else None,
    )


def build_replica_reads(settings: Settings, primary: Database) -> ReplicaReads | None:
    """Returns the object that chooses queries for the replica; None if the settings name no replica."""
    if settings.database_replica_url is None:
        return None
    replica_class: type[ReplicaDatabase] = ReplicaDatabase
    if isinstance(primary, TracedDatabase):
        replica_class = TracedReplica
    replica = replica_class(
        Address.parse(settings.database_replica_url.get_secret_value()),
        primary,
        pool_size=settings.database_pool_size,
        pool_timeout=settings.database_pool_timeout,
        statement_timeout=settings.statement_timeout,
        prepared_statements=settings.database_prepared_statements,
    )
    if isinstance(replica, TracedReplica) and isinstance(primary, TracedDatabase):
        replica.tracing = primary.tracing
    return ReplicaReads(Replica(primary, replica, max_lag=settings.replica_max_lag), settings.redis_url)


def build_operations(settings: Settings) -> Operations:
    """Returns the executor of the schema's operations, with the settings' limits on requests."""
    return Operations(
        schema,
        mask=mask,
        persisted=build_persisted(settings),
        limits=RequestLimits(
            characters=settings.max_characters,
            tokens=settings.max_tokens,
            depth=settings.max_depth,
            aliases=settings.max_aliases,
            directives=settings.max_directives,
            root_fields=settings.max_root_fields,
            cost=settings.max_cost,
            values=settings.max_values,
            response_size=settings.max_response_size,
            errors=settings.max_errors,
        ),
        cost_rules=COST_RULES,
        base_cost=BASE_COST,
        introspection=settings.profile == "development",
        engine=settings.engine,
    )


def build_persisted(settings: Settings) -> PersistedDocuments:
    """Returns the documents that requests may name by their hash. Raises ManifestError."""
    if settings.trusted_documents is not None:
        return TrustedDocuments(load_manifest(settings.trusted_documents))
    if settings.persisted_documents:
        return AutomaticDocuments(settings.persisted_documents)
    return NoPersistedDocuments()


def build_rate_limiter(settings: Settings) -> RateLimiter | None:
    """Returns the limiter of points that a viewer may spend in a minute; None for no limit."""
    points = settings.points_per_minute
    if points is None and settings.profile == "production":
        points = 20 * settings.max_cost
    return RateLimiter(points, settings.redis_url) if points else None


def build_services(settings: Settings) -> Services:
    """Returns the parts that a process has one of. They connect when they are first used."""
    if settings.database_url is None:
        raise ValueError("set DATABASE_URL to the database to serve")
    address = Address.parse(settings.database_url.get_secret_value())
    key = signing_key(settings)
    database_class = TracedDatabase if settings.tracing else Database
    database = database_class(
        address,
        pool_size=settings.database_pool_size,
        pool_timeout=settings.database_pool_timeout,
        statement_timeout=settings.statement_timeout,
        prepared_statements=settings.database_prepared_statements,
        batched_reads=settings.database_shared_reads,
    )
    if isinstance(database, TracedDatabase):
        database.tracing = Tracing()
    return Services(
        settings=settings,
        database=database,
        authenticator=Authenticator(database, settings, derive_key(key, "identity")),
        feed=Feed(
            database,
            direct_address(settings),
            derive_key(key, "feed"),
            FeedOptions(heartbeat=settings.heartbeat, retention=timedelta(days=settings.log_feed_retention)),
        ),
        activity=Feed(
            database,
            direct_address(settings),
            derive_key(key, "activity"),
            FeedOptions(heartbeat=settings.heartbeat, retention=timedelta(days=settings.activity_retention)),
            CHANGES,
        ),
    )


def build_recorders(settings: Settings, database: Database) -> list[Recorder]:
    """Returns the recorders, of which one process in the deployment is active at a time."""
    recordings: list[Recording] = []
    if settings.trader_log_components:
        recordings.append(AccountLogRecording(settings.trader_log_components))
    if settings.risk_events:
        recordings.append(RiskEventRecording(settings.risk_timezone))
    return [Recorder(database, direct_address(settings), recording) for recording in recordings]


async def close_services(services: Services) -> None:
    """Closes connections, subscriptions and threads."""
    await asyncio.gather(services.feed.close(), services.activity.close(), services.authenticator.close())
    await services.database.close()


def from_environment() -> FastAPI:
    """Returns the application that the environment describes. Each worker of uvicorn calls it."""
    exit_with_parent()
    return create_app(Settings())
