"""The arrows point one way: cli → pipeline → {passes, models}; inside, each folder imports from those below it only.

Folders import from each other's faces (their `__init__.py`), only models knows torch, and solvers know no ONNX.
"""

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
MAY_IMPORT_ONNXRUNTIME_LAZILY = (
    "netsurgeon.pipeline.runtime.session",
    "netsurgeon.passes.graph.native_helper",  # a process of its own, in the environment of ours
    "netsurgeon.models.train_digits",
)
MAY_IMPORT_MODELS_LAZILY = ("netsurgeon.pipeline.repair", "netsurgeon.pipeline.training")
ONNX_LIBRARIES = ("onnx", "onnx_ir", "onnxruntime", "onnxscript")
FLOORS = {
    "pipeline": (
        ("command_line",),
        ("terminal",),
        ("compress_many", "training"),
        ("jobs",),
        ("compare", "compress", "inspect_quantization", "inspect_sensitivity", "view"),
        ("run", "side_by_side"),
        ("report",),
        ("search",),
        ("compression",),
        ("inspect", "pruning", "quantization", "repair", "tables", "trimming"),
        ("calibration", "profiling", "unpack", "verification"),
        ("result",),
        ("error_bound", "execution", "model_files", "options"),
        ("runtime",),
        ("data",),
        ("notation",),
        ("atomic_write", "errors", "messages", "progress"),
    ),
    "passes": (
        ("quantization", "trimming"),
        ("dependencies", "packing", "pruning"),
        ("axes", "codebooks", "layers", "rewriting"),
        ("graph", "solvers"),
    ),
    "models": (
        ("runs", "train_digits"),
        ("networks",),
        ("repair",),
        ("onnx_module", "training"),
        ("export", "surgery", "trimming"),
        ("atomic_write",),
    ),
}
"""Folders and modules of each room from the top floor to the ground: an import goes to a lower floor, never beside."""

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
    """Tests and benchmarks; scripts of peers and exports run in environments that know nothing of netsurgeon."""
    apart = ("_quantize_peers", "_transformer_models")
    benchmarks = [path for path in (ROOT / "benchmarks").rglob("*.py") if path.parent.name not in apart]
    return sorted((ROOT / "tests").rglob("*.py")) + sorted(benchmarks)


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


def runtime_complaint(module: str, name: str, in_function: bool) -> str | None:
    """What is loaded before the package would be loaded with its telemetry on."""
    if not is_within(name, "onnxruntime") or (in_function and module in MAY_IMPORT_ONNXRUNTIME_LAZILY):
        return None
    return f"{module} imports {name}: call netsurgeon.pipeline.runtime.onnxruntime()"


def library_complaint(module: str, name: str) -> str | None:
    if is_within(name, "torch") and room_of(module) != "models":
        return f"{module} imports {name}: only models may"
    if is_within(module, "netsurgeon.passes.solvers") and name.split(".")[0] in ONNX_LIBRARIES:
        return f"{module} imports {name}: solvers take and return arrays"
    return None


def room_complaint(module: str, name: str, in_function: bool) -> str | None:
    room = room_of(module)
    if any(is_within(name, forbidden) for forbidden in FORBIDDEN.get(room, ())):
        return f"{module} imports {name}"
    if room == "pipeline" and is_within(name, "netsurgeon.models"):
        if not any(is_within(module, folder) for folder in MAY_IMPORT_MODELS_LAZILY):
            return f"{module} imports {name}: only training and repair may"
        if not in_function:
            return f"{module} imports {name} outside a function"
    return None


def complaint(module: str, name: str, in_function: bool) -> str | None:
    room = room_of(module)
    if name.split(".")[0] in ROOMS:
        return f"{module} imports the bare name {name}"
    if room == "tests":
        return None
    problem = runtime_complaint(module, name, in_function)
    if room == "benchmarks":
        return problem
    problem = problem or library_complaint(module, name) or room_complaint(module, name, in_function)
    problem = problem or folder_complaint(module, name)
    if problem:
        return problem
    # What the package's __init__ re-exports belongs to pipeline.
    from_root = name == "netsurgeon" or (is_within(name, "netsurgeon") and room_of(name) not in (*ROOMS, "cli"))
    if room in ("passes", "models") and from_root and not name.endswith("__"):
        return f"{module} imports {name} from the top of the package"
    return None


def floor_of(room: str, folder: str) -> int:
    """Number of the floor, 0 at the top.

    Raises:
        ValueError: the folder has no floor.
    """
    for number, folders in enumerate(FLOORS[room]):
        if folder in folders:
            return number
    raise ValueError(f"netsurgeon.{room}.{folder} has no floor: give it one in FLOORS")


