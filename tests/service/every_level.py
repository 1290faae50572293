"""`python -m tests.service.every_level serve` runs the service with all levels of its log and its libraries'.

The exception is uvicorn's log below INFO, which has raw requests and frames; no setting enables it.
"""

from typing import Any, Literal
from unittest.mock import patch

from graphql_api.cli.main import app
from graphql_api.transport.log_config import log_config


def _of_every_level(log_format: Literal["text", "json"] = "text") -> dict[str, Any]:
    config = log_config(log_format)
    config["root"] = {"handlers": ["default"], "level": 1}
    config["loggers"]["graphql_api"]["level"] = 1
    return config


if __name__ == "__main__":
    with patch("graphql_api.transport.uvicorn_server.log_config", _of_every_level):
        app()
