"""inspect shows layers, what is declined and why, and units, without changing anything."""

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest
from onnx import numpy_helper
from plain_models import DENSE, PLAIN, TEST, parsed

from netsurgeon.pipeline.compress import Compression
from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.inspect import MOST_NUMBERS, inspect_model, inspect_units, made_up_samples
from netsurgeon.pipeline.model_files import open_model
from netsurgeon.pipeline.runtime import Runtime

HEAD = '<ir_version: 8, opset_import: ["" : 17]>'


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


@pytest.mark.parametrize(
    ("shape", "side"), [("n, 3, h, w", 64), ("n, 43844, c", 1), ("n, 1, d, h, w", 64), ("n, 1, 256, 256, w", 1)]
)
def test_open_axes_are_made_up_so_that_inputs_stay_small(shape: str, side: int) -> None:
    """64 channels of a signal of 43,844 values, which the model has one of, took more than 3 GB in its convolutions."""
    proto = parsed(f"{HEAD} network (float[{shape}] x) => (float[{shape}] y) {{ y = Relu (x) }}")
    samples = made_up_samples(open_model(proto, Runtime()), Runtime())
    (feed,) = samples.batches()
    assert feed["x"].shape[-1] == side
    assert feed["x"].size <= MOST_NUMBERS


def test_inputs_that_are_large_as_they_are_declared_are_made_up() -> None:
    proto = parsed(f"{HEAD} network (float[n, 2, 3000000] x) => (float[n, 2, 3000000] y) {{ y = Relu (x) }}")
    samples = made_up_samples(open_model(proto, Runtime()), Runtime())
    assert next(samples.batches())["x"].shape == (2, 2, 3_000_000)


def test_a_node_without_outputs_hinders_nothing() -> None:
    """All outputs of an LSTM are optional, and ONNX Runtime runs one that has none."""
    text = """<ir_version: 8, opset_import: ["" : 17]> unread (float[n, 4] x) => (float[n, 4] z)
    <int64[1] first = {0}> {
        steps = Unsqueeze (x, first)
        h = Gemm (x, w)
        m = BatchNormalization (h, s, s, s, s)
        z = Gemm (m, w)
        unread = LSTM <hidden_size = 1> (steps, wl, rl)
    }"""
    proto = onnx.parser.parse_model(text)
    shapes = {"w": (4, 4), "s": (4,), "wl": (1, 4, 4), "rl": (1, 4, 1)}
    for name, shape in shapes.items():
        values = np.random.default_rng(0).uniform(0.5, 1, shape).astype(np.float32)
        proto.graph.initializer.append(numpy_helper.from_array(values, name))
    del proto.graph.node[-1].output[:]
    inspection = inspect_model(proto)
    assert [layer.operator for layer in inspection.layers] == ["Gemm", "Gemm"]
    assert not inspection.notes
    assert len(inspect_units(proto).groups) == 1
