"""What the site has besides docs/: pages of other folders, the schema's reference, the list of decisions."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    build_schema,
    get_named_type,
    is_specified_scalar_type,
)
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).parents[1]
ELSEWHERE: Final = {
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "examples.md": "examples/README.md",
    "benchmarks.md": "benchmarks/README.md",
    "findings.md": "findings/README.md",
}
"""Pages of the site that are kept in other folders."""

_LINK = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s#:]*)(#[^)\s]*)?\)")
_FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_KIND = re.compile(r"^```(\w+) [\w.]+$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that docs/ doesn't have."""
    for page, source in ELSEWHERE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text("utf-8")))
    schema = build_schema((ROOT / "schema.graphql").read_text("utf-8"))
    files.append(File.generated(config, "schema.md", content="\n".join(reference(schema))))
    files.append(File.generated(config, "decisions.md", content="\n".join(decisions())))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Leads links to where the site has the pages; what it doesn't have is named without a link."""
    place = Path(page.file.src_uri)
    source = ROOT / ELSEWHERE.get(page.file.src_uri, f"docs/{place}")
    parts = _FENCED.split(markdown)
    prose = [_LINK.sub(lambda link: _led(link, source.parent, place), part) for part in parts[::2]]
    code = [_KIND.sub(r"```\1", part) for part in parts[1::2]]  # a word that tests read, and no title
    return "".join(text for pair in zip(prose, [*code, ""], strict=True) for text in pair)


def _led(link: "re.Match[str]", folder: Path, place: Path) -> str:
    text, target, anchor = link[1], link[2], link[3] or ""
    if not target:
        return link[0]
    file = (folder / target).resolve()
    if not file.is_relative_to(ROOT):
        return text
    path = file.relative_to(ROOT).as_posix()
    pages = {source: page for page, source in ELSEWHERE.items()}
    pages |= {"schema.graphql": "schema.md", "docs/decisions": "decisions.md", "examples": "examples.md"}
    pages |= {"benchmarks": "benchmarks.md", "findings": "findings.md"}
    if path in pages:
        led = pages[path]
    elif path.startswith("docs/") and path.endswith((".md", ".png")):
        led = path.removeprefix("docs/")
    else:
        return text if text.startswith("`") else f"{text} (`{path}`)"
    up = "../" * (len(place.parts) - 1)
    return f"[{text}]({up}{led}{anchor})"


def decisions() -> Iterator[str]:
    """Yields the lines of the list of decision records."""
    yield "# Decisions\n"
    for file in sorted((ROOT / "docs" / "decisions").glob("*.md")):
        title = file.read_text("utf-8").splitlines()[0].removeprefix("# ")
        yield f"- [{title}](decisions/{file.name})"


def reference(schema: GraphQLSchema) -> Iterator[str]:
    """Yields the lines of the schema's reference: its root fields, then each type by its name."""
    yield "# Schema reference\n"
    yield "Made of [schema.graphql](../schema.graphql), which has the same in GraphQL's own language.\n"
    roots = {"Queries": schema.query_type, "Mutations": schema.mutation_type}
    roots["Subscriptions"] = schema.subscription_type
    for title, root in roots.items():
        yield f"## {title}\n"
        assert root is not None  # noqa: S101 - narrows; the schema has all three
        for name, field in root.fields.items():
            yield from _root_field(name, field)
    yield "## Types\n"
    for name, type_ in sorted(schema.type_map.items()):
        if not (name.startswith("__") or is_specified_scalar_type(type_) or type_ in roots.values()):
            yield from _type(schema, type_)


def _root_field(name: str, field: GraphQLField) -> Iterator[str]:
    yield f"### {name}\n"
    yield f"{_prose(field.description)} Returns {_typed(field.type)}.\n"
    if field.args:
        yield "| argument | type | |\n| --- | --- | --- |"
        for argument, definition in field.args.items():
            yield f"| `{argument}` | {_typed(definition.type)} | {_prose(definition.description)} |"
        yield ""


def _type(schema: GraphQLSchema, type_: GraphQLNamedType) -> Iterator[str]:
    yield f"### {type_.name} {{ #{type_.name.lower()} }}\n"
    yield f"{_prose(type_.description)}\n"
    match type_:
        case GraphQLEnumType():
            yield "| value | |\n| --- | --- |"
            for name, value in type_.values.items():
                yield f"| `{name}` | {_prose(value.description)} |"
        case GraphQLInputObjectType():
            yield "| field | type | |\n| --- | --- | --- |"
            for name, given in type_.fields.items():
                yield f"| `{name}` | {_typed(given.type)} | {_prose(given.description)} |"
        case GraphQLObjectType() | GraphQLInterfaceType():
            if isinstance(type_, GraphQLInterfaceType):
                possible = ", ".join(_typed(each) for each in schema.get_possible_types(type_))
                yield f"Implemented by {possible}.\n"
            yield "| field | type | |\n| --- | --- | --- |"
            for name, field in type_.fields.items():
                described = _prose(field.description) + _arguments(field.args)
                yield f"| `{name}` | {_typed(field.type)} | {described} |"
    yield ""


def _arguments(arguments: dict[str, GraphQLArgument]) -> str:
    if not arguments:
        return ""
    return (
        " Arguments: " + ", ".join(f"`{name}` {_typed(each.type)}" for name, each in arguments.items()) + "."
    )


def _typed(type_: Any) -> str:
    named = get_named_type(type_)
    if is_specified_scalar_type(named):
        return f"`{type_}`"
    return f"[`{type_}`](#{named.name.lower()})"


def _prose(description: str | None) -> str:
    return " ".join((description or "").split()).replace("|", "\\|")
