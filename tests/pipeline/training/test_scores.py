"""What retraining is judged by: errors, agreement and distance, of models that answer alike, less so, or not at all."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx.helper
import onnx_ir as ir
import pytest
from perceptron_models import built, inputs, perceptron, random, run_model

from netsurgeon.pipeline.data.training_data import Arrays
from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.runtime.session import Runtime
from netsurgeon.pipeline.training import scores as scores_module
from netsurgeon.pipeline.training.scores import Reference, Scores, check_same, scores

RUNTIME = Runtime()


def scaled(factor: float, shift: float = 0.0) -> ir.Model:
    """The perceptron, its outputs times a factor, and one class favoured by a shift."""
    model = ir.from_proto(perceptron())
    for name in ("w2", "b2"):
        value = model.graph.initializers[name]
        assert value.const_value is not None
        array = factor * value.const_value.numpy()
        if name == "b2":
            array[3] += shift
        value.const_value = ir.tensor(np.asarray(array, np.float32), name=name)
    return model


@pytest.fixture
def teacher(tmp_path: Path) -> Reference:
    ir.save(scaled(1.0), tmp_path / "dense.onnx")
    return Reference(tmp_path / "dense.onnx", "x", RUNTIME)


def answers(count: int = 40) -> Any:
    return run_model(perceptron(), inputs(count)).argmax(axis=1)


def test_a_model_that_answers_like_the_dense_one(teacher: Reference) -> None:
    assert scores(scaled(1.0), Arrays(inputs(40), answers()), teacher, RUNTIME) == Scores(0.0, 1.0, 0.0)


def test_distance_is_a_share_of_the_variance_that_the_classes_do_not_show(teacher: Reference) -> None:
    found_scores = scores(scaled(1.5), Arrays(inputs(40), answers()), teacher, RUNTIME)
    dense = run_model(perceptron(), inputs(40))
    assert (found_scores.error, found_scores.agreement) == (0.0, 1.0)
    assert found_scores.distance == pytest.approx(0.25 * np.mean(dense**2) / dense.var(axis=0).mean(), rel=1e-5)


def test_a_model_that_always_gives_one_class(teacher: Reference) -> None:
    result = scores(scaled(1.0, shift=1e6), Arrays(inputs(40), answers()), teacher, RUNTIME)
    share = float(np.mean(answers() == 3))
    assert result.error == pytest.approx(1.0 - share)
    assert result.agreement == pytest.approx(share)


def test_without_labels_or_dense_model_their_scores_are_none(teacher: Reference) -> None:
    assert scores(scaled(1.0), Arrays(inputs(40)), None, RUNTIME) == Scores(None, None, None)
    assert scores(scaled(1.0), Arrays(inputs(40), answers()), None, RUNTIME) == Scores(0.0, None, None)
    assert scores(scaled(1.0), Arrays(inputs(40)), teacher, RUNTIME) == Scores(None, 1.0, 0.0)


@pytest.mark.parametrize("batch", [1, 7, 256])
def test_batches_do_not_change_the_scores(batch: int, teacher: Reference, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = scores(scaled(1.1, shift=5.0), Arrays(inputs(40), answers()), teacher, RUNTIME)
    monkeypatch.setattr(scores_module, "BATCH", batch)
    parts = scores(scaled(1.1, shift=5.0), Arrays(inputs(40), answers()), teacher, RUNTIME)
    assert (parts.error, parts.agreement) == (whole.error, whole.agreement)
    assert parts.distance == pytest.approx(whole.distance, rel=1e-5)


def maps() -> ir.Model:
    """Its output has a third axis."""
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], name="conv")
    return ir.from_proto(built([node], {"w": random(2, 3, 1)}, entry=("N", 3, 4), end=("N", 2, 4)))


def test_maps_have_a_distance_but_no_classes(tmp_path: Path) -> None:
    ir.save(maps(), tmp_path / "maps.onnx")
    dense = Reference(tmp_path / "maps.onnx", "x", RUNTIME)
    assert scores(maps(), Arrays(random(5, 3, 4)), dense, RUNTIME) == Scores(None, None, 0.0)
    with pytest.raises(InputError, match=r"labels need one row of class scores .* has the shape \(5, 2, 4\)"):
        scores(maps(), Arrays(random(5, 3, 4), np.zeros(5, np.int64)), dense, RUNTIME)


def test_a_dense_model_that_is_another_one_is_refused(teacher: Reference, tmp_path: Path) -> None:
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"], name="only")
    other = ir.from_proto(built([node], {"w": random(32, 7)}, end=("N", 7)))
    with pytest.raises(InputError, match=r"output has the shape \(4, 10\), the other model's \(4, 7\)"):
        scores(other, Arrays(inputs(4)), teacher, RUNTIME)
    ir.save(scaled(1.0), tmp_path / "named.onnx")
    with pytest.raises(InputError, match=r"named\.onnx has the inputs x, the other model has image"):
        Reference(tmp_path / "named.onnx", "image", RUNTIME)


def test_outputs_that_do_not_vary_have_a_distance_all_the_same(tmp_path: Path) -> None:
    """There is no variance to take a share of."""
    ir.save(scaled(0.0), tmp_path / "constant.onnx")
    constant = Reference(tmp_path / "constant.onnx", "x", RUNTIME)
    distance = scores(scaled(1.0), Arrays(inputs(4)), constant, RUNTIME).distance
    assert distance == pytest.approx(np.mean(run_model(perceptron(), inputs(4)) ** 2), rel=1e-5)


def test_the_dense_model_in_pytorch_is_proven_to_be_it(teacher: Reference) -> None:
    torch = pytest.importorskip("torch")
    module = teacher.module(inputs(8))
    actual = module(torch.from_numpy(inputs(8))).detach().numpy()
    np.testing.assert_allclose(actual, teacher.outputs(Arrays(inputs(8))), rtol=1e-4, atol=1e-4)


def test_a_module_that_is_another_function_is_refused() -> None:
    pytest.importorskip("torch")
    from netsurgeon.models.onnx_module import OnnxModule

    module = OnnxModule(ir.to_proto(scaled(1.0)))
    check_same(scaled(1.0), module, inputs(8), RUNTIME)
    with pytest.raises(CheckFailedError, match=r"differ by [\d.e-]+ of the output's scale .*, allowed 0.001"):
        check_same(scaled(1.01), module, inputs(8), RUNTIME)
