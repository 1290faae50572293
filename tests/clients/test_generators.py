"""Code generators read the schema, and type its scalars as docs/clients.md says."""

import subprocess
from pathlib import Path

import pytest

from tests.clients.page import FOLDER, ROOT, modules, prepared_node

pytestmark = pytest.mark.slow

SOURCE = """
import { graphql } from './gql';

export const Trades = graphql(`
  query Trades { trades(first: 1) { nodes { id pnl entryTime duration strategy { parameters } } } }
`);
"""


def test_the_client_preset_types_every_scalar(tmp_path: Path) -> None:
    node = prepared_node()
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "trades.ts").write_text(SOURCE)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "codegen.js").write_text(modules()["codegen.js"])
    (tmp_path / "schema.graphql").write_text((ROOT / "schema.graphql").read_text())
    (tmp_path / "node_modules").symlink_to(FOLDER / "node_modules")
    command = [node, "node_modules/@graphql-codegen/cli/esm/bin.js", "--config", "codegen.js"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr

    generated = (tmp_path / "src" / "gql" / "graphql.ts").read_text()
    assert "any" not in generated.split("TradesQuery = ")[1].split(";")[0]
    for field, type_ in (("pnl", "string"), ("entryTime", "string"), ("parameters", "unknown")):
        assert f"{field}: {type_}" in generated
