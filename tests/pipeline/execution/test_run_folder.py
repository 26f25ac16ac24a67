"""Work folders: a run that is killed goes on, ends with the same bytes, and no other run may use its folder."""

import json
import multiprocessing
import multiprocessing.process
import os
import re
import shutil
import signal
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from large_runs import LIMITS, compress_as_large

import netsurgeon
from netsurgeon.passes.pruning.layer_plan import Outcome, Solution
from netsurgeon.pipeline.atomic_write import part_name
from netsurgeon.pipeline.data import import_function
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.execution.run_folder import RunFolder, wait_until_free
from netsurgeon.pipeline.pruning.checkpoint import load_plan
from netsurgeon.pipeline.report import Report
from netsurgeon.pipeline.runtime import Runtime

FAST: Any = {"method": "obs", "damping": 0.01, "quantize": "none"}
RUNS: dict[str, Any] = {
    "said": {**FAST, "sparsity": 0.8, "trim": 0.2, "round_to": 1},
    "goal": {**FAST, "max_size": "2500B", "uniform": True},
    "drop": {**FAST, "max_drop": "5%"},
    "large": {**FAST, "sparsity": 0.5, "values": "float32", "pack": False},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gemm, Relu and Gemm from x (N, 24) by 48 neurons to 6 classes, and its data."""
    folder, rng = tmp_path_factory.mktemp("work"), np.random.default_rng(0)
    model = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N,24] x, float[24,48] w1, float[48,6] w2) '
        "=> (float[N,6] y) { h = Gemm(x, w1) r = Relu(h) y = Gemm(r, w2) }"
    )
    for value, shape in zip(list(model.graph.inputs)[1:], ((24, 48), (48, 6)), strict=True):
        value.const_value = ir.tensor(rng.standard_normal(shape).astype(np.float32), name=value.name)
        model.graph.register_initializer(value)
    del model.graph.inputs[1:]
    ir.save(model, folder / "model.onnx")
    x = rng.standard_normal((300, 6)) @ rng.standard_normal((6, 24))
    np.savez(folder / "data.npz", x=x.astype(np.float32))
    return folder


@pytest.fixture(scope="module")
def server() -> Any:
    """Forks processes that have everything imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["netsurgeon.pipeline.compress", "onnxruntime", "netsurgeon.pipeline.report.charts"])
    return context


def started(
    server: Any, folder: Path, options: Any, output: Path, work: Path | None
) -> multiprocessing.process.BaseProcess:
    keywords = {"output": output, "work": work, **options}
    process: multiprocessing.process.BaseProcess = server.Process(
        target=compress_as_large if options is RUNS["large"] else netsurgeon.compress,
        args=(folder / "model.onnx", folder / "data.npz"),
        kwargs=keywords,
    )
    process.start()
    return process


def files_of(output: Path) -> dict[str, bytes]:
    """A model's files, by what their names end in; each under one name for the other."""
    own = output.name.encode()
    return {
        file.suffix: file.read_bytes().replace(own, b"model.onnx") for file in output.parent.glob(f"{output.name}*")
    }


@pytest.mark.parametrize(("name", "kills"), [("said", 7), ("goal", 7), ("drop", 6), ("large", 4)])
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(
    name: str, kills: int, server: Any, folder: Path, tmp_path: Path
) -> None:
    rng, options = np.random.default_rng(0), RUNS[name]
    whole, output, work = tmp_path / "whole.onnx", tmp_path / "small.onnx", tmp_path / "work"
    for _ in range(2):  # the first one also waits for the server
        begun = time.perf_counter()
        process = started(server, folder, options, whole, None)
        process.join()
        assert process.exitcode == 0
    longest, resumed = time.perf_counter() - begun, 0
    while kills > 0 or (not resumed and kills > -20):  # a busy machine may kill early each time
        process = started(server, folder, options, output, work)
        process.join(float(rng.uniform(0.1, longest)))
        if process.exitcode is None:
            os.kill(process.pid or 0, signal.SIGKILL)
            kills -= 1
            process.join()
            resumed += len(list(work.rglob("*.*"))) > 1
            assert not output.exists() or files_of(output) == files_of(whole)
            continue
        assert process.exitcode == 0
        assert files_of(output) == files_of(whole)
        work = work.with_name(f"{work.name}+")  # from the start again, until it has been killed often enough
    assert resumed
    process = started(server, folder, options, output, work)
    process.join()
    assert process.exitcode == 0
    assert files_of(output) == files_of(whole)
    assert len(files_of(output)) == (2 if name == "large" else 1)


