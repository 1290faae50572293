"""Files and links that the pages name exist, and every exception of the import rule is explained."""

import re
import tomllib
from pathlib import Path

import pytest

from graphql_api.identity.viewer import ROLE_SCOPES, SCOPE_MEANINGS

ROOT = Path(__file__).parents[1]
PAGES = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/**/*.md"),
    *(ROOT / folder / "README.md" for folder in ("benchmarks", "examples", "findings")),
]
CODE = re.compile(r"`([\w./-]+)`")
FOLDER = r"(graphql_api|tests|docs|alembic)/[\w./-]*"
FILE = re.compile(rf"[\w./-]*/[\w.-]+\.(py|md|toml|graphql|ts|tsx|mjs|sh|svg)|{FOLDER}")
PLACE = re.compile(r"((?:`[\w.]+`(?: and |, )?)+) in `([\w/.]+\.py)`")
DEFINITION = r"^ *((async )?def|class) {0}\b|^ *{0}(: .*)? = |^ *{0}: |FUNCTION [\w.]*\b{0}\b"
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_links_and_files_of_a_page_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    links = [link for link in LINK.findall(text) if "://" not in link]
    missing = [link for link in links if not (page.parent / link).exists()]
    named = [name for name in CODE.findall(text) if FILE.fullmatch(name) and "YYYY" not in name]
    roots = (ROOT, ROOT / "graphql_api", page.parent)
    missing += [name for name in named if not any((root / name).exists() for root in roots)]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_finds_in_a_file_is_defined_there(page: Path) -> None:
    for names, file in PLACE.findall(page.read_text("utf-8")):
        [path] = [path for root in (ROOT, ROOT / "graphql_api") if (path := root / file).exists()]
        for name in re.findall(r"\w+(?=[.`])", names):
            assert re.search(DEFINITION.format(name), path.read_text("utf-8"), re.MULTILINE), (name, file)


def test_every_exception_of_the_import_rule_is_explained() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    ignored = {edge for contract in contracts for edge in contract.get("ignore_imports", ())}
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    explained = {
        f"graphql_api.domain.{importer} -> graphql_api.domain.{imported}"
        for importer, imported in re.findall(r"^\| `([\w.]+)` → `([\w.]+)` \|", page, re.MULTILINE)
    }
    assert explained == ignored


def test_the_page_on_tokens_has_every_scope_and_role() -> None:
    page = (ROOT / "docs" / "tokens.md").read_text("utf-8")
    for scope, meaning in SCOPE_MEANINGS.items():
        assert f"| `{scope}` | {meaning} |" in page
    for role, scopes in ROLE_SCOPES.items():
        listed = (
            "all" if scopes == set(SCOPE_MEANINGS) else ", ".join(f"`{scope}`" for scope in sorted(scopes))
        )
        assert f"| `{role}` | {listed} |" in page
