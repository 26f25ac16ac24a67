"""What pyproject.toml cannot say: the repository's folder is the package, and README.md is a page elsewhere, too.

Packages are found, not listed; their names get that prefix. Folders of data count as packages, too.
"""

import re
from pathlib import Path

from setuptools import find_namespace_packages, setup

FOLDERS = ("pipeline", "passes", "models")


def page_of_index(readme: str) -> str:
    """The README for a package index, where the files beside it are not: links to them are their names alone.

    Everything named so is in the source distribution.
    """
    without_images = re.sub(r"^!\[[^\]]*\]\((?!https?:)[^)]*\)\n+", "", readme, flags=re.MULTILINE)
    return re.sub(r"(?<!!)\[([^\]]+)\]\((?!https?:|#)([^)]+)\)", _named, without_images)


def _named(link: re.Match[str]) -> str:
    text, goal = link.groups()
    return goal if text == goal else f"{text} ({goal})"


found = find_namespace_packages(
    include=[pattern for folder in FOLDERS for pattern in (folder, f"{folder}.*")], exclude=["*__pycache__*"]
)
setup(
    packages=["netsurgeon", *(f"netsurgeon.{package}" for package in found)],
    long_description=page_of_index((Path(__file__).parent / "README.md").read_text("utf-8")),
    long_description_content_type="text/markdown",
)
