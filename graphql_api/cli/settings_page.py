"""`graphql-api settings`: prints docs/settings.md, made of the descriptions in `Settings`."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

from pydantic.fields import FieldInfo

from graphql_api.settings import Settings

_HEAD: Final = """\
# Settings

Each is an environment variable. Written by `graphql-api settings --output docs/settings.md` from
`graphql_api/settings.py`.
"""
_SECTIONS: Final = {
    "profile": "The deployment",
    "database_url": "The database",
    "backup_dir": "Backups",
    "secret_key": "Logins and tokens",
    "allowed_origins": "HTTP and WebSockets",
    "max_characters": "Documents and operations",
    "default_max_daily_loss": "Risk",
}
"""Headings, by the first setting of each section."""


_OTHER_VARIABLES: Final = ("GRAPHQL_API_USER_PASSWORD",)
"""Variables that commands read, and that are no settings of the service."""


def settings_page() -> str:
    """Returns the page as Markdown."""
    page = [_HEAD]
    for name, field in Settings.model_fields.items():
        if name in _SECTIONS:
            page.append(f"\n## {_SECTIONS[name]}\n\n| Variable | Default | |\n| --- | --- | --- |\n")
        page.append(f"| `{variable(name)}` | {default(field)} | {field.description} |\n")
    return "".join(page)


def variable(name: str) -> str:
    """Returns the environment variable of a setting."""
    alias = Settings.model_fields[name].validation_alias
    return alias if isinstance(alias, str) else f"{Settings.model_config['env_prefix']}{name.upper()}"


def unknown_variables(environment: Iterable[str]) -> list[str]:
    """Returns a sentence for each variable that looks like a setting and is none."""
    prefix = str(Settings.model_config["env_prefix"])
    known = {*map(variable, Settings.model_fields), *_OTHER_VARIABLES}
    rests = [name.removeprefix(prefix) for name in known]
    sentences = []
    for name in sorted(environment):
        if name.upper().startswith(prefix) and name.upper() not in known:
            similar = get_close_matches(name.upper().removeprefix(prefix), rests, n=1)
            hint = f"is {prefix}{similar[0]} meant?" if similar else "`graphql-api settings` lists them"
            sentences.append(f"{name} is no setting: {hint}")
    return sentences


def default(field: FieldInfo) -> str:
    """Returns a default as the page shows it, empty if there is none."""
    if field.default_factory is not None:
        return ""  # the description says what it is
    match field.default:
        case None:
            return ""
        case value if value in ((), {}):
            return ""
        case float() as number:
            return f"`{number:g}`"
        case tuple() as items:
            return f"`{','.join(items)}`"
        case value:
            return f"`{value}`"
