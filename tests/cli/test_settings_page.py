from pathlib import Path

from graphql_api.cli.settings_page import settings_page, variable
from graphql_api.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_page_is_in_step_with_the_settings() -> None:
    """Written by `graphql-api settings --output docs/settings.md`."""
    assert PAGE.read_text() == settings_page()


def test_every_setting_is_on_the_page_and_says_what_it_decides() -> None:
    page = PAGE.read_text()
    for name, field in Settings.model_fields.items():
        assert f"| `{variable(name)}` |" in page
        assert field.description
        assert field.description.endswith("."), name


def test_every_section_begins_with_a_setting() -> None:
    assert settings_page().count("\n## ") == 7
