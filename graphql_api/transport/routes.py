"""Every address the service answers."""

from collections.abc import Collection, Iterable

from prometheus_client.registry import Collector
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Route, WebSocketRoute

from graphql_api.dev.graphiql import files as page_files
from graphql_api.execution.operations import Operations
from graphql_api.gateway.background import Background
from graphql_api.gateway.gateway import Authenticate, MakeContext, Recheck, Service
from graphql_api.gateway.idempotency import Idempotency
from graphql_api.gateway.limits import Limits
from graphql_api.gateway.metrics import Metrics
from graphql_api.identity.rate_limit import Budget
from graphql_api.transport import health
from graphql_api.transport.http_endpoint import GetRequests, GraphQLEndpoint
from graphql_api.transport.ws_endpoint import WebSocketEndpoint


def routes(
    operations: Operations,
    *,
    authenticate: Authenticate,
    recheck: Recheck,
    make_context: MakeContext,
    ready: health.Ready,
    limits: Limits,
    budget: Budget | None = None,
    idempotency: Idempotency | None = None,
    background: Background | None = None,
    open_fields: Collection[str] = (),
    get_requests: GetRequests = "off",
    allowed_origins: Collection[str] = (),
    graphiql: bytes | None = None,
    collectors: Iterable[Collector] = (),
) -> list[BaseRoute]:
    """The routes of one process.

    `ready` raises where the process can't serve. `budget` bounds what a viewer may ask of it, and
    `idempotency` carries out keyed mutations once; `background` has what goes on when nobody waits for it.
    `open_fields` at the root are open even with a bad token. `graphiql` is the page for browsers at /graphql,
    if there is to be one. `collectors` add the numbers of others (pool, feed) to /metrics.
    """
    metrics = Metrics(collectors)
    service = Service(
        operations,
        authenticate,
        recheck,
        make_context,
        limits,
        metrics,
        budget,
        idempotency,
        background,
        open_fields,
    )
    cors = Middleware(
        CORSMiddleware,
        allow_origins=list(allowed_origins),
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
        expose_headers=["Retry-After"],
        max_age=7200,
    )
    return [
        Route(
            "/graphql",
            GraphQLEndpoint(service, get_requests=get_requests, page=graphiql),
            middleware=[cors] if allowed_origins else None,
        ),
        WebSocketRoute("/graphql", WebSocketEndpoint(service, allowed_origins=allowed_origins)),
        Route("/healthz", health.live),
        Route("/readyz", health.readiness(ready)),
        Route("/metrics", metrics.endpoint),
        *([page_files()] if graphiql is not None else []),
    ]
