"""Hook of mkdocs: files outside docs/ that are pages of the site, too, and links between all of them.

Links in the files are those that work in a checkout. A link to a page becomes one within the site; a link to anything
else that is not in docs/ stays as it is, and `mkdocs build --strict` refuses it.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks/index.md",
    "examples/README.md": "examples.md",
    **{f"benchmarks/results/{file.name}": f"benchmarks/{file.name}" for file in ROOT.glob("benchmarks/results/*.md")},
}
"""File in the repository → page of the site."""
INSIDE = {page: file for file, page in OUTSIDE.items()}
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside docs/."""
    for file, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / file).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links of the repository into links of the site."""
    del config, files
    place = page.file.src_uri
    return LINK.sub(lambda link: _within_site(link[1], place), markdown)


def _within_site(link: str, page: str) -> str:
    file = INSIDE.get(page, f"docs/{page}")
    target = posixpath.normpath(posixpath.join(posixpath.dirname(file), link))
    if target not in OUTSIDE and not target.startswith("docs/"):
        return link
    return posixpath.relpath(OUTSIDE.get(target, target.removeprefix("docs/")), posixpath.dirname(page) or ".")