def test_a_large_model_goes_on_from_its_folder_to_the_same_two_files(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is large is decided by a limit; the weights of such a model are mapped, never copied or one message."""
    for module, name, limit in LIMITS:
        monkeypatch.setattr(module, name, limit)
    options: Any = RUNS["large"]
    model, data = folder / "model.onnx", folder / "data.npz"

    def stopped(stage: str, done: int, _: int) -> None:
        if stage == "pruning layers" and (tmp_path / "work" / "whole-layers").exists():
            raise KeyboardInterrupt

    whole = netsurgeon.compress(model, data, output=tmp_path / "whole.onnx", **options)
    with pytest.raises(KeyboardInterrupt):
        netsurgeon.compress(model, data, work=tmp_path / "work", progress=stopped, **options)
    again = netsurgeon.compress(model, data, output=tmp_path / "again.onnx", work=tmp_path / "work", **options)
    assert files_of(tmp_path / "again.onnx") == files_of(tmp_path / "whole.onnx")
    assert whole.report.compressed.nonzero == again.report.compressed.nonzero < 0.55 * whole.report.dense.nonzero
    monkeypatch.undo()
    plain = netsurgeon.compress(model, data, **options)
    x = {"x": np.load(data)["x"][:50]}
    found, expected = (Runtime().session(each).run(x)["y"] for each in (tmp_path / "again.onnx", plain.model))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_what_is_there_is_not_done_again(folder: Path, tmp_path: Path) -> None:
    def stages() -> list[str]:
        seen: list[str] = []
        model, data = folder / "model.onnx", folder / "data.npz"
        netsurgeon.compress(model, data, work=tmp_path / "work", progress=lambda s, *_: seen.append(s), **RUNS["drop"])
        return seen

    first, second = stages(), stages()
    assert {"measuring layers", "measuring sensitivities", "trying plans"} <= set(first)
    assert {"measuring layers", "measuring sensitivities", "trying plans"}.isdisjoint(second)
    assert first.count("pruning layers") > second.count("pruning layers")  # only what was chosen is made again
    curves = [np.load(tmp_path / "work" / f"fold-{fold}-costs-whole.npz")["0.curve"] for fold in (0, 1)]
    assert not np.array_equal(*curves)
    assert not (tmp_path / "work" / "costs-whole.npz").exists(), "for all inputs together the halves' mean stands"


@pytest.mark.parametrize(
    ("changed", "difference"),
    [({"seed": 1}, r"options differ \(seed\)"), ({"limit": 200}, r"options differ \(limit\) and data differ")],
)
def test_the_folder_of_another_run_is_refused(changed: Any, difference: str, folder: Path, tmp_path: Path) -> None:
    work, options = tmp_path / "work", {**FAST, "sparsity": 0.5, "uniform": True}
    model, data = folder / "model.onnx", folder / "data.npz"
    netsurgeon.compress(model, data, work=work, **options)
    before = {path: path.read_bytes() for path in work.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=f"that of another run, whose {difference}.*give the same command again"):
        netsurgeon.compress(model, data, work=work, **{**options, **changed})
    assert {path: path.read_bytes() for path in work.rglob("*") if path.is_file()} == before


def test_another_model_or_other_versions_are_refused(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "work", {"model": "a", "versions": {"numpy": "1"}}):
        pass
    with pytest.raises(InputError, match="whose model is another"):
        RunFolder(tmp_path / "work", {"model": "b", "versions": {"numpy": "1"}})
    with pytest.raises(InputError, match=r"whose versions differ \(numpy\)"):
        RunFolder(tmp_path / "work", {"model": "a", "versions": {"numpy": "2"}})


def test_a_foreign_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine", "utf-8")
    with pytest.raises(InputError, match="holds something else: give a new or empty folder"):
        RunFolder(tmp_path, {"model": "a"})
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    (tmp_path / "work.json").write_text("[1]", "utf-8")
    with pytest.raises(InputError, match=r"work\.json is not what netsurgeon writes"):
        RunFolder(tmp_path, {"model": "a"})


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    with RunFolder(tmp_path, {"model": "a"}), pytest.raises(InputError, match="is in use by another run"):
        RunFolder(tmp_path, {"model": "a"})
    with RunFolder(tmp_path, {"model": "a"}):
        pass


def test_who_waits_gets_a_folder_once_it_is_free(tmp_path: Path) -> None:
    wait_until_free(tmp_path / "new", 0.0)
    work = RunFolder(tmp_path, {"model": "a"})
    with pytest.raises(InputError, match="is in use by another run"):
        wait_until_free(tmp_path, 0.01)
    timer = threading.Timer(0.05, work.close)
    timer.start()
    wait_until_free(tmp_path, 10.0)
    timer.join()
    with RunFolder(tmp_path, {"model": "a"}):
        pass


def test_what_is_kept_is_what_comes_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    solution = Solution(
        rng.standard_normal((1, 3, 4)),
        rng.standard_normal(3),
        Outcome(damping=0.01, samples=7, varied=True, seconds=0.5, slots=128),
    )
    halves = rng.standard_normal((2, 5, 7)).astype(np.float32) * (
        rng.random((2, 5, 7)) < 0.5
    )  # with zeros of both signs
    plain = Solution(halves, None, Outcome(damping=1e-4, samples=9, varied=False, seconds=0.25))
    with RunFolder(tmp_path, {}) as work:
        solved = work.solutions("one")
        assert "a/b" not in solved
        solved["a/b"], solved["c"] = solution, plain
        for name, kept in (("a/b", solution), ("c", plain)):
            back = solved[name]
            assert back.outcome == kept.outcome
            assert back.weight.dtype == kept.weight.dtype
            assert back.weight.tobytes() == kept.weight.tobytes()
        assert np.signbit(halves[halves == 0.0]).any()
        np.testing.assert_array_equal(solved["a/b"].shift, solution.shift)
        assert solved["c"].shift is None
        assert "a/b" not in work.solutions("another")
        file = max(tmp_path.rglob("*.npz"), key=lambda path: path.stat().st_size)
        file.write_bytes(file.read_bytes()[:200])  # a disk that lost the end of it
        assert "a/b" not in solved
        assert "c" in solved


def damaged_copies(whole: bytes) -> Iterator[bytes]:
    """What a disk or a hand can make of a record: lost ends, one changed bit or digit, other bytes, nothing."""
    rng = np.random.default_rng(0)
    yield from (b"", whole[:1], whole[:-1], whole + b" ", b"null", b"[1, 2]", b"\xff" * 40, b"[" * 100_000)
    for at in rng.integers(0, len(whole), 20):
        yield whole[:at] + bytes([whole[at] ^ (1 << int(rng.integers(8)))]) + whole[at + 1 :]
    for at in [digit.start() for digit in re.finditer(rb"[0-9]", whole)][-20:]:
        yield whole[:at] + (b"1" if whole[at : at + 1] != b"1" else b"2") + whole[at + 1 :]


def test_a_changed_byte_of_a_judgement_is_noticed(tmp_path: Path) -> None:
    judgement = {"drop": 0.0125, "high": 0.5, "kept": [1, 2, 3], "name": "ä", "none": None}
    with RunFolder(tmp_path, {"model": "a"}) as work:
        work.keep_facts("candidate", judgement)
        whole = (tmp_path / "candidate.json").read_bytes()
        assert json.loads(whole)["value"] == judgement
        for damaged in damaged_copies(whole):
            (tmp_path / "candidate.json").write_bytes(damaged)
            assert work.facts("candidate") is None
        (note,) = work.notes
        assert (note.code, note.data) == ("records-damaged", {"records": ["candidate"]})
        work.keep_facts("candidate", judgement)
        assert work.facts("candidate") == judgement


@pytest.mark.parametrize("kind", ["json", "npz"])
def test_a_record_counts_only_under_its_name_and_in_its_run(kind: str, tmp_path: Path) -> None:
    def keep(work: RunFolder, name: str) -> Path:
        if kind == "json":
            work.keep_facts(name, 1)
        else:
            work.keep_arrays(name, {"x": np.ones(2)})
        return (work.folder or tmp_path) / f"{name}.{kind}"

    def kept(work: RunFolder, name: str) -> Any:
        return work.facts(name) if kind == "json" else work.arrays(name)

    with RunFolder(tmp_path / "one", {"model": "a"}) as one, RunFolder(tmp_path / "two", {"model": "b"}) as two:
        file = keep(one, "first")
        shutil.copy(file, file.with_stem("second"))
        shutil.copy(file, tmp_path / "two")
        assert kept(one, "first") is not None
        assert kept(one, "second") is None
        assert kept(two, "first") is None
        assert [work.notes[0].data["records"] for work in (one, two)] == [["second"], ["first"]]


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_not_read(make: Callable[[Path], None], tmp_path: Path) -> None:
    with RunFolder(tmp_path, {}) as work:
        for name in ("a.json", "a.npz"):
            make(tmp_path / name)
        assert work.facts("a") is None
        assert work.arrays("a") is None
        assert work.notes[0].data["records"] == ["a"]


def test_a_damaged_identity_is_made_again(tmp_path: Path) -> None:
    with RunFolder(tmp_path, {"model": "a"}) as work:
        work.keep_facts("kept", 1)
    identity = tmp_path / "work.json"
    whole = identity.read_bytes()
    for damaged in damaged_copies(whole):
        identity.write_bytes(damaged)
        with RunFolder(tmp_path, {"model": "a"}) as work:
            assert work.facts("kept") == 1
            assert work.notes[0].data["records"] == ["work"]
        assert identity.read_bytes() == whole
    identity.write_bytes(whole[:-1])
    with RunFolder(tmp_path, {"model": "b"}) as work:  # the folder cannot tell any more, but its records can
        assert work.facts("kept") is None


def test_a_folder_of_any_name_with_a_damaged_identity_and_something_else_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "sent"
    with RunFolder(folder, {"model": "a"}):
        pass
    (folder / "work.json").write_text("damaged", "utf-8")
    (folder / "sent").mkdir()
    (folder / "sent" / "0123").touch()
    (folder / "thesis.txt").touch()
    with pytest.raises(InputError, match=r"work\.json is not what netsurgeon writes"):
        RunFolder(folder, {"model": "a"})
    (folder / "thesis.txt").unlink()
    with RunFolder(folder, {"model": "a"}) as work:
        assert work.notes[0].data["records"] == ["work"]


def test_what_killed_runs_were_writing_is_cleared_away(tmp_path: Path) -> None:
    names = [part_name("work.json"), part_name("a.json")]
    (tmp_path / names[0]).touch()
    with RunFolder(tmp_path, {}):
        pass
    (tmp_path / "whole-layers").mkdir()
    (tmp_path / "whole-layers" / names[1]).touch()
    (tmp_path / names[1]).symlink_to(tmp_path / "work.json")
    with RunFolder(tmp_path, {}):
        pass
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted([names[1], "lock", "whole-layers", "work.json"])


def test_a_changed_digit_of_a_judgement_does_not_reach_the_report(folder: Path, tmp_path: Path) -> None:
    def run() -> Report:
        return netsurgeon.compress(folder / "model.onnx", folder / "data.npz", work=tmp_path, **RUNS["goal"]).report

    first = run()
    for file in tmp_path.glob("*.json"):
        if file.name != "work.json":
            file.write_bytes(re.sub(rb"(?<=[0-9])[0-9](?=[0-9,}])", b"0", file.read_bytes()))
    second = run()
    assert second.search is not None
    assert first.search == second.search
    (note,) = (warning for warning in second.warnings if warning.code == "records-damaged")
    assert note.data["records"]
    assert not any(warning.code == "records-damaged" for warning in first.warnings)


@pytest.mark.parametrize("is_named", [True, False])
def test_judgements_of_another_metric_are_not_taken_over(
    is_named: bool, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = Path("work_metric.py")

    def run(content: str) -> None:
        source.write_text(content, "utf-8")
        sys.modules.pop("work_metric", None)
        metric: Any = "work_metric:score" if is_named else import_function("work_metric:score")
        netsurgeon.compress(
            folder / "model.onnx", folder / "data.npz", work=tmp_path / "work", metric=metric, sparsity=0.5, **FAST
        )

    first = "def score(outputs, labels):\n    return float(abs(outputs['y']).mean())\n"
    run(first)
    run(first)
    with pytest.raises(InputError, match=r"whose sources differ \(metric\)"):
        run(first.replace("mean", "max"))


@pytest.mark.parametrize("changed", ["a", "b"])
def test_judgements_with_another_library_of_the_same_name_are_not_taken_over(
    changed: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Runtime, "_register", lambda *_: None)  # libraries without operators
    libraries = [tmp_path / name / "ops.so" for name in ("a", "b")]
    for library in libraries:
        library.parent.mkdir()
        library.write_text(f"library {library.parent.name}", "utf-8")

    def run() -> None:
        netsurgeon.compress(
            folder / "model.onnx",
            folder / "data.npz",
            work=tmp_path / "work",
            custom_ops=tuple(map(str, libraries)),
            sparsity=0.5,
            **FAST,
        )

    run()
    run()
    (tmp_path / changed / "ops.so").write_text("another", "utf-8")
    with pytest.raises(InputError, match=rf"whose files differ \(custom-ops {'ab'.index(changed) + 1} ops\.so\)"):
        run()


def test_what_a_disk_has_garbled_counts_as_lost(tmp_path: Path) -> None:
    with RunFolder(tmp_path, {}) as work:
        work.keep_arrays("x", {"weight": np.arange(40_000.0).reshape(200, 200)})
        file = tmp_path / "x.npz"
        whole = file.read_bytes()
        rng = np.random.default_rng(0)
        seen: set[type[Exception]] = set()
        for at in rng.integers(0, len(whole) - 16, 100):
            file.write_bytes(whole[:at] + rng.bytes(16) + whole[at + 16 :])
            assert work.arrays("x") is None
            try:
                with np.load(file, allow_pickle=False) as archive:
                    archive["weight"]
            except Exception as error:
                seen.add(type(error))
        assert zipfile.BadZipFile in seen


def test_a_full_disk_is_said_and_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with RunFolder(tmp_path, {}) as work:
        work.keep_facts("a", [1, 2])
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(InputError, match="cannot be written: No space left on device; what is there already is"):
            work.keep_arrays("b", {"x": np.zeros(9)})
        assert work.facts("a") == [1, 2]
    assert {path.name for path in tmp_path.iterdir()} == {"work.json", "lock", "a.json"}


def test_without_a_folder_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with RunFolder(None, {}) as work:
        work.keep_facts("a", 1)
        work.keep_arrays("b", {"x": np.zeros(2)})
        assert (work.facts("a"), work.arrays("b"), load_plan(work)) == (None, None, None)
    assert not list(tmp_path.iterdir())


def test_the_folder_says_whose_it_is(folder: Path, tmp_path: Path) -> None:
    netsurgeon.compress(folder / "model.onnx", folder / "data.npz", work=tmp_path, sparsity=0.5, uniform=True, **FAST)
    identity = json.loads((tmp_path / "work.json").read_text("utf-8"))["value"]
    assert identity["format"] == 12
    assert identity["options"]["sparsity"] == 0.5
    assert set(identity["data"]) == {"calibration", "held"}
    assert str(tmp_path) not in json.dumps(identity)


def test_a_folder_of_an_older_format_is_refused(folder: Path, tmp_path: Path) -> None:
    def run() -> None:
        netsurgeon.compress(
            folder / "model.onnx", folder / "data.npz", work=tmp_path, sparsity=0.5, uniform=True, **FAST
        )

    run()
    identity = tmp_path / "work.json"
    identity.write_text(json.dumps({**json.loads(identity.read_text("utf-8"))["value"], "format": 5}), "utf-8")
    with pytest.raises(netsurgeon.InputError, match="format is another"):
        run()
