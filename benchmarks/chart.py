"""The chart of README.md: CPU per request, server and PostgreSQL, drawn as SVG."""

from pathlib import Path

from benchmarks.measure import Measured, Plan

CHART = Path(__file__).parent / "chart.svg"

_WIDTH, _LEFT, _BAR, _GAP, _TITLE = 760, 150, 15, 5, 30
_ROOM = 420  # pixels for the longest bar that is drawn whole
_COLOURS = {"ours": ("#1f6f4a", "#8fc7ab"), "other": ("#54627a", "#b3bdcc")}
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#24292f}.title{font-weight:600}.note{fill:#6e7781}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.note{fill:#9198a1}}"
)


def draw(plan: Plan, measured: Measured) -> str:
    """A group of bars for each workload, each on its own scale; a bar that would dwarf others breaks off."""
    parts: list[str] = []
    y = _TITLE
    for workload in plan.workloads:
        samples = {server.name: measured.middle(workload.name, server.name) for server in plan.servers}
        costs = sorted(sample.cpu for sample in samples.values())
        longest = min(costs[-1], 2 * costs[-2]) if len(costs) > 1 else costs[-1]
        scale = _ROOM / (longest or 1.0)  # a run too short for the kernel's clock has taken no time at all
        parts.append(_text(0, y - 8, f"{workload.name}: {workload.what}", "title"))
        for server in plan.servers:
            sample = samples[server.name]
            dark, light = _COLOURS["ours" if server is plan.servers[0] else "other"]
            whole = min(sample.cpu, longest) * scale
            first = min(sample.server_cpu * scale, whole)
            parts.append(_text(0, y + _BAR - 3, server.title))
            parts.append(_bar(_LEFT, y, first, dark))
            parts.append(_bar(_LEFT + first, y, whole - first, light))
            if sample.cpu > longest:
                parts.append(_text(_LEFT + whole + 2, y + _BAR - 3, "…"))
            parts.append(_text(_LEFT + whole + 16, y + _BAR - 3, _label(sample.cpu * 1e3), "note"))
            y += _BAR + _GAP
        y += _TITLE
    parts.append(
        _text(
            0, y - 8, "CPU per request in milliseconds: the server's (dark) and PostgreSQL's (light)", "note"
        )
    )
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{y}" viewBox="0 0 {_WIDTH} {y}">\n'
        f"<title>CPU per request, by workload and server</title>\n<style>{_STYLE}</style>\n{body}\n</svg>\n"
    )


def _label(milliseconds: float) -> str:
    return f"{milliseconds:.2f} ms" if milliseconds < 10 else f"{milliseconds:.1f} ms"


def _bar(x: float, y: float, width: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y}" width="{max(width, 0):.1f}" height="{_BAR}" fill="{colour}"/>'


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    marked = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y}"{marked}>{text}</text>'
