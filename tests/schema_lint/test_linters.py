"""The schema passes the rules of two linters, but for opt-outs that each have their reason."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.node import node_with

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parent
SCHEMA = FOLDER.parents[1] / "schema.graphql"

# Members of a type stand in an order that a reader follows: an id first, totals last, levels by severity.
UNSORTED = (
    "enum-values-sorted-alphabetically",
    "input-object-fields-sorted-alphabetically",
    "interface-fields-sorted-alphabetically",
    "type-fields-sorted-alphabetically",
)


def rules() -> list[str]:
    """Every rule that graphql-schema-linter has."""
    folder = FOLDER / "node_modules" / "graphql-schema-linter" / "lib" / "rules"
    return [path.stem.replace("_", "-") for path in folder.glob("*.js")]


def lint(command: list[str], folder: Path = FOLDER) -> str:
    """What a linter complains of, nothing if all is well."""
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return "" if result.returncode == 0 else result.stdout + result.stderr


def schema_linter(node: str, schema: Path) -> str:
    wanted = ",".join(rule for rule in rules() if rule not in UNSORTED)
    program = "node_modules/graphql-schema-linter/lib/cli.js"
    return lint([node, program, "--format", "compact", "--rules", wanted, str(schema)])


def eslint(node: str, schema: Path, folder: Path) -> str:
    """graphql-eslint takes its schema from the folder of its configuration."""
    for name in ("eslint.config.js", "package.json"):
        shutil.copy(FOLDER / name, folder)
    shutil.copy(schema, folder / "schema.graphql")
    (folder / "node_modules").symlink_to(FOLDER / "node_modules")
    return lint([node, "node_modules/eslint/bin/eslint.js", "schema.graphql"], folder)


def test_graphql_schema_linter_finds_nothing() -> None:
    node = node_with(FOLDER)
    assert set(UNSORTED) < set(rules())
    assert schema_linter(node, SCHEMA) == ""


def test_graphql_eslint_finds_nothing(tmp_path: Path) -> None:
    assert eslint(node_with(FOLDER), SCHEMA, tmp_path) == ""


def test_both_find_what_breaks_their_rules(tmp_path: Path) -> None:
    node = node_with(FOLDER)
    bad = tmp_path / "bad.graphql"
    bad.write_text(SCHEMA.read_text("utf-8") + "\ntype bad_name { Field: String }\n")
    folder = tmp_path / "eslint"
    folder.mkdir()
    assert "types-are-capitalized" in schema_linter(node, bad)
    assert "naming-convention" in eslint(node, bad, folder)
