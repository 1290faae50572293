"""Requests that once held the service up, or took more than they paid for: they are tried in every run."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Attack:
    """Bodies of requests that are sent one after the other."""

    name: str
    bodies: Sequence[bytes]
    is_anonymous: bool = False


def attacks(seed: int) -> Iterator[Attack]:
    """Returns all of them, with shapes of statements and documents that no former seed has made."""
    chance = random.Random(seed)
    text = "query($t: String!) {trades(filter: {symbol: {in: [" + "$t " * 400 + "]}}) {nodes {id}}}"
    yield Attack("a text of a megabyte, used 400 times in a list", [_body(text, t="x" * 1_000_000)])
    text = "query($t: String!) {trades(filter: {symbol: {in: [" + "$t " * 1000 + "]}}) {nodes {id}}}"
    yield Attack("a text of 262 characters, used 1,000 times", [_body(text, t="x" * 262)])
    yield Attack("`parameters` under 30 aliases", [_body(_aliases("parameters", 40))])
    nodes = " ".join(
        f"a{n}: node {{parameters performance(first: {n + 1}) {{totalCount}}}}" for n in range(10)
    )
    strategies = f"{{strategies(first: 100) {{edges {{{nodes}}}}}}}"
    yield Attack("`parameters` in 10 parts that begin together", [_body(strategies)])
    yield Attack("`description` under 30 aliases", [_body(_aliases("description", 5000))])
    durations = _aliased("duration", 30)
    sessions = f"{{accounts(first: 20) {{nodes {{sessions(first: 75) {{nodes {{{durations}}}}}}}}}}}"
    yield Attack("`duration` under 30 aliases", [_body(sessions)])
    yield Attack(
        "eleven filters of 80 conditions in new shapes, five times",
        [_filters(chance, 11, 80) for _ in range(5)],
    )
    wrong = "{" + "\n" * 9_000 + " ".join(f"wrong{n}" for n in range(600)) + "}"
    yield Attack("a document of line breaks and 600 wrong fields", [_body(wrong)], is_anonymous=True)
    nested = "{accounts {nodes {" + "\n" * 9_000 + " ".join(f"wrong{n}" for n in range(500)) + "}}}"
    yield Attack("the same, a few levels deep", [_body(nested)], is_anonymous=True)
    fragments = " ".join(f"fragment F{n} on Query {{a{n}: __typename}}" for n in range(300))
    yield Attack(
        "300 fragments that nobody spreads", [_body(f"{{__typename}} {fragments}")], is_anonymous=True
    )
    yield Attack("fragments that repeat one another, eight levels deep", [_body(_fragments(8))])
    same = "{viewer {user {" + " ".join(f"accounts {{nodes {{id a{n}: server}}}}" for n in range(29)) + "}}}"
    yield Attack("29 selections that have to be merged", [_body(same)], is_anonymous=True)
    statistics = _aliased("averageLoss", 30)
    stats = f"{{accounts(first: 20) {{nodes {{sessions(first: 100) {{nodes {{stats {{{statistics}}}}}}}}}}}}}"
    yield Attack("a statistic of 2,000 sessions under 30 aliases", [_body(stats)])
    yield Attack(
        "4,000 tiny distinct documents",
        [_body(f"{{a{chance.randrange(10**9)}: __typename}}") for _ in range(4_000)],
        is_anonymous=True,
    )
    yield Attack("a body of 250,000 numbers", [_variables(b"1.5")], is_anonymous=True)
    yield Attack("a body of 300,000 lists", [_variables(b"[]")], is_anonymous=True)
    yield Attack("a body of 140,000 texts", [_variables(b'"\\u00e9"')], is_anonymous=True)
    ids = [f"{n:08}-0000-4000-8000-000000000000" for n in range(100)]
    yield Attack(
        "20 lists of 100 ids that nobody has",
        [
            _body(
                "query($i: [ID!]!) {" + " ".join(f"a{n}: nodes(ids: $i) {{id}}" for n in range(20)) + "}",
                i=ids,
            )
        ],
    )
    points = "equityCurve(interval: HOUR, maxPoints: 2000) {time netPnl equity drawdown}"
    curves = f"{{accounts(first: 20) {{nodes {{stats {{{points} maxDrawdown}}}}}}}}"
    yield Attack("curves of 20 accounts", [_body(curves)])
    search = {"search": "é" * 1000}
    logs = " ".join(f"a{n}: systemLogs(filter: $f) {{totalCount nodes {{id}}}}" for n in range(20))
    yield Attack(
        "a long text searched in the log 20 times",
        [_body(f"query($f: SystemLogFilter) {{{logs}}}", f=search)],
    )
    schema = "{types {fields {name description args {name type {name description}} type {name}}}}"
    many = " ".join(f"a{n}: __schema {schema}" for n in range(20))
    yield Attack("20 introspections", [_body(f"{{{many}}}")], is_anonymous=True)
    strategies = f"activeStrategiesPerformance(first: 5000) {{strategy {{{_aliased('name', 29)}}}}}"
    yield Attack("a large page beside an introspection", [_body(f"{{__schema {schema} {strategies}}}")])
    condition = "accounts(first: 1) {nodes {user {email @skip(if: $v)}}}"
    null = _body(f"query ($v: Boolean = false) {{{strategies} {condition}}}", v=None)
    yield Attack("a large page beside a condition that is null", [null])


def _body(query: str, **variables: Any) -> bytes:
    return orjson.dumps({"query": query, "variables": variables, "extensions": {"cost": True}})


def _variables(value: bytes) -> bytes:
    head = b'{"query": "{__typename}", "variables": {"v": ['
    return head + b",".join([value] * ((1_048_000 - len(head)) // (len(value) + 1))) + b"]}}"


def _aliases(field: str, rows: int) -> str:
    aliases = _aliased(field, 30)
    return f"{{activeStrategiesPerformance(first: {rows}) {{strategy {{{aliases}}}}}}}"


def _aliased(field: str, times: int) -> str:
    return " ".join(f"a{n}: {field}" for n in range(times))


def _fragments(levels: int) -> str:
    """Returns a small document that reads much, by fragments that spread one another at many places."""
    fields = {
        "Account": "id user {%U} sessions(first: 1) {nodes {%S}} trades(first: 1) {nodes {%T}}",
        "Session": "id startedAt duration pnl account {%A} trades(first: 1) {nodes {%T}}",
        "Trade": "id entryPrice exitPrice pnl session {%S}",
        "User": "id accounts(first: 1) {nodes {%A}}",
    }
    written: dict[str, str] = {}
    left = [("Account", levels)]
    while left:
        type_, level = left.pop()
        if f"{type_}{level}" in written:
            continue
        text = fields[type_]
        for below in fields:
            spread = f"...{below}{level - 1}" if level > 1 else "id"
            if f"%{below[0]}" in text and level > 1:
                left.append((below, level - 1))
            text = text.replace(f"%{below[0]}", spread)
        written[f"{type_}{level}"] = f"fragment {type_}{level} on {type_} {{{text}}}"
    return f"{{accounts(first: 1) {{nodes {{...Account{levels}}}}}}} {' '.join(written.values())}"


def _filters(chance: random.Random, number: int, conditions: int) -> bytes:
    names = [f"f{n}" for n in range(number)]
    declared = ", ".join(f"${name}: TradeFilter" for name in names)
    fields = " ".join(f"{name}: trades(first: 1, filter: ${name}) {{nodes {{id}}}}" for name in names)
    values = {name: filters(chance, conditions) for name in names}
    return _body(f"query({declared}) {{{fields}}}", **values)


def filters(chance: random.Random, conditions: int) -> dict[str, Any]:
    """Returns a filter of trades of so many comparisons and groups, drawn at random."""
    return _group(chance, conditions, 1)


def _group(chance: random.Random, conditions: int, level: int) -> dict[str, Any]:
    members: list[dict[str, Any]] = []
    left = conditions - 1
    while left > 0:
        size = min(left, chance.randint(2, 12))
        if level < 3 and size > 6 and chance.random() < 0.4:
            members.append({chance.choice(("and", "or")): [_group(chance, size - 2, level + 1)]})
        else:
            size = 2
            kind = chance.choice(("symbol", "pnl", "statusRaw", "entryTime"))
            value = {
                "symbol": {chance.choice(("eq", "contains", "startsWith")): "E"},
                "pnl": {chance.choice(("gt", "gte", "lt", "lte")): "1"},
                "statusRaw": {chance.choice(("eq", "contains", "startsWith")): "c"},
                "entryTime": {chance.choice(("gte", "lt")): "2026-01-01T00:00:00Z"},
            }[kind]
            members.append({kind: value})
        left -= size
    return {chance.choice(("and", "or")): members}
