"""What the documentation names is there: files, links, snippets, commands, options, floors of the architecture."""

import ast
import re
import textwrap
from pathlib import Path

import click
import pytest

from netsurgeon.cli import cli

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("benchmarks/*.md"),
        *ROOT.glob("examples/*.md"),
        *ROOT.glob("models/digits/*.md"),
    ]
)
PATH = re.compile(r"\b(?:pipeline|passes|models|tests|benchmarks|docs|examples)/[\w/.-]*\w/?")
LINK = re.compile(r"\]\((?![a-z]+:|#)([^)#\s]+)")
SNIPPET = re.compile(r"^ *```python\n\s*# (\S+\.py)\n(.*?)```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^(?: {4}|.* run: )(?:netsurgeon|\.venv/bin/python cli\.py) (\S+)(.*)$", re.MULTILINE)
OPTION = re.compile(r"(?<= )--?[a-z][\w-]*")
TARGET = re.compile(r"(?:^ {4}|`)make ([a-z][a-z ]*)", re.MULTILINE)


def read_floors() -> dict[str, tuple[tuple[str, ...], ...]]:
    """FLOORS of test_layering.py: tests do not import each other."""
    for statement in ast.parse((ROOT / "tests" / "test_layering.py").read_text("utf-8")).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "FLOORS":
            floors: dict[str, tuple[tuple[str, ...], ...]] = ast.literal_eval(statement.value)
            return floors
    raise ValueError("tests/test_layering.py has no FLOORS")


FLOORS = read_floors()


def missing_paths(text: str) -> set[str]:
    """Paths in the repository that a text names, and that are not there."""
    return {path for path in PATH.findall(text) if not (ROOT / path).exists()}


def missing_links(text: str, folder: Path) -> set[str]:
    return {link for link in LINK.findall(text) if not (folder / link).exists()}


def stale_snippets(text: str) -> list[str]:
    """Snippets that are not in the file named in their first line."""
    stale = []
    for path, code in SNIPPET.findall(text):
        lines = [line.rstrip() for line in code.rstrip().splitlines()]
        source = [line.rstrip() for line in (ROOT / path).read_text("utf-8").splitlines()]
        starts = range(len(source) - len(lines) + 1)
        if not any(_same(lines, source[start : start + len(lines)]) for start in starts):
            stale.append(f"{path}: {lines[0].strip()}")
    return stale


def unknown_commands(text: str) -> set[str]:
    """Commands and options of netsurgeon, and targets of make, that a text shows and that are not there."""
    unknown = set()
    for name, rest in COMMAND.findall(text.replace("\\\n", " ")):
        command = cli.commands.get(name)
        if not isinstance(command, click.Command):
            unknown.add(name)
            continue
        options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        shown = OPTION.findall(re.sub(r"'[^']*'", "", rest.partition(" #")[0]))
        unknown |= {f"{name} {option}" for option in shown if option not in options}
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = {target for line in TARGET.findall(text) for target in line.split()}
    return unknown | {f"make {target}" for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)}


def _same(snippet: list[str], source: list[str]) -> bool:
    """Whether lines are the same but for a common indent."""
    return textwrap.dedent("\n".join(snippet)) == textwrap.dedent("\n".join(source))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_is_there(page: Path) -> None:
    text = page.read_text("utf-8")
    assert not missing_paths(text)
    assert not missing_links(text, page.parent)
    assert not stale_snippets(text)
    assert not unknown_commands(text)


def test_what_is_not_there_is_found() -> None:
    assert missing_paths("see `passes/solvers/damping.py` and `passes/nothing.py`") == {"passes/nothing.py"}
    assert missing_links("[a](docs/goals.md#x) [b](https://x.y) [c](docs/nothing.md)", ROOT) == {"docs/nothing.md"}
    snippet = "```python\n# passes/solvers/damping.py\nNEAR_TIE = {}\n```\n"
    assert not stale_snippets(snippet.format("0.002"))
    assert stale_snippets(snippet.format("0.003")) == ["passes/solvers/damping.py: NEAR_TIE = 0.003"]
    commands = "    netsurgeon compress a.onnx --sparsity 0.9 --nothing   # --never\n    netsurgeon heal a.onnx\n"
    assert unknown_commands(f"{commands}    make demo nothing") == {"compress --nothing", "heal", "make nothing"}


