import subprocess
import sys
from pathlib import Path

import pytest

from graphql_api.execution.persisted_documents import hash_of, load_manifest

pytestmark = pytest.mark.slow


def run(*arguments: str | Path, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "graphql_api", "documents", "register", *arguments],
        cwd=folder,
        env={"GRAPHQL_API_DATA_DIR": str(folder), **environment},
        capture_output=True,
        text=True,
    )


def written(folder: Path, text: str) -> Path:
    path = folder / "document.graphql"
    path.write_text(text)
    return path


def test_a_document_is_checked_and_written_by_its_hash(tmp_path: Path) -> None:
    text = "query Me { viewer { roles } }\n"
    done = run(written(tmp_path, text), "--to", "set.json", folder=tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(hash_of(text))
    assert load_manifest(tmp_path / "set.json") == {hash_of(text): text}


def test_the_settings_may_say_where_to(tmp_path: Path) -> None:
    file = written(tmp_path, "{ viewer { roles } }")
    run(file, folder=tmp_path, GRAPHQL_API_TRUSTED_DOCUMENTS="trusted")

    assert len(load_manifest(tmp_path / "trusted")) == 1


def test_without_a_place_it_is_refused(tmp_path: Path) -> None:
    done = run(written(tmp_path, "{ viewer { roles } }"), folder=tmp_path)

    assert done.returncode == 1
    assert done.stderr == "graphql-api: say where to with --to, or set GRAPHQL_API_TRUSTED_DOCUMENTS\n"


def test_a_document_that_would_be_refused_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    file = written(tmp_path, "{ nothing }")
    done = run(file, "--to", "set.json", folder=tmp_path)

    assert done.returncode == 1
    assert done.stderr.startswith(f"graphql-api: {file}: Cannot query field 'nothing'")
    assert not (tmp_path / "set.json").exists()
