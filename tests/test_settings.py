"""Which values a deployment may set in its environment."""

import json
from decimal import Decimal
from pathlib import Path
from typing import get_origin

import pytest
from platformdirs import user_data_path
from pydantic import ValidationError
from sqlalchemy import Numeric

from graphql_api import settings
from graphql_api.postgres.tables import risk_settings
from graphql_api.settings import Settings


def test_data_lies_beside_a_checkout_and_elsewhere_where_the_platform_keeps_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("GRAPHQL_API_DATA_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    assert Settings().data_dir == Path(settings.__file__).parents[1] / ".data"

    monkeypatch.setattr(settings, "__file__", str(tmp_path / "site-packages" / "graphql_api" / "settings.py"))
    assert Settings().data_dir == user_data_path("graphql-api", appauthor=False)


LISTS = {
    "allowed_origins": ("https://a.example", "https://b.example"),
    "trader_log_components": ("bot", "order manager"),
    "trusted_proxies": ("127.0.0.1", "10.0.0.0/8"),
}


def test_every_list_is_written_between_commas_or_in_json(monkeypatch: pytest.MonkeyPatch) -> None:
    lists = {name for name, field in Settings.model_fields.items() if get_origin(field.annotation) is tuple}
    assert lists == set(LISTS)
    for name, items in LISTS.items():
        for text in (",".join(items), f" {items[0]} , {items[1]},", json.dumps(items)):
            monkeypatch.setenv(f"GRAPHQL_API_{name.upper()}", text)
            assert getattr(Settings(), name) == items


LIMITS = ("max_daily_loss", "max_position_size", "max_open_positions", "risk_per_trade")
AMOUNTS = ("max_daily_loss", "max_position_size")


def default(monkeypatch: pytest.MonkeyPatch, limit: str, text: str) -> object:
    """The default of a limit, as the environment has it."""
    monkeypatch.setenv(f"GRAPHQL_API_DEFAULT_{limit.upper()}", text)
    return getattr(Settings(), f"default_{limit}")


@pytest.mark.parametrize("limit", LIMITS)
def test_an_empty_default_is_no_limit(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    assert default(monkeypatch, limit, "") is None


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        *((amount, "0.00000001") for amount in AMOUNTS),
        ("max_open_positions", "2147483647"),
        ("risk_per_trade", "0.0001"),
        ("risk_per_trade", "1"),
    ],
)
def test_a_default_may_be_whatever_its_column_holds(
    monkeypatch: pytest.MonkeyPatch, limit: str, text: str
) -> None:
    assert default(monkeypatch, limit, text) == Decimal(text)


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        *((amount, text) for amount in AMOUNTS for text in ("1e12", "1e-9", "-1", "NaN")),
        ("max_open_positions", "2147483648"),
        ("max_open_positions", "1.5"),
        ("risk_per_trade", "0.00001"),
        ("risk_per_trade", "1.0001"),
        ("risk_per_trade", "none"),
    ],
)
def test_a_default_that_its_column_would_change_or_refuse_is_named(
    monkeypatch: pytest.MonkeyPatch, limit: str, text: str
) -> None:
    with pytest.raises(ValidationError) as error:
        default(monkeypatch, limit, text)
    assert [part["loc"] for part in error.value.errors()] == [(f"default_{limit}",)]


@pytest.mark.parametrize("amount", AMOUNTS)
def test_a_default_may_have_as_many_digits_as_its_column(
    monkeypatch: pytest.MonkeyPatch, amount: str
) -> None:
    type_ = risk_settings.c[amount].type
    assert isinstance(type_, Numeric)
    assert type_.precision is not None
    assert type_.scale is not None
    whole, fraction = "9" * (type_.precision - type_.scale), "9" * type_.scale
    assert default(monkeypatch, amount, f"{whole}.{fraction}") == Decimal(f"{whole}.{fraction}")
    for text in (f"{whole}9", f"0.{fraction}9"):
        with pytest.raises(ValidationError):
            default(monkeypatch, amount, text)


def test_a_pool_has_room_for_a_transaction_what_is_read_beside_it_and_the_process_itself() -> None:
    with pytest.raises(ValidationError, match=r"database_pool_size\n.*greater than or equal to 3"):
        Settings(database_pool_size=2)
