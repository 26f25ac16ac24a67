"""The standing attack: some of its cases with fixed seeds, and that it would see what must not be."""

import dataclasses
import sys
from collections import Counter
from pathlib import Path

import _fuzz_verdicts
import numpy as np
import onnx
import pytest
from _fuzz_cases import MUTATORS, make_case
from _fuzz_models import seed_models
from _fuzz_process import Child, serving_command
from _fuzz_verdicts import BAD, Case, Verdict, contents, control_signs, fault_of_model, judge
from onnx import numpy_helper

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "fuzz.py"
SEED, CASES = 0, 4 * len(MUTATORS)
GIGABYTE = 1 << 30


def test_mutated_inputs_end_in_a_model_or_in_one_sentence(tmp_path: Path) -> None:
    child = Child(serving_command(sys.executable, SCRIPT, tmp_path, None, 3 * GIGABYTE), 60.0, 3 * GIGABYTE)
    try:
        verdicts = {number: child.ask(f"{SEED}\t{number}\t") for number in range(CASES)}
    finally:
        child.stop()
    assert not {number: verdict for number, verdict in verdicts.items() if verdict.kind in BAD}
    counts = Counter(verdict.kind for verdict in verdicts.values())
    assert counts["delivered"] >= CASES // 10, "an attack whose inputs are all refused at the door looks no further"
    assert counts["refused"] >= CASES // 10


@pytest.mark.parametrize("mutator", MUTATORS)
def test_a_number_always_makes_the_same_case(mutator: str, tmp_path: Path) -> None:
    cases = []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        case = make_case(7, 3, folder, only=mutator)
        links = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() or path.is_fifo()}
        cases.append((case, contents(folder), links))
    assert cases[0] == cases[1]
    (tmp_path / "other").mkdir()
    assert cases[0][0].mutator == make_case(8, 3, tmp_path / "other", only=mutator).mutator == mutator


@pytest.mark.parametrize(
    ("action", "kind", "words"),
    [
        ("os.abort()", "died", "SIGABRT"),
        ("os._exit(3)", "died", "exit code 3"),
        ("while True: pass", "hung", "of the processor"),
        ("a = b'x' * 300_000_000; sys.stdin.read()", "memory", "200 MiB"),
    ],
)
def test_children_that_die_hang_or_grow_are_named_and_replaced(action: str, kind: str, words: str) -> None:
    script = [
        "import os, sys",
        "def act():",
        f"    {action}",
        "for line in sys.stdin:",
        "    act() if line.strip() == 'bad' else None",
        "    print('refused\\tno', flush=True)",
    ]
    child = Child([sys.executable, "-c", "\n".join(script)], 0.5, 200 << 20)
    try:
        assert child.ask("good").kind == "refused"
        verdict = child.ask("bad")
        assert verdict.kind == kind
        assert words in verdict.words
        assert child.ask("good").kind == "refused"
    finally:
        child.stop()


def test_models_that_are_wrong_where_the_dense_one_is_right_are_seen(tmp_path: Path) -> None:
    dense = seed_models()["dense"]
    (tmp_path / "dense.onnx").write_bytes(dense.SerializeToString())
    (tmp_path / "cut.onnx").write_bytes(dense.SerializeToString()[:-40])
    wrong = onnx.ModelProto.FromString(dense.SerializeToString())
    wrong.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full((8, 6), np.nan, np.float32), "w1"))
    (tmp_path / "wrong.onnx").write_bytes(wrong.SerializeToString())
    assert fault_of_model(tmp_path / "dense.onnx", tmp_path / "dense.onnx") is None
    assert "not load" in str(fault_of_model(tmp_path / "cut.onnx", tmp_path / "dense.onnx"))
    assert "not finite" in str(fault_of_model(tmp_path / "wrong.onnx", tmp_path / "dense.onnx"))


def test_models_are_finite_only_if_the_dense_one_always_is(tmp_path: Path) -> None:
    """Which inputs overflow changes with every weight: only one that overflows for none is held to that."""

    def scaled(name: str, factor: float) -> Path:
        model = onnx.ModelProto.FromString(seed_models()["dense"].SerializeToString())
        weight = next(tensor for tensor in model.graph.initializer if tensor.name == "w2")
        values = np.array(numpy_helper.to_array(weight))
        values[0] *= np.float32(factor)  # behind a unit that is off for a part of the inputs
        weight.CopyFrom(numpy_helper.from_array(values, "w2"))
        (tmp_path / name).write_bytes(model.SerializeToString())
        return tmp_path / name

    small = scaled("small.onnx", 3e38)
    assert fault_of_model(small, scaled("edge.onnx", 2.5e38)) is None
    assert "not finite" in str(fault_of_model(small, scaled("sane.onnx", 1e6)))


def test_signs_that_steer_a_terminal_are_seen() -> None:
    assert control_signs("\x1b[31m") is not None
    assert control_signs("a\u202eb") is not None
    assert control_signs("one line: ÷ 2\n") is None


def test_another_model_from_a_damaged_folder_is_a_bug(tmp_path: Path) -> None:
    case = make_case(0, 0, tmp_path, only="work")
    assert case.same_as is not None
    assert judge(case, tmp_path).kind in ("delivered", "refused")
    clean = make_case(0, 0, tmp_path, only="recipe")
    (tmp_path / "recipe.toml").write_text("sparsity = 0.5\n", "utf-8")
    verdict = judge(dataclasses.replace(clean, same_as=b"other bytes"), tmp_path)
    assert verdict.kind == "bug"
    assert "another one" in verdict.words


def test_files_that_are_changed_or_left_behind_are_bugs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.onnx").write_bytes(seed_models()["dense"].SerializeToString())
    (tmp_path / "weights.bin").write_bytes(b"weights")
    case = Case("fields", ("inspect", "model.onnx"))
    assert judge(case, tmp_path).kind == "delivered"

    def writing_to(name: str) -> None:
        monkeypatch.setattr(
            _fuzz_verdicts, "run_command", lambda arguments, folder: ((folder / name).write_bytes(b""), (0, "", ""))[1]
        )

    writing_to("weights.bin")
    assert judge(case, tmp_path) == Verdict("bug", "the input 'weights.bin' was changed")
    writing_to("left.part")
    assert judge(case, tmp_path) == Verdict("bug", "'left.part' was left behind")
