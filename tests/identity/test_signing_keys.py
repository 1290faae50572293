import stat
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from pydantic import SecretStr

from graphql_api.identity.signing_keys import SecretKeyError, derive_key, signing_key
from graphql_api.settings import Settings


def key_in(folder: Path) -> bytes:
    return signing_key(Settings(secret_key=None, data_dir=folder))


def test_the_key_that_is_set_is_used() -> None:
    assert signing_key(Settings(secret_key=SecretStr("k" * 32))) == b"k" * 32


def test_the_length_counts_in_bytes() -> None:
    assert len(signing_key(Settings(secret_key=SecretStr("ö" * 16)))) == 32


def test_a_short_key_is_refused_without_being_shown() -> None:
    with pytest.raises(SecretKeyError, match="GRAPHQL_API_SECRET_KEY holds 31 bytes, and needs 32") as error:
        signing_key(Settings(secret_key=SecretStr("k" * 31)))
    assert "kkk" not in str(error.value)


def test_production_refuses_to_go_without_a_key(tmp_path: Path) -> None:
    with pytest.raises(SecretKeyError, match="set GRAPHQL_API_SECRET_KEY to 32 secret bytes or more"):
        signing_key(Settings(secret_key=None, profile="production", data_dir=tmp_path))
    assert not list(tmp_path.iterdir())


def test_production_does_not_use_a_key_that_development_left(tmp_path: Path) -> None:
    key_in(tmp_path)
    with pytest.raises(SecretKeyError):
        signing_key(Settings(secret_key=None, profile="production", data_dir=tmp_path))


def test_development_makes_a_key_and_keeps_it(tmp_path: Path) -> None:
    assert key_in(tmp_path / "data") == key_in(tmp_path / "data")


def test_two_folders_have_two_keys(tmp_path: Path) -> None:
    assert key_in(tmp_path / "one") != key_in(tmp_path / "two")


def test_only_the_owner_can_read_the_kept_key(tmp_path: Path) -> None:
    key_in(tmp_path)
    assert stat.S_IMODE((tmp_path / "secret_key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret_key"]


def test_processes_that_start_together_agree_on_a_key(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        assert len(set(pool.map(key_in, [tmp_path] * 8))) == 1


def test_a_kept_key_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret_key").write_text("short")
    with pytest.raises(SecretKeyError, match=r"secret_key holds 5 bytes"):
        key_in(tmp_path)


def test_keys_of_two_purposes_differ() -> None:
    assert derive_key(b"k" * 32, "one") != derive_key(b"k" * 32, "two")
    assert derive_key(b"k" * 32, "one") == derive_key(b"k" * 32, "one")
