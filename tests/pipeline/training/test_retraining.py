"""Retraining a pruned ONNX model: it gets better, its zeros stay, nothing bad is delivered."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from netsurgeon import cli
from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.model_files.loading import read_model
from netsurgeon.pipeline.runtime.session import Runtime
from netsurgeon.pipeline.training.retraining import Retraining, retrain
from netsurgeon.pipeline.unpack import unpack

pytestmark = pytest.mark.usefixtures("one_thread")
DIGITS = Path(__file__).parent.parent.parent.parent / "models" / "digits"
DENSE, CALIBRATION, TEST = DIGITS / "digits.onnx", DIGITS / "calibration.npz", DIGITS / "test.npz"


def arrays(path: Path) -> dict[str, Any]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}


def images() -> Mapping[str, Any]:
    with np.load(CALIBRATION) as archive:
        return {"image": archive["image"]}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits network, badly pruned and packed."""
    path = tmp_path_factory.mktemp("small") / "small.onnx"
    compress(DENSE, images(), output=path, sparsity=0.7, uniform=True, method="magnitude", damping=0.01)
    return path


@pytest.fixture
def unlabelled(tmp_path: Path) -> Path:
    np.savez(tmp_path / "unlabelled.npz", **images())
    return tmp_path / "unlabelled.npz"


def retrained(*paths: Path, **options: Any) -> Retraining:
    """What `retrain` finds in a process of its own, in which it is never None."""
    found = retrain(*paths, **options)
    assert found is not None
    return found


def accuracy(path: Path) -> float:
    with np.load(TEST) as archive:
        outputs = Runtime().session(read_model(path)[0]).run({"image": archive["image"]})
        return float(np.mean(outputs["logits"].argmax(1) == archive["labels"]))


def test_a_packed_model_learns_from_the_dense_one_without_labels(small: Path, unlabelled: Path, tmp_path: Path) -> None:
    before, given = small.read_bytes(), unlabelled.read_bytes()
    better = tmp_path / "better.onnx"
    result = retrained(small, unlabelled, better, dense=DENSE, steps=120, batch_size=32)
    assert result.before.error is None
    assert result.after.distance is not None
    assert result.before.distance is not None
    assert result.after.distance < 0.5 * result.before.distance
    assert accuracy(better) > accuracy(small) + 0.02
    assert (small.read_bytes(), unlabelled.read_bytes()) == (before, given)

    plain = tmp_path / "plain.onnx"
    unpack(small, plain)
    old, new = arrays(plain), arrays(better)
    assert old.keys() == new.keys()
    sparse = [name for name in old if old[name].ndim > 1]
    assert sum(int((old[name] == 0).sum()) for name in sparse) == result.zeros > 0
    for name in sparse:
        assert not new[name][old[name] == 0].any()
    assert any(np.any(new[name] != old[name]) for name in sparse)
    assert [(n.name, n.op_type) for n in onnx.load(plain).graph.node] == [
        (n.name, n.op_type) for n in onnx.load(better).graph.node
    ]


