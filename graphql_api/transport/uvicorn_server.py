"""Serves the application with uvicorn and our protocols, in one process or several."""

import ctypes
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

import uvicorn
from starlette.types import ASGIApp
from uvicorn.supervisors import Multiprocess

from graphql_api.gateway.gateway import TransportLimits
from graphql_api.settings import Settings
from graphql_api.transport.log_config import log_config
from graphql_api.transport.uvicorn_protocols import HTTPProtocol, ServerConfig, WebSocketProtocol
from graphql_api.transport.worker_metrics import shared_folder

log = logging.getLogger(__name__)
_OTHER_FILES = 500  # open files that are reserved for the pool, the feed, and imports
_BACKLOG = 2048  # connections that the system accepts before the process does
_KEEP_ALIVE = 75  # longer than the idle timeout of common load balancers, so that they close first


def bind(settings: Settings) -> socket.socket:
    """Returns a socket that listens at the address. Raises OSError if another program does.

    It listens at once: two programs could bind the same port, and the second would fail only when it listens.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        raise
    listening.set_inheritable(True)
    return listening


def url_of(settings: Settings, listening: socket.socket) -> str:
    """Returns the URL of the graph at a socket that `bind` has made."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{listening.getsockname()[1]}/graphql"


def serve(app: str | Callable[[], ASGIApp], settings: Settings, listening: socket.socket) -> None:
    """Serves until SIGTERM or SIGINT, and then until requests under way are answered.

    `app` makes the application; with several workers it is an import string ("package.module:function"),
    since each worker calls it for itself. Raises SystemExit if the application doesn't start or the address
    is taken, and with status 0 after the signal.
    """
    config = configure(app, settings)
    log.info("listening on %s", url_of(settings, listening))  # uvicorn names no socket that it hasn't bound
    if settings.workers > 1:
        with shared_folder():
            Multiprocess(config, sockets=[listening]).run()
        return
    # uvicorn raises the signal again after it has stopped, but an orderly stop is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    uvicorn.Server(config).run(sockets=[listening])


def configure(app: str | Callable[[], ASGIApp], settings: Settings) -> ServerConfig:
    """Returns uvicorn's configuration for these settings."""
    limits = TransportLimits.from_settings(settings)
    room = raise_open_file_limit(limits.max_connections + _OTHER_FILES) - _OTHER_FILES
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
        ws_per_message_deflate=False,  # only a third as many deliveries a second, for short texts
        ws_ping_interval=None,  # sockets have heartbeats of their own, with one timer for all
        lifespan="on",
        access_log=False,
        server_header=False,
        forwarded_allow_ips=list(settings.trusted_proxies),
        timeout_keep_alive=_KEEP_ALIVE,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=limits.shutdown_timeout,
        log_config=log_config(settings.log_format),
    )


def raise_open_file_limit(wanted: int) -> int:
    """Raises the limit on this process's open files, as far as the system allows, and returns it."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY:
        return wanted
    if allowed < wanted:
        allowed = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))
    return allowed


_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # glibc's M_MMAP_THRESHOLD and M_TRIM_THRESHOLD
_LARGE = 1024 * 1024
_MOST_UNUSED = 4 * 1024 * 1024


def tune_allocator() -> None:
    """Returns memory to the system after a peak, where the C library is glibc.

    By default, glibc adapts to the largest block that was ever freed (a response of 16 MiB, say), and keeps
    that much memory for later blocks.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGE)
        mallopt(_TRIM_THRESHOLD, _MOST_UNUSED)


def exit_with_parent() -> None:
    """Call it in a worker process: it exits when its parent process has ended, even if that was killed."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="exit with parent", daemon=True).start()


def _exit(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)
