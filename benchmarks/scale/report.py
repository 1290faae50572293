"""The tables and plans of what was measured, as Markdown."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.report import table
from benchmarks.scale.lists import Ordered
from benchmarks.scale.measure import Compared, InOrders, Measured

PLANS = Path(__file__).parents[1] / "plans.md"

_DEAREST_PAGE = 1.5


def tables(measured: Measured) -> str:
    """What lists and statistics cost at both sizes."""
    return f"{_lists(measured)}\n\n{_statistics(measured)}"


def _lists(measured: Measured) -> str:
    """Each list's first and thirtieth page, from the cheapest to the most expensive order that is served."""
    few, many = measured.sizes
    head = (
        "trades",
        "page of 100",
        "orders",
        f"ms at {few:,}",
        f"at {many:,}",
        f"8 kB pages at {few:,}",
        f"at {many:,}",
        "largest ratio, in which order",
        "goal",
    )
    rows = []
    for listed, in_orders in measured.lists.items():
        for name, is_first in (("first", True), ("thirtieth", False)):
            pages = [compared for page, compared in in_orders.items() if page.is_first == is_first]
            if not pages:
                continue
            worst = _worst(in_orders, is_first=is_first)
            rows.append(
                (
                    f"{listed.what}, for {listed.who}" if is_first else "",
                    name,
                    str(len(pages)),
                    _range(pages, lambda each: each.small.cpu * 1e3, ".1f"),
                    _range(pages, lambda each: each.large.cpu * 1e3, ".1f"),
                    _range(pages, lambda each: each.small.pages, ",.0f"),
                    _range(pages, lambda each: each.large.pages, ",.0f"),
                    f"{in_orders[worst].ratio:.2f}, {worst.order}",
                    f"≤ {_DEAREST_PAGE:g}",
                )
            )
    return table(head, rows)


def _range(pages: Sequence[Compared], of: Callable[[Compared], float], shape: str) -> str:
    numbers = [of(each) for each in pages]
    least, most = format(min(numbers), shape), format(max(numbers), shape)
    return least if least == most else f"{least} to {most}"


def _worst(in_orders: InOrders, *, is_first: bool) -> Ordered:
    pages = (page for page in in_orders if page.is_first == is_first)
    return max(pages, key=lambda page: in_orders[page].ratio)


def _statistics(measured: Measured) -> str:
    """Beside the ratio of what they cost, that of how many trades they are of."""
    few, many = measured.sizes
    head = (
        "statistics of",
        "which",
        f"trades at {few:,}",
        f"at {many:,}",
        f"ms at {few:,}",
        f"at {many:,}",
        "ratio",
        "goal",
    )
    rows, before = [], None
    for counted, summed in measured.statistics.items():
        compared = summed.compared
        first, before = counted.of != before, counted.of
        rows.append(
            (
                counted.of if first else "",
                counted.what,
                f"{summed.few:,}" if first else "",
                f"{summed.many:,}" if first else "",
                f"{compared.small.cpu * 1e3:.1f}",
                f"{compared.large.cpu * 1e3:.1f}",
                f"{compared.ratio:.2f}",
                f"≤ {summed.many / summed.few:.2f}",
            )
        )
    return table(head, rows)


def plans(measured: Measured) -> str:
    """A plan for each kind of question, at the larger size."""
    head = (
        f"# Plans at {measured.sizes[1]:,} trades\n\n"
        "Written by `python -m benchmarks --part scale --report`. Of each list, the thirtieth page in the"
        " order whose ratio is the largest; of statistics, those of the largest account."
    )
    return "\n\n".join((head, *_plans(measured))) + "\n"


def _plans(measured: Measured) -> Iterator[str]:
    for listed, in_orders in measured.lists.items():
        if all(page.is_first for page in in_orders):
            continue
        worst = _worst(in_orders, is_first=False)
        yield _titled(f"Trades: {listed.what}, for {listed.who}, by {worst.order}", in_orders[worst])
    for counted, summed in measured.statistics.items():
        if counted.of == "the largest account" and counted.what != "all of these":
            yield _titled(f"Statistics: {counted.what}", summed.compared)


def _titled(title: str, compared: Compared) -> str:
    return "\n\n".join((f"## {title}", *(f"```\n{plan.text}\n```" for plan in compared.large.plans)))