def test_labels_do_without_the_dense_model(
    small: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert cli.run(["retrain", str(small), "--data", str(CALIBRATION), "-o", "-", "--steps", "60"]) == 0
    written = capfdbinary.readouterr()
    assert b"zeros kept" in written.err
    (tmp_path / "better.onnx").write_bytes(written.out)
    assert accuracy(tmp_path / "better.onnx") > accuracy(small)


def test_a_model_that_became_worse_is_not_delivered(small: Path, unlabelled: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckFailedError, match="retraining made the model worse"):
        retrain(small, unlabelled, tmp_path / "worse.onnx", dense=DENSE, steps=3, learning_rate=3.0)
    assert not (tmp_path / "worse.onnx").exists()


def test_a_module_that_is_another_function_is_not_trained(
    small: Path, unlabelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from netsurgeon.models.onnx_module.registry import OPERATORS

    monkeypatch.setitem(OPERATORS, "Relu", lambda inputs, attributes: inputs[0].clamp(min=0.01))
    with pytest.raises(CheckFailedError, match="PyTorch and ONNX Runtime differ by"):
        retrain(small, unlabelled, tmp_path / "better.onnx", dense=DENSE, steps=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dense": None}, "has no labels: give them, or the dense model"),
        ({"device": "abacus"}, "device is 'abacus'"),
        ({"batch_size": 4096}, "fewer than one batch of 4096"),
        ({"validation": 1.0}, "validation is 1.0"),
        ({"steps": 0}, "steps is 0"),
    ],
)
def test_bad_input_is_one_sentence(
    small: Path, unlabelled: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        retrain(small, unlabelled, tmp_path / "better.onnx", **{"dense": DENSE, "steps": 1, **changes})
    assert not (tmp_path / "better.onnx").exists()


def test_pruning_and_retraining_take_turns(unlabelled: Path, tmp_path: Path) -> None:
    result = retrained(DENSE, unlabelled, tmp_path / "small.onnx", dense=DENSE, sparsity=0.96, rounds=2, steps=200)
    assert result.steps == 400
    assert [each.sparsity for each in result.rounds] == pytest.approx([0.8, 0.96])
    assert result.rounds[1].taken
    assert result.rounds[1].after.distance < result.rounds[1].before.distance  # type: ignore[operator]
    weights = {name: array for name, array in arrays(tmp_path / "small.onnx").items() if array.ndim > 1}
    count, zeros = (sum(of(array) for array in weights.values()) for of in (np.size, lambda array: (array == 0).sum()))
    assert zeros == result.zeros >= 0.96 * count - len(weights)
    assert result.after == result.rounds[-1].after
    assert accuracy(tmp_path / "small.onnx") > 0.95


def test_two_processes_retrain_what_one_of_them_prunes(
    unlabelled: Path, two_processes: Callable[..., str], tmp_path: Path
) -> None:
    alone = retrained(DENSE, unlabelled, tmp_path / "one.onnx", dense=DENSE, sparsity=0.9, steps=30, device="cpu")
    main = tmp_path / "main.py"
    main.write_text(
        "import os\n"
        "from netsurgeon import cli\n"
        "from netsurgeon.pipeline.training import compressing, retraining\n"
        "if os.environ['RANK'] != '0':\n"
        "    compressing.compress = retraining.save_model = None  # only the process that leads prunes and writes\n"
        "cli.main()\n"
    )
    arguments = ["retrain", DENSE, "--data", unlabelled, "--dense", DENSE, "-o", tmp_path / "two.onnx"]
    arguments += ["--sparsity", "0.9", "--steps", "30", "--device", "cpu"]
    assert "".join(two_processes(main, *arguments).split()).count("two.onnx") == 1  # only one process speaks
    one, two = arrays(tmp_path / "one.onnx"), arrays(tmp_path / "two.onnx")
    sparse = [name for name in one if one[name].ndim > 1]
    assert sum(int((two[name] == 0).sum()) for name in sparse) == alone.zeros
    differing = sum(int(((one[name] == 0) != (two[name] == 0)).sum()) for name in sparse)
    assert differing <= 0.1 * alone.zeros  # other threads, sums in another order
    assert accuracy(tmp_path / "two.onnx") == pytest.approx(accuracy(tmp_path / "one.onnx"), abs=0.02)


def test_the_dense_model_is_asked_about_moved_pictures(small: Path, unlabelled: Path, tmp_path: Path) -> None:
    result = retrained(small, unlabelled, tmp_path / "better.onnx", dense=DENSE, steps=40, shift=1, flip=True)
    assert result.after.distance < result.before.distance  # type: ignore[operator]
    plain = retrained(small, unlabelled, tmp_path / "plain.onnx", dense=DENSE, steps=40)
    assert plain.after != result.after


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shift": -1}, "shift is -1"),
        ({"sparsity": 1.0}, "sparsity is 1.0"),
        ({"rounds": 2}, "rounds is 2"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_rounds_and_sparsities_out_of_range_are_refused(
    unlabelled: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        retrain(DENSE, unlabelled, tmp_path / "small.onnx", dense=DENSE, **options)


def test_an_operator_that_cannot_be_trained_is_refused(unlabelled: Path, tmp_path: Path) -> None:
    model = onnx.load(DENSE)
    model.graph.node.append(onnx.helper.make_node("CumSum", ["logits", "axis"], ["sum"], name="total"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(1), "axis"))
    model.graph.output[0].name = "sum"
    onnx.save(model, tmp_path / "odd.onnx")
    with pytest.raises(InputError, match="the operators CumSum cannot be trained"):
        retrain(tmp_path / "odd.onnx", unlabelled, tmp_path / "better.onnx", dense=DENSE, steps=1)


def test_inputs_are_not_written_to(unlabelled: Path) -> None:
    with pytest.raises(InputError, match="is an input"):
        retrain(DENSE, unlabelled, DENSE, dense=DENSE)
    before = unlabelled.read_bytes()
    with pytest.raises(InputError, match="is an input"):
        retrain(DENSE, unlabelled, unlabelled, dense=DENSE)
    assert unlabelled.read_bytes() == before
