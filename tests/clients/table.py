"""The table of docs/clients.md: which clients are tested, in which versions, and what is tested.

`python -m tests.clients.table` writes it again.
"""

import json
import re
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from tests.clients.page import FOLDER, PAGE, PYTHON_FOLDER, ROOT

_TABLE = re.compile(r"(?<=<!-- table -->\n).*?(?=<!-- end of table -->)", re.DOTALL)


@dataclass(frozen=True)
class Row:
    """A client, the packages that are locked for it, what is tested, and by which tests."""

    client: str
    packages: tuple[str, ...]
    what: str
    tests: tuple[str, ...]
    folder: Path | None = FOLDER
    """Of the lock file that has the packages; None for that of the project's own environment."""


_SOCKET = "query, renewal of a socket's token, resume after a crash"
_FOLLOWING, _CACHES = "tests/clients/test_following.py", "tests/clients/test_caches.py"
_LOG, _ACTIVITY = "tests/examples/test_log_feeds.py", "tests/examples/test_account_activity.py"
_TRANSPORT = "tests/transport/test_clients.py"
_PAGE = "tests/clients/test_page.py"
_NOT_RUN = "not run: no compiler here; the scalars and keys of its settings exist in the schema"
ROWS = (
    Row("Apollo Client", ("@apollo/client",), f"{_SOCKET}, cache", (_FOLLOWING, _CACHES)),
    Row("urql", ("@urql/core", "@urql/exchange-graphcache"), f"{_SOCKET}, cache", (_FOLLOWING, _CACHES)),
    Row("Relay", ("relay-runtime", "relay-compiler"), f"{_SOCKET}, store, compiler", (_FOLLOWING, _CACHES)),
    Row(
        "graphql-ws",
        ("graphql-ws",),
        f"{_SOCKET}, a live copy of trades, every close code",
        (_FOLLOWING, _LOG, _ACTIVITY, "tests/transport/test_close_codes.py"),
    ),
    Row(
        "graphql-sse",
        ("graphql-sse",),
        "subscription, coming back after a deploy",
        (_TRANSPORT,),
        ROOT / "tests" / "transport" / "javascript",
    ),
    Row(
        "GraphQL Code Generator",
        ("@graphql-codegen/cli", "@graphql-codegen/client-preset"),
        "types of the scalars",
        ("tests/clients/test_generators.py",),
    ),
    Row(
        "ariadne-codegen (Python)",
        ("ariadne-codegen",),
        "a generated client's query, with its scalars",
        ("tests/clients/test_generators.py",),
        PYTHON_FOLDER,
    ),
    Row(
        "gql (Python)",
        ("gql",),
        _SOCKET,
        (_FOLLOWING, _TRANSPORT),
        None,
    ),
    Row(
        "websockets (Python)",
        ("websockets",),
        "subscription, resume after a crash, a live copy of trades",
        (_LOG, _ACTIVITY),
        None,
    ),
    Row("Apollo iOS", (), _NOT_RUN, (_PAGE,), None),
    Row("Apollo Kotlin", (), _NOT_RUN, (_PAGE,), None),
    Row(
        "Chromium, without a library",
        (),
        "query and subscription from another origin",
        ("tests/test_readme.py",),
        None,
    ),
)


def table() -> str:
    """Returns the table as Markdown."""
    lines = ["| client | version | what is tried | by |", "| --- | --- | --- | --- |"]
    for row in ROWS:
        versions = ", ".join(
            version_of(package, row.folder) + (f" ({package})" if len(row.packages) > 1 else "")
            for package in row.packages
        )
        tests = ", ".join(f"`{test}`" for test in row.tests)
        lines.append(f"| {row.client} | {versions} | {row.what} | {tests} |")
    return "\n".join((*lines, ""))


def version_of(package: str, folder: Path | None) -> str:
    """Returns the locked version of a package."""
    if folder is None:
        return version(package)
    if folder == PYTHON_FOLDER:
        [locked] = re.findall(rf"^{package}==(\S+)", (folder / "requirements.lock").read_text(), re.MULTILINE)
        return str(locked)
    packages = json.loads((folder / "package-lock.json").read_text("utf-8"))["packages"]
    return str(packages[f"node_modules/{package}"]["version"])


def with_table(page: str) -> str:
    """Returns the page with the table as it is now."""
    return _TABLE.sub(lambda _: table(), page)


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text("utf-8")), "utf-8")
