"""The arrows between the rooms point one way: cli → pipeline → {passes, models}, and only models knows torch."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("pipeline", "passes", "models")
FORBIDDEN = {
    "passes": ("netsurgeon.pipeline", "netsurgeon.models", "netsurgeon.cli"),
    "models": ("netsurgeon.pipeline", "netsurgeon.passes", "netsurgeon.cli"),
    "pipeline": ("netsurgeon.cli",),
}
MAY_IMPORT_MODELS_LAZILY = tuple(
    f"netsurgeon.pipeline.{name}"
    for name in ("train", "training_options", "trimming", "retrain", "_judgement", "export")
)

LIST_ALL_IMPORTED = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print("\\n".join(sys.modules))
"""


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("netsurgeon", *(part for part in parts if part != "__init__")))


def package_files() -> list[Path]:
    files = [ROOT / "__init__.py", ROOT / "cli.py"]
    for room in ROOMS:
        files += sorted((ROOT / room).rglob("*.py"))
    return files


def script_files() -> list[Path]:
    return sorted((ROOT / "tests").rglob("*.py")) + sorted((ROOT / "benchmarks").rglob("*.py"))


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "netsurgeon" else ""


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def names_imported(node: ast.AST, module: str, is_package: bool) -> list[str]:
    """The absolute dotted names an import statement, import_module("...") or __import__("...") reaches for."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            package = module.split(".")[: None if is_package else -1]
            package = package[: len(package) - node.level + 1]
            base = ".".join((*package, base)) if base else ".".join(package)
        return [f"{base}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        function, name = node.func, node.args[0].value
        called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        if called in ("import_module", "__import__") and isinstance(name, str):
            return [name]
    return []


def walk_imports(node: ast.AST, module: str, is_package: bool, in_function: bool = False) -> Iterator[tuple[str, bool]]:
    """Yield every imported name, and whether it is imported inside a function."""
    for name in names_imported(node, module, is_package):
        yield name, in_function
    inside = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    for child in ast.iter_child_nodes(node):
        yield from walk_imports(child, module, is_package, inside)


def complaint(module: str, name: str, in_function: bool) -> str | None:
    room = room_of(module)
    if name.split(".")[0] in ROOMS:
        return f"{module} imports the bare name {name}"
    if room in ("tests", "benchmarks"):
        return None
    if is_within(name, "torch") and room != "models":
        return f"{module} imports {name}: only models may"
    if any(is_within(name, forbidden) for forbidden in FORBIDDEN.get(room, ())):
        return f"{module} imports {name}"
    if room == "pipeline" and is_within(name, "netsurgeon.models"):
        if module not in MAY_IMPORT_MODELS_LAZILY:
            return f"{module} imports {name}: only train, retrain and export may"
        if not in_function:
            return f"{module} imports {name} outside a function"
    # What the package's __init__ re-exports belongs to pipeline.
    from_root = name == "netsurgeon" or (is_within(name, "netsurgeon") and room_of(name) not in (*ROOMS, "cli"))
    if room in ("passes", "models") and from_root and not name.endswith("__"):
        return f"{module} imports {name} from the top of the package"
    return None


def violations(source: str, module: str, is_package: bool = False) -> list[str]:
    found = (complaint(module, *found) for found in walk_imports(ast.parse(source), module, is_package))
    return [text for text in found if text]


@pytest.mark.parametrize("path", package_files() + script_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    assert not violations(path.read_text("utf-8"), module_name(path), path.name == "__init__.py")


def test_the_walk_covers_every_room() -> None:
    rooms = {room_of(module_name(path)) for path in package_files()}
    assert rooms == {"", "cli", *ROOMS}
    assert "netsurgeon.pipeline.errors" in {module_name(path) for path in package_files()}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("netsurgeon.passes.x", "import netsurgeon.pipeline"),
        ("netsurgeon.passes.x", "from netsurgeon import pipeline"),
        ("netsurgeon.passes.x", "from netsurgeon import compress"),
        ("netsurgeon.passes.x", "import netsurgeon"),
        ("netsurgeon.passes.x", "from ..pipeline.errors import NetsurgeonError"),
        ("netsurgeon.passes.x", "from .. import models"),
        ("netsurgeon.passes.x", "def f():\n    from netsurgeon.models import lenet"),
        ("netsurgeon.passes.x", "import importlib\nimportlib.import_module('netsurgeon.models')"),
        ("netsurgeon.models.x", "from netsurgeon.passes import _obs"),
        ("netsurgeon.models.x", "import netsurgeon.pipeline.compress as c"),
        ("netsurgeon.pipeline.compress", "def f():\n    import netsurgeon.models"),
        ("netsurgeon.pipeline.training.training_run", "import netsurgeon.models.training.loop"),
        ("netsurgeon.pipeline.training.training_run", "if True:\n    from netsurgeon import models"),
        ("netsurgeon.pipeline.x", "import netsurgeon.cli"),
        ("netsurgeon.pipeline.x", "import torch"),
        ("netsurgeon.pipeline.training.training_run", "def f():\n    from torch.nn import functional"),
        ("netsurgeon.passes.x", "try:\n    import torch.nn\nexcept ImportError:\n    pass"),
        ("netsurgeon.cli", "import torch"),
        ("netsurgeon", "import torch"),
        ("netsurgeon.cli", "import models"),
        ("netsurgeon.pipeline.x", "from passes import prune_weights"),
        ("netsurgeon.tests.test_x", "from pipeline.errors import NetsurgeonError"),
    ],
)
def test_an_arrow_the_wrong_way_is_found(module: str, source: str) -> None:
    assert len(violations(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("netsurgeon.passes.x", "from netsurgeon.passes import _obs\nfrom ._layers import layers"),
        ("netsurgeon.passes.x", "from netsurgeon import __version__"),
        ("netsurgeon.passes.x", "import onnx_ir.passes\nfrom torchlike import nn"),
        ("netsurgeon.models.x", "import torch\nfrom netsurgeon.models.surgery.masks import Mask"),
        ("netsurgeon.pipeline.x", "from netsurgeon.passes.trimming.trim_neurons import TrimNeurons"),
        ("netsurgeon.pipeline.training.training_run", "def f():\n    from netsurgeon.models import training"),
        ("netsurgeon.cli", "from netsurgeon.pipeline import compress"),
        ("netsurgeon.tests.test_x", "import torch\nfrom netsurgeon.models import lenet"),
    ],
)
def test_an_arrow_the_right_way_is_left_alone(module: str, source: str) -> None:
    assert not violations(source, module)


def test_a_relative_import_in_a_package_is_resolved() -> None:
    source = "from .errors import NetsurgeonError"
    (found,) = walk_imports(ast.parse(source), "netsurgeon.pipeline", is_package=True)
    assert found == ("netsurgeon.pipeline.errors.NetsurgeonError", False)


def loaded_by(modules: list[str], stand_in: Path) -> set[str]:
    """Import modules in a new Python, where an (empty) torch is always there to be imported; return what is loaded."""
    (stand_in / "torch").mkdir()
    (stand_in / "torch" / "__init__.py").touch()
    done = subprocess.run(
        [sys.executable, "-c", LIST_ALL_IMPORTED, *modules],
        env={**os.environ, "PYTHONPATH": str(stand_in)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_compressing_loads_neither_torch_nor_models(tmp_path: Path) -> None:
    modules = [module_name(path) for path in package_files() if room_of(module_name(path)) != "models"]
    loaded = loaded_by(modules, tmp_path)
    assert set(modules) <= loaded
    assert "torch" not in loaded
    assert not {name for name in loaded if is_within(name, "netsurgeon.models")}


def test_the_check_for_torch_can_fail(tmp_path: Path) -> None:
    assert "torch" in loaded_by(["netsurgeon.pipeline", "torch"], tmp_path)
