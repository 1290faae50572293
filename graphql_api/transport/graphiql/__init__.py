"""GraphiQL, the page for browsers at /graphql. The service itself serves all its files."""

from collections.abc import Mapping
from pathlib import Path
from string import Template

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

_HERE = Path(__file__).parent
_STATIC = _HERE / "static"
"""The files that source/build.mjs makes."""

_STARTERS = {
    "desk": "trader",
    "statistics": "trader",
    "paging": None,
    "risk": "trader",
    "activity": "trader",
    "logs": "operator",
    "warnings": "operator",
    "users": "operator",
}
"""The tabs of a first visit, in their order, and the login that each is meant for; None is any."""

_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self'; "
    b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = ((b"content-security-policy", _POLICY), (b"referrer-policy", b"no-referrer"))
"""The headers of the page: it holds tokens, so no script but its own files may run in it."""

# The module mimetypes isn't used, since it reads tables that differ between machines.
_TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".woff2": "font/woff2",
}
_FOR_EVER = "public, max-age=31536000, immutable"


def html(logins: Mapping[str, str] | None = None) -> bytes:
    """Returns the HTML of the page. `logins`, passwords by e-mail, are offered to everybody who opens it."""
    offered = [{"email": email, "password": password} for email, password in (logins or {}).items()]
    config = orjson.dumps({"logins": offered, "tabs": _starters()}).decode()
    return (
        Template((_HERE / "page.html").read_text("utf-8"))
        .substitute(
            icon=_only("icon-*.svg"),
            style=_only("graphiql-*.css"),
            script=_only("graphiql-*.js"),
            config=config.replace("<", "\\u003c"),  # so that nothing in it can close the script element
        )
        .encode()
    )


def files() -> BaseRoute:
    """Returns the route of the files that the page is made of."""
    paths = {path.name: path for path in _STATIC.iterdir()}

    async def endpoint(request: Request) -> Response:
        path = paths.get(request.path_params["name"])
        if path is None:
            raise HTTPException(404)
        # All names except the licences' contain a hash of the content.
        caching = "no-cache" if path.suffix == ".txt" else _FOR_EVER
        headers = {"cache-control": caching, "x-content-type-options": "nosniff"}
        return FileResponse(path, headers=headers, media_type=_TYPES[path.suffix])

    return Route("/graphiql/{name}", endpoint)


def _starters() -> list[dict[str, str | None]]:
    """Returns the operations that a first visit opens, one for each tab."""
    folder = _HERE / "starters"
    return [
        {
            "query": (folder / f"{name}.graphql").read_text("utf-8").strip(),
            "variables": _read(folder / f"{name}.json"),
            "audience": audience,
        }
        for name, audience in _STARTERS.items()
    ]


def _read(path: Path) -> str | None:
    return path.read_text("utf-8").strip() if path.exists() else None


def _only(pattern: str) -> str:
    """Returns the name of the one file in static/ that matches."""
    [path] = _STATIC.glob(pattern)
    return path.name
