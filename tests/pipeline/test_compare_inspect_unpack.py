"""compare, inspect and unpack on the embedded network and on small models."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import onnxruntime as ort
import pytest

from netsurgeon.passes.packing.unpack_weights import packed_weights
from netsurgeon.pipeline.compare import compare
from netsurgeon.pipeline.compress import Compression, compress
from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.inspect import inspect_model, inspect_units
from netsurgeon.pipeline.unpack import unpack

DIGITS = Path(__file__).parent.parent.parent / "models" / "digits"
DENSE, TEST = DIGITS / "digits.onnx", DIGITS / "test.npz"

PLAIN = """
<ir_version: 8, opset_import: ["" : 17]>
network (float[N, 4] x) => (float[N, 4] y) <float[4, 4] w = {1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,0}>
{ [first] y = MatMul(x, w) }
"""


def parsed(text: str) -> onnx.ModelProto:
    model = onnx.parser.parse_model(text)
    assert isinstance(model, onnx.ModelProto)
    return model


def logits(path: Path) -> np.ndarray:
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"image": np.load(TEST)["image"]})[0])


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Compression]:
    path = tmp_path_factory.mktemp("digits") / "small.onnx"
    calibration = DIGITS / "calibration.npz"
    solver: dict[str, Any] = {"method": "obs", "damping": 0.01, "uniform": True, "limit": 100}
    result = compress(DENSE, calibration, test=TEST, output=path, sparsity=0.8, keep_unread=True, **solver)
    return path, result


# compare


def test_a_model_is_equal_to_itself() -> None:
    result = compare(DENSE, DENSE, TEST)
    assert result.dense == result.compressed
    assert result.validation.samples == 450
    assert result.validation.agreement == 1.0
    assert [output.relative_error for output in result.validation.outputs] == [0.0]
    assert result.bound is not None
    assert [(output.bound, output.measured) for output in result.bound.outputs] == [(0.0, 0.0)]


def test_compare_measures_what_compress_has_reported(small: tuple[Path, Compression]) -> None:
    path, written = small
    result = compare(DENSE, path, TEST)
    assert result.validation.dense == written.report.validation.dense
    assert result.validation.compressed == written.report.validation.compressed
    assert result.validation.agreement == written.report.validation.agreement
    assert result.validation.outputs[0].relative_error == pytest.approx(
        written.report.validation.outputs[0].relative_error
    )
    assert result.dense == written.report.dense
    assert result.compressed == written.report.compressed


def test_compare_bounds_the_error_of_a_packed_model(small: tuple[Path, Compression]) -> None:
    bound = compare(DENSE, small[0], TEST, limit=64).bound
    assert bound is not None
    assert bound.samples == 64
    assert bound.outputs[0].bound is not None
    assert 0.0 < bound.outputs[0].measured <= bound.outputs[0].bound


def test_compare_takes_models_from_memory(small: tuple[Path, Compression]) -> None:
    result = compare(onnx.load(DENSE), small[1].model, TEST, limit=32)
    assert result.dense.name == ""
    assert 0.0 < result.validation.outputs[0].relative_error < 1.0


def test_graphs_that_differ_have_no_bound() -> None:
    other = PLAIN.replace("{ [first] y = MatMul(x, w) }", "{ [first] h = MatMul(x, w)\n[second] y = Relu(h) }")
    result = compare(parsed(PLAIN), parsed(other), np.ones((8, 4), np.float32))
    assert result.bound is None
    assert result.validation.outputs[0].relative_error == 0.0


def test_models_of_different_opsets_have_no_bound() -> None:
    newer = parsed(PLAIN)
    newer.opset_import[0].version += 1
    result = compare(parsed(PLAIN), newer, np.ones((8, 4), np.float32))
    assert result.bound is None
    assert result.validation.outputs[0].relative_error == 0.0


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda text: text.replace("] x)", "] z)").replace("(x, w)", "(z, w)"), "inputs"),
        (lambda text: text.replace("float[N, 4] x)", "float[N, 4] x, float[1] z)"), "inputs"),
        (lambda text: text.replace("float", "double"), "inputs"),
        (lambda text: text.replace("] y)", "] z)").replace("y = ", "z = "), "outputs"),
    ],
)
def test_models_that_are_not_alike(change: Callable[[str], str], kind: str) -> None:
    with pytest.raises(InputError, match=f"differ in their {kind}"):
        compare(parsed(PLAIN), parsed(change(PLAIN)), np.ones((8, 4), np.float32))


def test_compare_with_a_model_that_gives_nothing_finite() -> None:
    with pytest.raises(CheckFailedError, match="NaN or infinite"):
        compare(parsed(PLAIN), parsed(PLAIN.replace("{1,2", "{nan,2")), np.ones((8, 4), np.float32))


def table_of(rows: int) -> onnx.ModelProto:
    """A model that picks rows of a table."""
    return parsed(
        f"""
        <ir_version: 8, opset_import: ["" : 17]>
        network (int64[N] x) => (float[N, 2] y) <float[{rows}, 2] w = {{{", ".join(["1"] * 2 * rows)}}}>
        {{ y = Gather(w, x) }}
        """
    )


def test_compare_on_inputs_that_fail_only_the_other_model_is_a_failed_check() -> None:
    with pytest.raises(CheckFailedError, match="cannot run on this input"):
        compare(table_of(5), table_of(3), np.arange(64) % 5)


def test_compare_names_the_batch_that_the_models_cannot_run() -> None:
    with pytest.raises(InputError, match=r"as given cannot run on batch 1 \(sample 32 of the array"):
        compare(table_of(5), table_of(5), np.where(np.arange(64) == 40, 9, 0))


# inspect


def test_inspect_lists_layers() -> None:
    found = inspect_model(DENSE)
    assert (found.name, found.bytes, found.opset) == ("digits.onnx", DENSE.stat().st_size, 18)
    assert found.inputs == ("image: FLOAT [batch,1,8,8]",)
    assert found.outputs == ("logits: FLOAT [batch,10]",)
    layers = {layer.name: layer for layer in found.layers}
    assert layers["node_Conv_89"].shape == (16, 1, 9)
    assert layers["node_linear_1"].operator == "Gemm"
    assert layers["node_linear_1"].shape == (1, 10, 128)
    for layer in found.layers:
        assert layer.weights == np.prod(layer.shape)
        assert (layer.zeros, layer.dtype) == (0, "FLOAT")


def test_inspect_lists_what_is_declined_and_why() -> None:
    model = parsed(
        """
        <ir_version: 8, opset_import: ["" : 17]>
        network (float[N, 2, 5, 5] x) => (float[N, 3, 6, 6] y) <float[2, 3, 2, 2] w = {1,1,1,1,1,1,1,1,1,1,1,1,
            1,1,1,1,1,1,1,1,1,1,1,1}>
        { [up] y = ConvTranspose(x, w) }
        """
    )
    found = inspect_model(model)
    assert found.layers == ()
    assert [(each.node, each.operator, each.parameters) for each in found.declined] == [("up", "ConvTranspose", 24)]
    assert "transposed" in found.declined[0].reason


def test_inspect_counts_zeros_of_packed_weights(small: tuple[Path, Compression]) -> None:
    found = inspect_model(small[0])
    kept = {layer.name: layer.weights - layer.zeros for layer in found.layers}
    assert kept == {layer.name: layer.kept for layer in small[1].report.layers}


def test_inspect_does_not_need_data_or_change_the_model() -> None:
    model = parsed(PLAIN)
    before = model.SerializeToString()
    found = inspect_model(model)
    assert (found.name, found.bytes, found.layers[0].zeros) == ("", len(before), 1)
    assert inspect_model(ir.from_proto(model)).layers == found.layers
    assert model.SerializeToString() == before


# unpack


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


# inspect --units


def test_inspect_shows_groups_and_what_is_frozen() -> None:
    found = inspect_units(DENSE)
    assert found.name == "digits.onnx"
    assert [group.operators[0] for group in found.groups] == ["Conv"] * (len(found.groups) - 1) + ["Gemm"]
    assert [(each.indices, each.reason) for each in found.frozen] == [(10, "it is an output of the model")]
    assert inspect_units(DENSE, TEST) == found


def test_inspect_units_of_a_model_that_does_not_run_on_random_inputs() -> None:
    text = PLAIN.replace("float[N, 4] x", "float[N, M] x")
    assert inspect_units(parsed(text), np.ones((2, 4), np.float32)).parameters == 16
    with pytest.raises(CheckFailedError, match="give it inputs that it accepts with --data"):
        inspect_units(parsed(text))
