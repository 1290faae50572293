"""The search: requests are drawn, sent and measured; those that cost most are varied."""

import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

import httpx
import orjson

from benchmarks.worst_request.attacks import Attack
from benchmarks.worst_request.costs import Kind, Measured
from benchmarks.worst_request.drafts import Drafter, Selection
from graphql_api.execution.analysis import RequestLimits
from graphql_api.execution.operations import GraphQLRequest
from graphql_api.gateway.gateway import NEW_DOCUMENT, points_of_request

_REFERENCE = """{accounts(first: 10) {nodes {sessions(first: 10) {nodes {trades(first: 10) {nodes {
  id symbol direction entryPrice exitPrice size entryTime pnl status}}}}}}}"""
"""A request that costs its rows: what a point is worth is measured by it."""
_LISTS = """{
  accounts(first: 9) {pageInfo {endCursor} nodes {
    trades(first: 9) {pageInfo {endCursor}} riskEvents(first: 9) {pageInfo {endCursor}}
    logs(first: 9) {pageInfo {endCursor}} sessions(first: 9) {pageInfo {endCursor}}
  }}
  strategies(first: 9) {pageInfo {endCursor} nodes {performance(first: 9) {pageInfo {endCursor}}}}
}"""
_OPERATORS_LISTS = "{users(first: 9) {pageInfo {endCursor}} systemLogs(first: 9) {pageInfo {endCursor}}}"
_REFERENCE_TIMES: Final = 20
_MOST_SETTLING: Final = 20.0
"""Seconds for which a server may read the log's past after its start."""
_KEPT: Final = 6
"""Requests that are varied, for each figure."""
_SURE_CPU: Final = 0.08
"""Seconds of CPU from which a kind's ratio is believed."""
_MOST_REPEATS: Final = 150
_SUSPICIOUS: Final = 1.5
"""The ratio from which a request is sent again, to see whether it was chance."""
_SUSPICIOUS_HOLD: Final = 0.030
"""Seconds of a hold from which a request is sent again: a virtual machine's own pauses count as CPU."""
_ROUNDS_AGAIN: Final = 7
_TIMES_A_ROUND: Final = 4


class Figures(NamedTuple):
    """What one try took."""

    hold: float
    """Seconds of CPU for which nothing else could run on the event loop."""
    size: float
    """Bytes of the answer."""
    memory: float
    """Bytes by which the process grew at its peak."""
    ratio: float
    """What it has used by what it has paid."""


GOALS: Final = Figures(0.050, 16 * 2**20, 64 * 2**20, 2.0)
TITLES: Final = {
    "hold": "longest hold of the event loop",
    "size": "largest answer",
    "memory": "largest growth of memory",
    "ratio": "worst ratio of use to points",
}


def shown(name: str, value: float) -> str:
    """A figure in its unit."""
    match name:
        case "hold":
            return f"{value * 1e3:.0f} ms"
        case "ratio":
            return f"{value:.1f}"
        case _:
            return f"{value / 2**20:.1f} MiB"


@dataclass(frozen=True, slots=True)
class Tried:
    """A request, and what it took."""

    name: str
    figures: Figures
    points: int
    cpu: float
    body: bytes
    draft: list[Selection] | None = None
    outcome: str = ""


