"""Without PyTorch training is refused, and what it refuses is said in a sentence."""

import importlib
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from netsurgeon import cli
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.repair.torch_checks import (
    PACKAGES,
    require_torch,
    value_errors_as_input_errors,
    with_repair_chosen,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def test_without_torch_the_user_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, mnist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("netsurgeon.pipeline.repair.torch_checks.importlib.import_module", missing)
    assert cli.run(["train", "lenet5", "--data", str(mnist), "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err == (
        "error: training needs torch, which is not installed: run `pip install torch safetensors scikit-learn`\n"
    )
    assert cli.run(["export", str(tmp_path / "run"), "-o", str(tmp_path / "x.onnx")]) == 2


@pytest.mark.parametrize("name", ["torch", "safetensors"])
def test_each_package_that_is_missing_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def some_are_missing(wanted_name: str) -> ModuleType:
        if wanted_name == name:
            raise ImportError(wanted_name)
        return real(wanted_name)

    require_torch()
    monkeypatch.setattr("netsurgeon.pipeline.repair.torch_checks.importlib.import_module", some_are_missing)
    with pytest.raises(InputError, match=f"training needs {name}, which is not installed: run `pip install") as raised:
        require_torch()
    assert isinstance(raised.value.__cause__, ImportError)


def test_what_is_to_be_installed_is_what_the_extra_adds() -> None:
    project = tomllib.loads((Path(__file__).resolve().parents[3] / "pyproject.toml").read_text("utf-8"))["project"]
    extra, core = (
        {re.split("[<>=!~; ]", text)[0] for text in texts}
        for texts in (project["optional-dependencies"]["torch"], project["dependencies"])
    )
    assert set(PACKAGES) == extra - core
    assert "matplotlib" in core


@pytest.mark.parametrize(
    ("options", "unused"),
    [
        (Options(sparsity=0.5, augment="crop", device="cuda:9"), ["augment", "device"]),
        (Options(sparsity=0.5, device="cpu", repair=True), []),
        (Options(sparsity=0.5), []),
        (Options(effort="full", max_drop="1%", augment="none"), []),
    ],
)
def test_options_of_a_repair_that_was_not_asked_for_are_named(options: Options, unused: list[str]) -> None:
    _, notes = with_repair_chosen(options)
    assert [(note.code, note.data["option"]) for note in notes] == [("option-unused", name) for name in unused]
    assert all(note.startswith(f"--{name} was not used") for note, name in zip(notes, unused, strict=True))


def test_a_value_that_is_refused_is_said_in_the_users_words() -> None:
    with pytest.raises(InputError, match=r"^steps is 0$") as raised, value_errors_as_input_errors():
        raise ValueError("steps is 0")
    assert isinstance(raised.value.__cause__, ValueError)


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="a bug"), value_errors_as_input_errors():
        raise RuntimeError("a bug")
    with value_errors_as_input_errors():
        pass


@pytest.mark.parametrize(
    ("options", "repair"),
    [
        (Options(effort="full", max_drop="1%"), True),
        (Options(effort="full", max_drop="1%", repair=False), False),
        (Options(max_drop="1%"), False),
        (Options(max_drop="1%", repair=True), True),
        (Options(effort="full", sparsity=0.5), False),
    ],
)
def test_a_search_repairs_by_itself_with_full_effort_alone(options: Options, repair: bool) -> None:
    chosen, notes = with_repair_chosen(options)
    assert chosen.repair is repair
    assert not notes


def test_a_search_goes_without_repair_where_pytorch_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("netsurgeon.pipeline.repair.torch_checks.importlib.import_module", missing)
    chosen, (note,) = with_repair_chosen(Options(effort="full", max_drop="1%"))
    assert chosen.repair is False
    assert note.code == "not-repaired"
    assert "the search goes without repair: repair needs torch, which is not installed: run `pip install" in note
    with pytest.raises(InputError, match="repair needs torch"):
        with_repair_chosen(Options(effort="full", max_drop="1%", repair=True))
