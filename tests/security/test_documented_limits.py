"""docs/security.md has each limit as settings.py has it."""

import re
from pathlib import Path

from graphql_api.cli.settings_page import variable
from graphql_api.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
ROW = re.compile(r"^\| [^|]+ \|([^|]*)\| `(\w+)` \|", re.MULTILINE)
LIMITS = [
    name
    for name in Settings.model_fields
    if name.startswith(("max_", "login_failures_")) or name.endswith(("_timeout", "_per_minute"))
]


def documented() -> dict[str, str]:
    """The defaults in the tables, by variable."""
    return {name: default.strip() for default, name in ROW.findall(PAGE.read_text())}


def test_every_limit_is_told() -> None:
    assert {variable(name) for name in LIMITS} <= set(documented())


def test_every_default_is_what_the_settings_have() -> None:
    defaults = {variable(name): field.default for name, field in Settings.model_fields.items()}
    for name, default in documented().items():
        expected = "" if defaults[name] is None else f"{defaults[name]:,.10g}"
        assert default == expected, name


def test_every_setting_that_is_named_exists() -> None:
    named = set(re.findall(r"GRAPHQL_API_\w+", PAGE.read_text()))
    assert named <= {variable(name) for name in Settings.model_fields}
