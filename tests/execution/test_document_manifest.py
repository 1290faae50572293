import json
from pathlib import Path

import pytest

from graphql_api.execution.persisted_documents import ManifestError, add_to_manifest, hash_of, load_manifest

ONE, TWO = "{ one }\n", 'query Two { two(text: "ö") }'


@pytest.mark.parametrize("name", ["set.json", "folder", "deeper/set.json"])
def test_what_is_added_is_loaded_by_its_hash(tmp_path: Path, name: str) -> None:
    add_to_manifest(tmp_path / name, [ONE])
    add_to_manifest(tmp_path / name, [TWO, ONE])
    assert load_manifest(tmp_path / name) == {hash_of(ONE): ONE, hash_of(TWO): TWO}


def test_a_folder_may_hold_files_of_any_name(tmp_path: Path) -> None:
    (tmp_path / "dashboard.graphql").write_text(ONE)
    (tmp_path / "notes.txt").write_text("not a document")
    assert load_manifest(tmp_path) == {hash_of(ONE): ONE}


def test_a_file_may_be_written_by_a_code_generator(tmp_path: Path) -> None:
    (tmp_path / "set.json").write_text(json.dumps({hash_of(TWO): TWO}))
    assert load_manifest(tmp_path / "set.json") == {hash_of(TWO): TWO}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[]", "must be an object from SHA-256 to text"),
        ('{"a": 1}', "must be an object from SHA-256 to text"),
        ('{"a": "{ one }"}', "a is not the SHA-256 of its text"),
        ("{", "is no JSON"),
        (None, "can't be read"),
    ],
)
def test_a_set_that_is_none_is_refused(tmp_path: Path, content: str | None, reason: str) -> None:
    path = tmp_path / "set.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ManifestError) as error:
        load_manifest(path)
    assert str(error.value).startswith(f"{path}: {reason}")