@dataclass
class Search:
    """The tries of one server."""

    client: httpx.Client
    process: int
    postgres: int
    tokens: Sequence[str]
    """The tenant's and the operator's."""
    point: float = 0.0
    """Seconds of CPU that a point is worth."""
    tried: list[Tried] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    _best: dict[str, list[Tried]] = field(default_factory=dict)

    def measure_point(self) -> None:
        """Measures what a point is worth, as the median of some rounds, once the server has settled."""
        until = time.monotonic() + _MOST_SETTLING
        while time.monotonic() < until:
            before = self._cpu()
            time.sleep(0.5)
            if self._cpu() - before < 0.05:
                break
        self._reference()  # its plan and statements are there from then on
        self.point = median(self._reference() for _ in range(5))

    def _reference(self, times: int = _REFERENCE_TIMES) -> float:
        """Returns the CPU seconds of a point as they are now."""
        body = orjson.dumps({"query": _REFERENCE, "extensions": {"cost": True}})
        before = self._cpu()
        answers = [self._send(body, self.tokens[0]) for _ in range(times)]
        return (self._cpu() - before) / sum(self._points(answer)[0] for answer in answers)

    def cursors(self) -> Mapping[str, str]:
        """Returns a cursor of each kind of list in its default order, by the field's name."""
        found: dict[str, str] = {}

        def collect(name: str, value: Any) -> None:
            match value:
                case {"pageInfo": {"endCursor": str(cursor)}, **others}:
                    found[name] = cursor
                    collect(name, others)
                case dict():
                    for key, each in value.items():
                        collect(key, each)
                case list():
                    for each in value:
                        collect(name, each)

        for query, token in zip((_LISTS, _OPERATORS_LISTS), self.tokens, strict=True):
            collect("", self._send(orjson.dumps({"query": query}), token).json()["data"])
        return found

    def attack(self, attack: Attack) -> Tried:
        """Tries one of the known attacks."""
        token = "" if attack.is_anonymous else self.tokens[0]
        with self._probed() as measured:
            before = self._cpu()
            answers = [self._send(body, token) for body in attack.bodies]
            cpu = self._cpu() - before
        points = sum(self._paid(body, answer) for body, answer in zip(attack.bodies, answers, strict=True))
        size = max(len(answer.content) for answer in answers)
        ratio = cpu / (points * self.point) if cpu >= _SURE_CPU / 3 else 0.0
        figures = Figures(measured["hold"], size, measured["memory"], ratio)
        tried = Tried(attack.name, figures, points, cpu, attack.bodies[0], None, _outcome(answers[-1]))
        self.tried.append(tried)
        return tried

    def run(self, drafter: Drafter, tries: int, chance: random.Random) -> Iterator[Tried]:
        """Draws and varies so many requests."""
        for number in range(tries):
            kept = self._best.get(chance.choice(Figures._fields), ())
            if kept and chance.random() < 0.5:
                parent = chance.choice(kept).draft
                draft, request = drafter.vary(parent) if parent else drafter.draw()
            else:
                draft, request = drafter.draw()
            yield self._try(number, draft, request, self.tokens[chance.random() < 0.2])

    def measure(self, kind: Kind) -> Measured:
        """Measures a kind of work, until it took enough to be sure of it."""
        token = self.tokens[kind.is_operators]
        points, cpu, number = 0, 0.0, 0
        self._send(self._body_of(kind, 0), token)
        while cpu < _SURE_CPU * 2 and number < _MOST_REPEATS:
            bodies = [self._body_of(kind, number := number + 1) for _ in range(10)]
            before = self._cpu()
            answers = [self._send(body, token) for body in bodies]
            cpu += self._cpu() - before
            for body, answer in zip(bodies, answers, strict=True):
                points += self._paid(body, answer, is_new=kind.is_new)
        return Measured(kind, points / number, cpu / self.point / number)

    @staticmethod
    def _body_of(kind: Kind, number: int) -> bytes:
        query = kind.query % random.randrange(10**9) if kind.is_new else kind.query
        return orjson.dumps(
            {"query": query, "variables": kind.variables(number), "extensions": {"cost": True}}
        )

    def worst(self, *, drawn: bool = False) -> dict[str, Tried]:
        """Returns the worst try by each figure; only of those that were drawn, if that is asked for."""
        tried = [each for each in self.tried if each.draft is not None or not drawn]
        return {name: max(tried, key=lambda each: getattr(each.figures, name)) for name in Figures._fields}

    def _try(self, number: int, draft: list[Selection], request: GraphQLRequest, token: str) -> Tried:
        body = orjson.dumps(
            {"query": request.query, "variables": request.variables, "extensions": {"cost": True}}
        )
        with self._probed() as measured:
            before = self._cpu()
            answer = self._send(body, token)
            cpu = self._cpu() - before
        points = self._paid(body, answer)
        ratio = cpu / (points * self.point)
        if ratio > _SUSPICIOUS:
            ratio, points = self._ratio_again(body, token)
        hold = measured["hold"]
        if hold > _SUSPICIOUS_HOLD:
            hold = self._hold_again(hold, body, token)
        figures = Figures(hold, len(answer.content), measured["memory"], ratio)
        tried = Tried(f"try {number}", figures, points, cpu, body, draft, _outcome(answer))
        self.outcomes[tried.outcome] += 1
        self.tried.append(tried)
        for name in Figures._fields:
            kept = self._best.setdefault(name, [])
            kept.append(tried)
            kept.sort(key=lambda each: -getattr(each.figures, name))
            del kept[_KEPT:]
        return tried

    def _hold_again(self, hold: float, body: bytes, token: str) -> float:
        """Sends a request some times more, its document new each time. Returns the second longest hold."""
        holds = [hold]
        for _ in range(_ROUNDS_AGAIN):
            (again,) = _as_new(body, 1)
            with self._probed() as measured:
                self._send(again, token)
            holds.append(measured["hold"])
        return sorted(holds)[-2]

    def _ratio_again(self, body: bytes, token: str) -> tuple[float, int]:
        """Sends a request some times more, its document new each time. Returns the median ratio, and points.

        In each round, what a point is worth is measured too: the machine may be slower than it was at first.
        """
        ratios, points = [], 0
        for _ in range(_ROUNDS_AGAIN):
            bodies = _as_new(body, _TIMES_A_ROUND)
            point = self._reference(_TIMES_A_ROUND)
            before = self._cpu()
            answers = [self._send(each, token) for each in bodies]
            cpu = self._cpu() - before
            points = sum(self._paid(each, answer) for each, answer in zip(bodies, answers, strict=True))
            ratios.append(cpu / (points * point))
        return median(ratios), points // _TIMES_A_ROUND

    @contextmanager
    def _probed(self) -> Iterator[dict[str, float]]:
        measured: dict[str, float] = {}
        self.client.get("/probe/begin")
        yield measured
        measured |= self.client.get("/probe/end").json()

    def _send(self, body: bytes, token: str) -> httpx.Response:
        headers = {"content-type": "application/json"}
        if token:
            headers["authorization"] = f"Bearer {token}"
        return self.client.post("/graphql", content=body, headers=headers)

    def _cpu(self) -> float:
        children = Path(f"/proc/{self.postgres}/task/{self.postgres}/children").read_text().split()
        return sum(map(_cpu_seconds, (self.process, self.postgres, *map(int, children))))

    def _paid(self, body: bytes, answer: httpx.Response, *, is_new: bool = True) -> int:
        """What a request has paid that was sent for the first time: its size and its document too."""
        size = points_of_request(body)
        document = NEW_DOCUMENT + min(len(orjson.loads(body)["query"]), RequestLimits().characters)
        return sum(self._points(answer)) + size + (document if is_new else 0)

    @staticmethod
    def _points(answer: httpx.Response) -> tuple[int, int]:
        """The points in an answer: those requested, and those charged afterwards."""
        if not answer.content.rstrip().endswith(b"}"):
            return 0, 0
        tail = answer.content[-400:]
        start = tail.rfind(b'"cost":{')
        if start < 0:
            return 0, 0
        cost: Mapping[str, Any] = json.loads(tail[start + 7 : tail.index(b"}", start) + 1])
        return cost["requested"], cost.get("charged", 0)


def _as_new(body: bytes, times: int) -> list[bytes]:
    """Returns a request so many times, each with a document that is new to the server."""
    request = orjson.loads(body)
    return [
        orjson.dumps(request | {"query": f"{request['query']} #{random.randrange(10**6):06}"})
        for _ in range(times)
    ]


def _cpu_seconds(process: int) -> float:
    """The CPU time of a process, by its own clock: it counts nanoseconds, where /proc has hundredths."""
    try:
        return time.clock_gettime((~process << 3) | 2)
    except OSError:  # it has ended
        return 0.0


def _outcome(answer: httpx.Response) -> str:
    """The codes of an answer's errors, or `ok`."""
    if len(answer.content) > 2**20:
        return "ok"
    errors = answer.json().get("errors", ())
    return ", ".join(sorted({error["extensions"]["code"] for error in errors})) or "ok"


def is_ready(client: httpx.Client, seconds: float = 60.0) -> bool:
    """Waits until the server answers. Returns whether it does."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            client.get("/probe/begin")
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return True
    return False


def save(folder: Path, worst: Mapping[str, Tried]) -> None:
    """Writes the worst requests down, to be sent again."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, tried in worst.items():
        (folder / f"{name}.json").write_bytes(tried.body)
