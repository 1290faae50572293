"""The modules that docs/clients.md shows, and Node.js with the packages that they import."""

import os
import re
from pathlib import Path

from tests.node import node_with

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "clients.md"
FOLDER = Path(__file__).parent / "javascript"
_BLOCK = re.compile(r"^```\w+ ([\w.]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def modules() -> dict[str, str]:
    """The texts of the page's modules by their names."""
    return dict(_BLOCK.findall(PAGE.read_text("utf-8")))


def prepared_node() -> str:
    """Node.js, with the page's modules in the folder `page` beside the scripts."""
    node = node_with(FOLDER)
    folder = FOLDER / "page"
    folder.mkdir(exist_ok=True)
    for name, text in modules().items():
        written = folder / name
        if not written.exists() or written.read_text("utf-8") != text:
            half = written.with_suffix(f".{os.getpid()}")  # other workers may read it meanwhile
            half.write_text(text, "utf-8")
            half.replace(written)
    return node
