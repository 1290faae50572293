"""Configures the log on standard error: lines of text or JSON, without values of rows or arguments."""

import copy
import logging
from datetime import UTC, datetime
from typing import Any, Literal

import asyncpg
import orjson
from uvicorn.config import LOGGING_CONFIG

_DATA_EXCEPTION = "22"
"""The class of SQLSTATEs for errors about a value."""


class SocketNoiseFilter(logging.Filter):
    """Drops two lines that uvicorn logs for each WebSocket, and the traceback of a client's bad UTF-8."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.exc_info, tuple) and isinstance(record.exc_info[1], UnicodeDecodeError):
            record.exc_info = None
        return "WebSocket %s" not in str(record.msg) and record.msg != "connection open"


class RowValueFilter(logging.Filter):
    """Removes the values of rows and arguments from PostgreSQL's and asyncpg's error messages.

    They may be secrets: DETAIL contains whole rows, and an error about a value quotes it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        arguments = record.args if isinstance(record.args, tuple) else ()
        for error in (*arguments, *(record.exc_info or ())):
            if isinstance(error, BaseException):
                _remove_values(error)
        return True


def _remove_values(error: BaseException | None) -> None:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, BaseExceptionGroup):
            for each in error.exceptions:
                _remove_values(each)
        if isinstance(error, asyncpg.PostgresError):
            error.detail = None
            if (error.sqlstate or "").startswith(_DATA_EXCEPTION):
                error.args = ("a value that isn't logged",)
                error.__cause__ = error.__context__ = None
        error = error.__cause__ or error.__context__


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON; the details of an operation are keys of their own."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in ("operation", "statement", "plan"):
            if hasattr(record, name):
                line[name] = getattr(record, name)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


def log_config(log_format: Literal["text", "json"] = "text") -> dict[str, Any]:
    """Returns uvicorn's configuration of logging, with our logger added."""
    config = copy.deepcopy(LOGGING_CONFIG)
    config["filters"] = {"socket_noise": {"()": SocketNoiseFilter}, "row_values": {"()": RowValueFilter}}
    config["handlers"]["default"]["filters"] = ["row_values"]
    config["loggers"]["uvicorn.error"]["filters"] = ["socket_noise"]
    config["loggers"]["graphql_api"] = {"handlers": ["default"], "level": "INFO", "propagate": False}
    if log_format == "json":
        config["formatters"]["default"] = {"()": JsonFormatter}
    return config
