"""Serving the application: uvicorn with our protocols, one process or several."""

import copy
import gc
import logging
import multiprocessing
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.config import LOGGING_CONFIG
from uvicorn.supervisors import Multiprocess

from graphql_api.gateway.gateway import TransportLimits
from graphql_api.settings import Settings
from graphql_api.transport.uvicorn_protocols import HTTPProtocol, ServerConfig, WebSocketProtocol

_OTHER_FILES = 500  # the pool, the feed, modules being imported: connections leave them room
_KEEP_ALIVE = 75  # longer than the idle timeout of the usual balancers, so that they close first


def bind(settings: Settings) -> socket.socket:
    """Take the address to listen on. Raises OSError if it is taken already."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError:
        listening.close()
        raise
    listening.set_inheritable(True)
    return listening


def serve(app: str | Callable[[], ASGIApp], settings: Settings, listening: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT, and return once requests under way are answered.

    `app` makes the application; with several workers it is an import string ("package.module:function"),
    since each worker calls it for itself. Raises SystemExit if the application doesn't start, the address
    is taken, or (with 0) after the signal.
    """
    config = configure(app, settings)
    if settings.workers > 1:
        Multiprocess(config, sockets=[listening]).run()
        return
    # uvicorn raises the signal again when it has stopped: an orderly stop is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    uvicorn.Server(config).run(sockets=[listening])


def configure(app: str | Callable[[], ASGIApp], settings: Settings) -> ServerConfig:
    """Uvicorn's configuration for these settings."""
    limits = TransportLimits.from_settings(settings)
    room = open_files(limits.max_connections + _OTHER_FILES) - _OTHER_FILES
    limits = replace(limits, max_connections=max(1, min(limits.max_connections, room)))
    return ServerConfig(
        app,
        factory=True,
        limits=limits,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        http=HTTPProtocol,
        ws=WebSocketProtocol,
        ws_max_size=limits.max_message_size,
        ws_per_message_deflate=False,  # a third of the deliveries a second, for text that is short
        ws_ping_interval=limits.heartbeat,
        ws_ping_timeout=limits.heartbeat,
        lifespan="on",
        access_log=False,
        server_header=False,
        forwarded_allow_ips=list(settings.trusted_proxies),
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=limits.shutdown_timeout,
        log_config=log_config(),
    )


def open_files(wanted: int) -> int:
    """Ask the system to let this process open as many files as wanted, and tell how many it may."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY:
        return wanted
    if allowed < wanted:
        allowed = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))
    return allowed


class Terse(logging.Filter):
    """Leaves out two lines that uvicorn writes for each WebSocket, and a traceback for a client's mistake."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write it."""
        if isinstance(record.exc_info, tuple) and isinstance(record.exc_info[1], UnicodeDecodeError):
            record.exc_info = None  # text that is no UTF-8, for which the socket is closed
        return "WebSocket %s" not in str(record.msg) and record.msg != "connection open"


def log_config() -> dict[str, Any]:
    """Uvicorn's logging, and ours beside it."""
    config = copy.deepcopy(LOGGING_CONFIG)
    config["filters"] = {"terse": {"()": Terse}}
    config["loggers"]["uvicorn.error"]["filters"] = ["terse"]
    config["loggers"]["graphql_api"] = {"handlers": ["default"], "level": "INFO", "propagate": False}
    return config


def settle() -> None:
    """Take what start-up made out of the garbage collector's sight, and let it look more rarely.

    To be called once the application is complete. Otherwise a busy process spends a quarter of its time
    looking at types and modules that never die.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)


def end_with_parent() -> None:
    """Where this process is one of several workers: end when whoever started it has gone, in whatever way."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="end with parent", daemon=True).start()


def _exit(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)
