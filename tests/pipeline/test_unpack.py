"""unpack gives back plain weights, equal to the last bit."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from packed_models import model_of, packed_before, sparse
from plain_models import DENSE, DIGITS, TEST

from netsurgeon.passes.packing.pack_weights import PackWeights
from netsurgeon.passes.packing.unpack_weights import packed_weights
from netsurgeon.pipeline.compress import Compression, compress
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.unpack import unpack


def logits(path: Path) -> np.ndarray:
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"image": np.load(TEST)["image"]})[0])


def test_unpacked_weights_and_outputs_are_equal_to_the_last_bit(
    small: tuple[Path, Compression], tmp_path: Path
) -> None:
    path, written = small
    names = unpack(path, tmp_path / "plain.onnx")
    assert set(names) == set(packed_weights(written.model))
    plain = ir.load(tmp_path / "plain.onnx")
    assert not packed_weights(plain)
    assert [node.op_type for node in plain.graph] == [node.op_type for node in ir.load(DENSE).graph]
    assert logits(tmp_path / "plain.onnx").tobytes() == logits(path).tobytes()
    kept = {layer.name: layer.kept for layer in written.report.layers}
    for node in plain.graph:
        if node.name in kept:
            weight = node.inputs[1]
            assert weight is not None
            assert weight.const_value is not None
            assert np.count_nonzero(weight.const_value.numpy()) == kept[node.name]


def test_unpacked_model_is_the_one_that_was_not_packed(small: tuple[Path, Compression], tmp_path: Path) -> None:
    names = unpack(small[0], str(tmp_path / "plain.onnx"))
    other = compress(
        DENSE,
        DIGITS / "calibration.npz",
        test=TEST,
        sparsity=0.8,
        keep_unread=True,
        method="obs",
        damping=0.01,
        uniform=True,
        limit=100,
        pack=False,
    ).model
    plain = ir.load(tmp_path / "plain.onnx")
    for name in names:
        expected, found = (model.graph.initializers[name].const_value for model in (other, plain))
        assert expected is not None
        assert found is not None
        assert expected.numpy().tobytes() == found.numpy().tobytes()


def test_a_plain_model_cannot_be_unpacked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="plain already"):
        unpack(DENSE, tmp_path / "plain.onnx")
    assert not list(tmp_path.iterdir())


def test_a_file_of_an_earlier_version_is_unpacked_and_compressed_again(tmp_path: Path) -> None:
    weight = sparse((60, 50), 0.5, grid=15)
    ir.save(packed_before(weight, "bitmap"), tmp_path / "old.onnx")
    assert unpack(tmp_path / "old.onnx", tmp_path / "plain.onnx") == ["w"]
    plain = ir.load(tmp_path / "plain.onnx").graph.initializers["w"].const_value
    assert plain is not None
    assert plain.numpy().tobytes() == weight.tobytes()
    inputs = {"x": np.random.default_rng(0).standard_normal((60, 60)).astype(np.float32)}
    again = compress(tmp_path / "old.onnx", inputs, keep_zeros=True, values="float32").model
    assert packed_weights(again) == ["w"]


def test_damaged_packed_weights_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    model = model_of(sparse((60, 50), 0.9), "Gemm")
    PackWeights()(model)
    [scatter] = [node for node in model.graph if node.op_type == "ScatterElements"]
    size = next(node for node in model.graph if node.op_type == "ConstantOfShape").inputs[0]
    assert size is not None
    size.const_value = ir.tensor(np.array([7], np.int64), name=size.name)
    assert scatter.inputs[0] is not None
    ir.save(model, tmp_path / "damaged.onnx")
    with pytest.raises(InputError, match=r"packed weight 'w', which cannot be unpacked: the file is damaged"):
        unpack(tmp_path / "damaged.onnx", tmp_path / "plain.onnx")
    assert not (tmp_path / "plain.onnx").exists()