def folder_complaint(module: str, name: str) -> str | None:
    """What is wrong with an import between folders of one room, or from another room, if anything."""
    here, there = module.split(".")[1:], name.split(".")[1:]
    if name.split(".")[0] != "netsurgeon" or here[:2] == there[:2] or min(len(here), len(there)) < 2:
        return None
    if here[0] not in ROOMS or there[0] not in ROOMS:
        return None
    if here[0] == there[0] and floor_of(here[0], there[1]) <= floor_of(here[0], here[1]):
        return f"{module} imports {name}, which is not on a lower floor"
    return None if is_face(name) else f"{module} imports {name} past the face of netsurgeon.{there[0]}.{there[1]}"


def is_face(name: str) -> bool:
    """Whether a name is imported from a folder's face, or from a module that stands alone."""
    parts = name.split(".")[1:]
    if (ROOT / parts[0] / f"{parts[1]}.py").exists():
        return True
    folder = ROOT.joinpath(*parts[:2])
    is_module = len(parts) > 2 and ((folder / f"{parts[2]}.py").exists() or (folder / parts[2]).is_dir())
    return len(parts) <= 3 and not is_module


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
        ("netsurgeon.benchmarks.x", "import onnxruntime as ort"),
        ("netsurgeon.pipeline.data.x", "def f():\n    from onnxruntime.capi import x"),
        ("netsurgeon.models.train_digits", "import onnxruntime as ort"),
    ],
)
def test_an_arrow_the_wrong_way_is_found(module: str, source: str) -> None:
    assert len(violations(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("netsurgeon.passes.layers.x", "from netsurgeon.passes.solvers import prune\nfrom .layer import Layer"),
        ("netsurgeon.passes.x", "from netsurgeon import __version__"),
        ("netsurgeon.passes.x", "import onnx_ir.passes\nfrom torchlike import nn"),
        ("netsurgeon.models.training.x", "import torch\nfrom netsurgeon.models.surgery import Mask"),
        ("netsurgeon.pipeline.x", "from netsurgeon.passes.trimming import TrimNeurons"),
        ("netsurgeon.pipeline.training.training_run", "def f():\n    from netsurgeon.models import training"),
        ("netsurgeon.cli", "from netsurgeon.pipeline import compress"),
        ("netsurgeon.tests.test_x", "import torch\nfrom netsurgeon.models import lenet"),
        ("netsurgeon.models.train_digits", "def f():\n    import onnxruntime as ort"),
    ],
)
def test_an_arrow_the_right_way_is_left_alone(module: str, source: str) -> None:
    assert not violations(source, module)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("netsurgeon.pipeline.runtime.session", "from netsurgeon.pipeline.model_files import open_model"),
        ("netsurgeon.pipeline.pruning.plan", "from netsurgeon.pipeline.trimming import TrimPlan"),
        ("netsurgeon.pipeline.search.candidates", "from netsurgeon.pipeline.pruning.plan import Plan"),
        ("netsurgeon.pipeline.search.candidates", "from netsurgeon.passes.solvers import methods"),
        ("netsurgeon.passes.layers.layer", "import netsurgeon.passes.solvers.obs"),
        ("netsurgeon.passes.solvers.obs", "import onnx_ir as ir"),
    ],
)
def test_an_arrow_up_or_past_a_face_is_found(module: str, source: str) -> None:
    assert len(violations(source, module)) == 1


def test_a_folder_without_a_floor_is_found() -> None:
    with pytest.raises(ValueError, match="give it one in FLOORS"):
        violations("from netsurgeon.pipeline.attic import x", "netsurgeon.pipeline.search.candidates")


def test_modules_import_each_other_in_no_circle() -> None:
    modules = {module_name(path): path for path in package_files()[1:]}  # the top re-exports lazily
    below = {module: imported_modules(module, path, modules) for module, path in modules.items()}
    ordered: set[str] = set()
    while len(ordered) < len(modules):
        ready = {module for module in modules if module not in ordered and below[module] <= ordered}
        assert ready, f"a circle among {sorted(set(modules) - ordered)}"
        ordered |= ready


def imported_modules(module: str, path: Path, modules: dict[str, Path]) -> set[str]:
    """Modules whose code this one needs when it is imported; a package's own face, which loads it, is not one."""
    names = {
        name
        for name, lazy in walk_imports(ast.parse(path.read_text("utf-8")), module, path.stem == "__init__")
        if not lazy
    }
    needed = {name if name in modules else name.rpartition(".")[0] for name in names}
    return {name for name in needed if name in modules and name != module}


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
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(stand_in), os.environ.get("PYTHONPATH", "")])},
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


def test_a_command_does_not_load_matplotlib_before_it_draws(tmp_path: Path) -> None:
    loaded = loaded_by(["netsurgeon.cli", "netsurgeon.pipeline.terminal", "netsurgeon.pipeline.compress"], tmp_path)
    assert "rich" in loaded
    assert "matplotlib" not in loaded


def test_the_check_for_torch_can_fail(tmp_path: Path) -> None:
    assert "torch" in loaded_by(["netsurgeon.pipeline", "torch"], tmp_path)