def asks_an_index(text: str) -> list[str]:
    """Commands that would install netsurgeon from a package index, where it is not."""
    return re.findall(r"pip install[^\n#]*['\" ]netsurgeon(?:\[|\b(?![-_./\w]))", text)


TEXTS = (".py", ".ipynb", ".md", ".toml", ".html", ".js", ".css")
"""Endings of files that may tell somebody to install something."""
SOURCES = sorted(
    path
    for folder in ("pipeline", "passes", "models", "examples", "kernels", "benchmarks", "docs")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in TEXTS and path not in PAGES
)


def test_notebooks_kernels_and_templates_are_among_the_files_that_are_looked_at() -> None:
    kinds = {(path.relative_to(ROOT).parts[0], path.suffix) for path in SOURCES}
    assert {("examples", ".ipynb"), ("examples", ".py"), ("kernels", ".toml"), ("pipeline", ".html")} <= kinds


@pytest.mark.parametrize(
    "file", [*PAGES, *SOURCES, ROOT / "Makefile", ROOT / "pyproject.toml"], ids=lambda file: str(file.relative_to(ROOT))
)
def test_nothing_is_installed_from_an_index_that_does_not_have_it(file: Path) -> None:
    assert not asks_an_index(file.read_text("utf-8"))


def test_a_command_that_asks_an_index_is_found() -> None:
    assert asks_an_index("run `pip install 'netsurgeon[cpu]'`")
    assert asks_an_index("pip install netsurgeon")
    assert asks_an_index('"source": ["!pip install -q netsurgeon\\n"]')
    assert not asks_an_index("pip install wheels/netsurgeon-*.whl onnxruntime")
    assert not asks_an_index("pip install '.[cpu]'")
    assert not asks_an_index("pip install wheels/*.whl  # in netsurgeon's repository")


def test_no_entry_of_the_changelog_stands_twice() -> None:
    sections = re.split(r"^##+ ", (ROOT / "CHANGELOG.md").read_text("utf-8"), flags=re.MULTILINE)
    starts = [re.findall(r"^- (.{1,40})", section, re.MULTILINE) for section in sections]
    assert sum(map(len, starts)) > 100
    assert [start for section in starts for start in section if section.count(start) > 1] == []


DEPLOY = (ROOT / "docs" / "deploy.md").read_text("utf-8")


def row_of_deploy(option: str) -> str:
    (row,) = re.findall(rf"^\| `{option}[^|]*\| (.*) \|$", DEPLOY, re.MULTILINE)
    return str(row)


@pytest.mark.parametrize("name", cli.commands)
def test_deploy_says_which_commands_have_options_for_machines(name: str) -> None:
    options = {option for parameter in cli.commands[name].params for option in parameter.opts}
    assert ("--json" in options) == (f"`{name}`" in row_of_deploy("--json FILE").partition(")")[0])
    assert ("--quiet" in options) == (name != "view")
    assert "every command but `view`" in row_of_deploy("--quiet")
    assert "-v" in options
    assert "every command" in row_of_deploy("-v")


def test_contributing_has_snippets() -> None:
    assert len(SNIPPET.findall((ROOT / "CONTRIBUTING.md").read_text("utf-8"))) >= 8


@pytest.mark.parametrize("room", FLOORS)
def test_the_architecture_has_every_floor_in_order(room: str) -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    table = re.search(rf"^\| `{room}/` \|.*?(?=\n\n)", text, re.MULTILINE | re.DOTALL)
    assert table, f"docs/architecture.md has no table of {room}/"
    rows = re.findall(r"^\| (`[^|]*`) \|", table[0], re.MULTILINE)[1:]
    assert [set(re.findall(r"`(\w+)`", row)) for row in rows] == [set(floor) for floor in FLOORS[room]]
