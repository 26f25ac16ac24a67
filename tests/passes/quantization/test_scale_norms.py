"""A transformer's block with a channel that reaches far: scale moves into the weights, and integers lose little."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper, parser

from netsurgeon.passes.layers import find_layers
from netsurgeon.passes.quantization import ScaleNorms, find_scaled_norms
from netsurgeon.pipeline.calibration import Calibration
from netsurgeon.pipeline.data.opening import open_samples
from netsurgeon.pipeline.model_files.loading import input_specs
from netsurgeon.pipeline.quantization import IntegerPlan, make_integer_model
from netsurgeon.pipeline.quantization.ranges import measure_reach
from netsurgeon.pipeline.runtime import Runtime

WIDTH, OUTLIER = 32, 5
RUNTIME = Runtime(threads=1)
OPERATOR = "n = LayerNormalization <axis = -1> (x, gamma, beta)"
WRITTEN_OUT = """
    mean = ReduceMean <axes = [-1]> (x)
    centred = Sub (x, mean)
    square = Mul (centred, centred)
    variance = ReduceMean <axes = [-1]> (square)
    above = Add (variance, epsilon)
    deviation = Sqrt (above)
    u = Div (centred, deviation)
    scaled = Mul (u, gamma)
    n = Add (scaled, beta)
"""
ATTENTION = """
    q0 = MatMul (n, wq)
    q = Add (q0, bq)
    k = MatMul (n, wk)
    v = MatMul (n, wv)
    t = Transpose <perm = [0, 2, 1]> (k)
    scores = MatMul (q, t)
    small = Mul (scores, factor)
    shares = Softmax <axis = -1> (small)
    y = MatMul (shares, v)
"""


def transformer(norm: str = OPERATOR, rest: str = ATTENTION) -> ir.Model:
    """x (N, 10, 32) normalised, one channel sixty times as large as the others, and attention behind it."""
    rng = np.random.default_rng(0)
    gamma = np.ones(WIDTH, np.float32)
    gamma[OUTLIER] = 60.0
    constants: dict[str, NDArray[np.generic]] = {
        "gamma": gamma,
        "beta": rng.standard_normal(WIDTH).astype(np.float32) / 10,
        "epsilon": np.array(1e-5, np.float32),
        "factor": np.array(0.1, np.float32),
        "rows": np.array([-1, WIDTH]),
        "back": np.array([-1, 10, WIDTH]),
        "bq": rng.standard_normal(WIDTH).astype(np.float32),
    }
    for name in ("wq", "wk", "wv"):
        weight = rng.standard_normal((WIDTH, WIDTH)).astype(np.float32) / np.sqrt(WIDTH)
        weight[OUTLIER] /= 40.0
        constants[name] = weight.astype(np.float32)
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
    block (float[N, 10, {WIDTH}] x) => (float[N, 10, C] y) {{ {norm} {rest} }}"""
    proto = parser.parse_model(text)
    used = {name for node in proto.graph.node for name in node.input}
    proto.graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in constants.items() if name in used)
    onnx.checker.check_model(proto)
    model = ir.from_proto(proto)
    for node in model.graph:
        node.name = node.outputs[0].name
    return model


def inputs() -> NDArray[np.float32]:
    return np.random.default_rng(1).standard_normal((64, 10, WIDTH)).astype(np.float32)


def calibration_of(model: ir.Model) -> Calibration:
    return Calibration(open_samples({"x": inputs()}, input_specs(model)), RUNTIME)


def relative_error(model: ir.Model, other: ir.Model) -> float:
    feed = {"x": inputs()}
    dense, changed = (RUNTIME.session(one).run(feed)["y"] for one in (model, other))
    return float(np.sum((dense - changed) ** 2) / np.sum(dense**2))


def on_integers(model: ir.Model) -> ir.Model:
    plan = IntegerPlan(most={layer.name: 127 for layer in find_layers(model.graph)[0]})
    return make_integer_model(model, plan, calibration_of(model), lambda *_: None).model


@pytest.mark.parametrize("norm", [OPERATOR, WRITTEN_OUT], ids=["operator", "written out"])
def test_a_channel_that_reaches_far_costs_the_others_nothing(norm: str) -> None:
    model = transformer(norm)

    # it is above 0.05 where the channel's range is that of all
    assert relative_error(model, on_integers(model)) < 1e-3


@pytest.mark.parametrize("norm", [OPERATOR, WRITTEN_OUT], ids=["operator", "written out"])
def test_moved_scale_changes_no_output(norm: str) -> None:
    model = transformer(norm)
    scaled = model.clone()
    (scaled_norm,) = find_scaled_norms(scaled.graph)

    modified = ScaleNorms(measure_reach(scaled, [scaled_norm.value], calibration_of(scaled), axis=-1))(scaled).modified

    assert modified
    assert [reader.name for reader in scaled_norm.readers] == ["q0", "k", "v"]
    assert relative_error(model, scaled) < 1e-10
    reach = measure_reach(scaled, [scaled_norm.value], calibration_of(scaled), axis=-1)[scaled_norm.value]
    assert reach.max() < 20 * np.median(reach)


@pytest.mark.parametrize(
    "rest",
    [
        ATTENTION.replace("y = MatMul (shares, v)", "z = MatMul (shares, v) y = Add (z, n)"),
        ATTENTION.replace(
            "v = MatMul (n, wv)", "w = Transpose <perm = [0, 2, 1]> (n) v = Transpose <perm = [0, 2, 1]> (w)"
        ),
        ATTENTION.replace("v = MatMul (n, wv)", "v = Add (n, bq)"),
    ],
    ids=["an Add", "a Transpose", "another norm's shift"],
)
def test_a_norm_that_something_else_reads_keeps_its_scale(rest: str) -> None:
    assert not find_scaled_norms(transformer(OPERATOR, rest).graph)


def test_layers_that_share_a_weight_keep_their_scale() -> None:
    assert not find_scaled_norms(transformer(OPERATOR, ATTENTION.replace("(n, wk)", "(n, wv)")).graph)


def test_layers_behind_a_reshape_to_rows_take_the_scale() -> None:
    rows = """
        r = Reshape (n, rows)
        h = Gemm (r, wq, bq)
        y = Reshape (h, back)
    """
    model = transformer(OPERATOR, rows)

    (norm,) = find_scaled_norms(model.graph)

    assert [reader.name for reader in norm.readers] == ["h"]
    assert relative_error(model, on_integers(model)) < 1e-4
