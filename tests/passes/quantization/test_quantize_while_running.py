"""Activations that become integers while the model runs: the graph, and what ONNX Runtime makes of it."""

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from netsurgeon.passes.graph import tensor
from netsurgeon.passes.layers import find_cells, find_layers
from netsurgeon.passes.quantization import (
    MeasureWhileRunning,
    MultiplyIntegers,
    Placement,
    RecurOnIntegers,
    RoundCells,
    SeparateInputs,
    find_integer_weights,
    find_quantized_layers,
    place_matrices,
)
from netsurgeon.passes.rewriting import normal_form
from netsurgeon.passes.solvers import nearest_integers
from netsurgeon.pipeline.runtime import Runtime

Array = NDArray[Any]
TEXT = """<ir_version: 8, opset_import: ["": 17]> net (float[N, S, 24] x) => (float[N, S, 8] y, float[N, S, 16] q) {
    q = MatMul(x, w1)
    k = MatMul(x, w2)
    product = Mul(q, k)
    flat = Reshape(product, shape)
    hidden = Gemm <transB = 1> (flat, w3, b3)
    stacked = Reshape(hidden, back)
    last = MatMul(stacked, w4)
    y = Add(last, b4)
}"""
SHAPES = {"w1": (24, 16), "w2": (24, 16), "w3": (12, 16), "b3": (12,), "w4": (12, 8), "b4": (8,)}


def network() -> ir.Model:
    rng = np.random.default_rng(0)
    proto = onnx.parser.parse_model(TEXT)
    arrays: dict[str, Array] = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}
    arrays |= {"shape": np.array([-1, 16]), "back": np.array([-1, 5, 12])}
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in arrays.items())
    model = ir.from_proto(proto)
    normal_form()(model)
    return model


def emulated(model: ir.Model) -> tuple[ir.Model, Placement]:
    """A clone whose layers take what comes back from integers, and what was placed."""
    clone = model.clone()
    placement = place_matrices(clone.graph, find_layers(clone.graph)[0], {})
    SeparateInputs(placement)(clone)
    MeasureWhileRunning(placement.entering)(clone)
    return clone, placement


def on_integers(model: ir.Model) -> dict[str, Array]:
    """Put the weights of all layers on 7 bits in place; the scales of their rows."""
    scales = {}
    for layer in find_layers(model.graph)[0]:
        integers = nearest_integers(layer.matrix(), 63, layer.blocks)
        layer.write(integers.weight)
        scales[layer.name] = layer.of_rows(integers.scales)
    return scales


def feed() -> dict[str, Array]:
    return {"x": np.random.default_rng(1).standard_normal((3, 5, 24)).astype(np.float32)}


def test_integer_kernels_give_what_the_graph_says_in_float_arithmetic() -> None:
    floats, placement = emulated(network())
    scales = on_integers(floats)
    integers = floats.clone()
    MultiplyIntegers(scales)(integers)
    onnx.checker.check_model(ir.to_proto(integers))
    expected = Runtime(optimisation="off").session(floats).run(feed())
    for level in ("off", "all"):
        results = Runtime(optimisation=level).session(integers).run(feed())
        for name, result in results.items():
            np.testing.assert_allclose(result, expected[name], rtol=0.0, atol=2e-5 * np.abs(expected[name]).max())
    kinds = [node.op_type for node in integers.graph]
    assert kinds.count("MatMulInteger") == len(placement.layers) == 4
    assert kinds.count("DynamicQuantizeLinear") == 3
    assert "MatMul" not in kinds
    assert "Gemm" not in kinds
    assert "DequantizeLinear" not in kinds


def test_rounding_what_enters_changes_the_outputs_a_little() -> None:
    model = network()
    floats, _ = emulated(model)
    before, after = (Runtime().session(variant).run(feed())["y"] for variant in (model, floats))
    share = np.linalg.norm(after - before) / np.linalg.norm(before)
    assert 1e-4 < share < 0.05


def test_onnx_runtime_makes_one_kernel_of_each_layer_and_knows_it_by_name() -> None:
    integers, placement = emulated(network())
    MultiplyIntegers(on_integers(integers))(integers)
    weights = find_integer_weights(integers.graph)
    assert set(weights) == set(placement.layers)
    graph = Runtime().optimised_graph(integers)
    kernels = {node.name: node.op_type for node in graph.node if node.op_type.startswith(("DynamicQ", "MatMulInt"))}
    assert set(kernels.values()) <= {"DynamicQuantizeMatMul", "MatMulIntegerToFloat", "DynamicQuantizeLinear"}
    readers = {name: node.op_type for node in graph.node for name in node.input}
    assert all(readers[weight.name] in ("DynamicQuantizeMatMul", "MatMulIntegerToFloat") for weight in weights.values())


