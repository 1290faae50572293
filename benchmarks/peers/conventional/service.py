"""The application: `uvicorn benchmarks.peers.conventional.service:app`, with DATABASE_URL."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import strawberry
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from strawberry.fastapi import GraphQLRouter
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL

from benchmarks.peers.conventional.graph import Query
from benchmarks.peers.conventional.loaders import Context
from benchmarks.peers.conventional.logs import Subscription, broadcast
from benchmarks.peers.conventional.risk import Mutation

DSN = os.environ["DATABASE_URL"]

engine = create_async_engine(
    DSN.replace("postgresql://", "postgresql+asyncpg://"), pool_size=10, max_overflow=0
)
sessions = async_sessionmaker(engine, expire_on_commit=False)


async def context() -> Context:
    """A context for one request."""
    return Context(sessions)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Listen for as long as the application runs."""
    connection = await broadcast.listen(DSN)
    yield
    await connection.close()
    await engine.dispose()


schema = strawberry.Schema(Query, Mutation, Subscription)
app = FastAPI(lifespan=lifespan)
app.include_router(
    GraphQLRouter(schema, context_getter=context, subscription_protocols=[GRAPHQL_TRANSPORT_WS_PROTOCOL]),
    prefix="/graphql",
)
