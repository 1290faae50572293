"""Words of free text columns: the same in Python, in SQL and in the documentation."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Text, bindparam, column, select

from graphql_api.postgres.statement import compile_statement
from graphql_api.postgres.vocabularies import (
    FILLED,
    MAX_REMEMBERED,
    OTHER,
    TRADE_STATUSES,
    VOCABULARIES,
    Vocabulary,
    trade_status,
    trade_status_sql,
)

PAGE = Path(__file__).parents[2] / "docs" / "vocabularies.md"
BY_COLUMN = {vocabulary.column: vocabulary for vocabulary in VOCABULARIES}
BY_EXIT = "CLOSED with an exit time, else OPEN"

each_vocabulary = pytest.mark.parametrize("vocabulary", VOCABULARIES, ids=lambda each: each.column)


def tables() -> Iterator[tuple[str, list[list[str]]]]:
    """The page's sections with the rows of their tables."""
    for section in PAGE.read_text().split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        rows = [line.strip("| ").split(" | ") for line in body.splitlines() if line.startswith("| ")]
        yield title, rows[2:]


DOCUMENTED = {
    title: [
        (FILLED if meaning == BY_EXIT else meaning, re.findall(r"`([^`]*)`|``", words), sources)
        for meaning, words, sources in rows
    ]
    for title, rows in tables()
    if title in BY_COLUMN
}
SOURCES = {
    source
    for title, rows in tables()
    if title == "Sources"
    for names, _ in rows
    for source in names.split(", ")
}


def folded(text: str) -> str:
    return re.sub("[ _-]", "", text).lower()


@each_vocabulary
def test_the_page_has_every_word_with_its_meaning(vocabulary: Vocabulary) -> None:
    documented = {(folded(text), word) for word, texts, _ in DOCUMENTED[vocabulary.column] for text in texts}
    known = {(folded(text), word) for word, texts in vocabulary.spellings.items() for text in texts}

    assert documented == known
    assert len(documented) == sum(len(texts) for _, texts, _ in DOCUMENTED[vocabulary.column])


def test_the_page_names_a_source_for_every_word() -> None:
    named = {source for rows in DOCUMENTED.values() for *_, by in rows for source in by.split(", ")}

    assert named - {"all", "Alpaca"} <= SOURCES


@each_vocabulary
def test_no_word_has_two_meanings(vocabulary: Vocabulary) -> None:
    texts = [folded(text) for texts in vocabulary.spellings.values() for text in texts]

    assert len(texts) == len(set(texts))


def styles(text: str) -> set[str]:
    """The ways in which programs write a word of several parts."""
    parts = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).replace("_", " ").split()
    lower = [part.lower() for part in parts]
    return {
        *(separator.join(words) for separator in (" ", "_", "-", "") for words in (lower, parts)),
        " ".join(lower).upper(),
        "_".join(lower).upper(),
        "".join(part.title() for part in lower),
        f"  {text} ",
    }


@each_vocabulary
async def test_sql_reads_as_python_does_in_every_style(
    connection: "asyncpg.Connection", vocabulary: Vocabulary
) -> None:
    known = [text for texts in vocabulary.spellings.values() for text in texts]
    texts = sorted({style for text in known for style in styles(text)})
    texts += ["???", "İ", "ﬁlled", "-", "close d?"]
    query = compile_statement(select(vocabulary.sql(bindparam("text", type_=Text))))
    in_sql = {
        text: await connection.fetchval(query.sql, *query.arguments({"text": text}))
        for text in [*texts, None]
    }

    assert in_sql.pop(None) is None
    assert in_sql == {text: vocabulary.canonical(text) for text in texts}
    for word, spellings in vocabulary.spellings.items():
        assert {in_sql[style] for text in spellings for style in styles(text)} == {word}


@pytest.mark.parametrize("has_exit", [False, True])
@given(text=st.sampled_from(sorted(TRADE_STATUSES._canonical)) | st.text("abcdefil _-É", max_size=12))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_trades_status_is_the_same_in_sql_and_in_python(
    connection: "asyncpg.Connection", has_exit: bool, text: str
) -> None:
    sql = trade_status_sql(bindparam("text", type_=Text), column("exit_time"))
    query = compile_statement(select(sql))
    exit_time = "now()" if has_exit else "NULL::timestamptz"
    found = await connection.fetchval(
        f"{query.sql} FROM (SELECT {exit_time} AS exit_time) AS trade", *query.arguments({"text": text})
    )

    assert found == trade_status(text, has_exit=has_exit)


def test_a_word_that_is_not_known_is_logged_once_and_remembered(caplog: pytest.LogCaptureFixture) -> None:
    vocabulary = Vocabulary("trades.mood", {"GOOD": ("good",)})
    with caplog.at_level(logging.WARNING):
        read = [vocabulary.canonical(text) for text in ("good", "so-so", "so-so", "Good")]

    assert read == ["GOOD", OTHER, OTHER, "GOOD"]
    assert vocabulary.unknown == {"so-so"}
    assert [record.getMessage() for record in caplog.records] == [
        "trades.mood has a word that is in no vocabulary, read as OTHER: 'so-so'"
    ]


def test_a_flood_of_words_takes_bounded_memory() -> None:
    vocabulary = Vocabulary("trades.mood", {"GOOD": ("good",)})
    for number in range(MAX_REMEMBERED + 100):
        assert vocabulary.canonical(f"mood {number}") == OTHER
        assert vocabulary.canonical("good" + number * " ") == "GOOD"

    assert len(vocabulary.unknown) == len(vocabulary._seen) == MAX_REMEMBERED