def test_a_value_that_a_layer_and_others_take_stays_a_float_for_the_others() -> None:
    integers, _ = emulated(network())
    scales = on_integers(integers)
    MultiplyIntegers({name: rows for name, rows in scales.items() if name == find_layers(integers.graph)[0][1].name})(
        integers
    )
    kinds = [node.op_type for node in integers.graph]
    assert kinds.count("MatMulInteger") == 1
    assert kinds.count("MatMul") == 2
    assert Runtime().session(integers).run(feed())["y"].shape == (3, 5, 8)


def test_a_layer_whose_input_is_not_made_of_integers_is_refused() -> None:
    model = network()
    scales = on_integers(model)
    with pytest.raises(ValueError, match="not made of integers"):
        MultiplyIntegers(scales)(model)


HIDDEN, COLUMNS = 24, 16
STATES = {"h0": HIDDEN, "c0": HIDDEN}


def cell(
    directions: int = 1, inputs: str = "x, w, r, b, , h0, c0", outputs: str = "y, last, state", **attributes: Any
) -> ir.Model:
    """An LSTM of seeded weights behind a Relu; what it takes beside x, w and r as `inputs` says."""
    kind = {"direction": '"bidirectional"' if directions == 2 else '"forward"', **attributes}
    settings = ", ".join(f"{name} = {value}" for name, value in {"hidden_size": HIDDEN, **kind}.items())
    rows = 4 * HIDDEN
    states = ", ".join(f"float[{directions}, N, {HIDDEN}] {name}" for name in STATES)
    types = {"y": f"float[S, {directions}, N, {HIDDEN}]"}
    declared = ", ".join(
        f"{types.get(name, f'float[{directions}, N, {HIDDEN}]')} {name}" for name in outputs.split(", ")
    )
    proto = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["": 17]> net (float[S, N, {COLUMNS}] a, int32[N] lengths, {states})
        => ({declared}) {{
            x = Relu(a)
            {outputs} = LSTM <{settings}> ({inputs})
        }}"""
    )
    proto.graph.node[1].name = "cell"
    rng = np.random.default_rng(0)
    shapes = {"w": (rows, COLUMNS), "r": (rows, HIDDEN), "b": (2 * rows,), "p": (3 * HIDDEN,)}
    for name, shape in shapes.items():
        if name in inputs:
            array = (rng.standard_normal((directions, *shape)) / np.sqrt(shape[-1])).astype(np.float32)
            proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return ir.from_proto(proto)


def recurred(model: ir.Model, most: int = 63) -> tuple[ir.Model, ir.Model]:
    """A clone whose LSTM has rounded weights and takes what comes back from integers, and one on the kernel."""
    floats = model.clone()
    placement = place_matrices(floats.graph, [], {}, find_cells(floats.graph))
    SeparateInputs(placement)(floats)
    MeasureWhileRunning(placement.entering)(floats)
    rounding = RoundCells(dict.fromkeys(placement.layers, most))
    rounding(floats)
    integers = floats.clone()
    RecurOnIntegers({name: outcome.scales for name, outcome in rounding.outcomes.items()})(integers)
    return floats, integers


def recurrent_feed(directions: int) -> dict[str, Array]:
    rng = np.random.default_rng(2)
    states = {name: rng.standard_normal((directions, 3, width)).astype(np.float32) for name, width in STATES.items()}
    steps = rng.standard_normal((7, 3, COLUMNS)).astype(np.float32)
    return {"a": steps, "lengths": np.array([7, 4, 5], np.int32), **states}


def distances(one: ir.Model, other: ir.Model, directions: int) -> list[float]:
    """How far the outputs lie apart, as shares of their size; with optimisation off and on the same."""
    shares: list[float] = []
    for level in ("off", "all"):
        results = [Runtime(optimisation=level).session(model).run(recurrent_feed(directions)) for model in (one, other)]
        shares += [
            float(np.linalg.norm(results[0][name] - results[1][name]) / np.linalg.norm(results[0][name]))
            for name in results[0]
        ]
    return shares


@pytest.mark.parametrize(
    ("directions", "inputs", "attributes"),
    [
        (1, "x, w, r", {}),
        (2, "x, w, r, b", {}),
        (1, "x, w, r, b, lengths", {}),
        (2, "x, w, r, b, lengths, h0, c0", {}),
        (1, "x, w, r, b, , h0, c0, p", {}),
        (2, "x, w, r, b, lengths, h0, c0, p", {}),
        (1, "x, w, r, b", {"direction": '"reverse"'}),
        (1, "x, w, r, b", {"clip": 0.5}),
        (1, "x, w, r, b", {"input_forget": 1}),
        (1, "x, w, r, b", {"layout": 0}),
        (1, "x, w, r, b", {"activations": '["HardSigmoid", "Softsign", "Relu"]'}),
    ],
)
def test_an_lstm_on_integers_gives_what_its_rounded_weights_give_within_8_bits(
    directions: int, inputs: str, attributes: dict[str, Any]
) -> None:
    model = cell(directions, inputs, **attributes)
    floats, integers = recurred(model)
    onnx.checker.check_model(ir.to_proto(integers))
    node = next(node for node in integers.graph if node.name == "cell")
    assert (node.domain, node.op_type) == ("com.microsoft", "DynamicQuantizeLSTM")
    assert [node.op_type for node in integers.graph] == ["Relu", "DynamicQuantizeLSTM"]
    # the state is rounded inside, which the floats do not show
    shares = distances(floats, integers, directions)
    assert len(shares) == 6
    assert 0.0 < max(shares) < 0.02
    assert max(distances(model, integers, directions)) < 0.03
    assert max(distances(cell(directions, inputs, clip=0.05), integers, directions)) > 0.1


def test_integers_of_an_lstm_are_known_by_its_name_and_fill_a_quarter_of_the_bytes() -> None:
    model = cell(2, "x, w, r, b", "y")
    _, integers = recurred(model)
    weights = find_integer_weights(integers.graph)
    assert list(weights) == ["cell"]
    assert weights["cell"].name == "w"
    (layer,) = find_quantized_layers(integers.graph)
    size = 2 * 4 * HIDDEN * (COLUMNS + HIDDEN)
    assert (layer.form, layer.bits, layer.scheme) == ("dynamic", 7, "per channel, symmetric")
    assert layer.weights == size
    codes = [tensor(integers.graph.initializers[name]).numpy() for name in ("w", "r")]
    assert layer.zeros == sum(int((array == 0).sum()) for array in codes)
    assert sum(array.nbytes for array in codes) == size
    readers = {name: node.op_type for node in Runtime().optimised_graph(integers).node for name in node.input}
    assert readers["w"] == readers["r"] == "DynamicQuantizeLSTM"


def test_more_bits_lose_less_and_the_error_says_so() -> None:
    errors = []
    for most in (7, 63, 127):
        model = cell(1, "x, w, r, b")
        rounding = RoundCells({"cell": most})
        rounding(model)
        errors.append(rounding.outcomes["cell"].error)
    assert 0.0 < errors[2] < errors[1] < errors[0] < 0.01


def test_others_that_take_what_enters_a_cell_still_take_floats() -> None:
    model = cell(1, "x, w, r, b, , h0, c0")
    model.graph.outputs.append(next(iter(model.graph)).outputs[0])
    floats, integers = recurred(model)
    results = [Runtime().session(one).run(recurrent_feed(1)) for one in (model, integers)]
    np.testing.assert_array_equal(results[0]["x"], results[1]["x"])
    assert [node.op_type for node in floats.graph] == ["Relu", "DynamicQuantizeLinear", "DequantizeLinear", "LSTM"]


def test_a_cell_whose_weights_do_not_lie_on_integers_is_refused() -> None:
    model = cell()
    placement = place_matrices(model.graph, [], {}, find_cells(model.graph))
    SeparateInputs(placement)(model)
    scales = {"cell": np.ones((2, 1, 4 * HIDDEN))}
    with pytest.raises(ValueError, match="input of 'cell' is not made of integers"):
        RecurOnIntegers(scales)(model.clone())
    MeasureWhileRunning(placement.entering)(model)
    with pytest.raises(ValueError, match="a weight of 'cell' is not on integers"):
        RecurOnIntegers(scales)(model)
