"""Lean writing: the same function in fewer bytes, and nothing of what a user sees is renamed."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort

from netsurgeon.passes.packing import WriteLean

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[N, 3, 8, 8] picture) => (float[N, 4, 8, 8] scores)
<float step = {0.05}, uint8 zero = {0}, float[4, 3, 3, 3] "conv.weight" = {WEIGHT}>
{
    [quantize_of_the_picture] integers = QuantizeLinear (picture, step, zero)
    [restore_of_the_picture] "picture_again" = DequantizeLinear (integers, step, zero)
    [first] "of/the/first/layer" = Conv <auto_pad = "NOTSET", dilations = [1, 1], group = 1, kernel_shape = [3, 3],
        pads = [1, 1, 1, 1], strides = [1, 1]> ("picture_again", "conv.weight")
    [pool] "of/the/pool" = AveragePool <ceil_mode = 0, count_include_pad = 1, kernel_shape = [3, 3],
        pads = [1, 1, 1, 1], strides = [1, 1]> ("of/the/first/layer")
    [last] scores = LeakyRelu <alpha = 0.01> ("of/the/pool")
}
"""


def model() -> ir.Model:
    weight = np.random.default_rng(0).standard_normal(4 * 3 * 3 * 3)
    return ir.from_onnx_text(TEXT.replace("WEIGHT", ", ".join(f"{number:.3f}" for number in weight)))


def answer(changed: ir.Model) -> np.ndarray:
    session = ort.InferenceSession(ir.to_proto(changed).SerializeToString(), providers=["CPUExecutionProvider"])
    picture = np.random.default_rng(1).random((2, 3, 8, 8), np.float32)
    return np.asarray(session.run(["scores"], {"picture": picture})[0])


def test_the_function_stays_and_the_file_is_smaller() -> None:
    lean = model()
    WriteLean()(lean)
    onnx.checker.check_model(ir.to_proto(lean), full_check=True)
    assert answer(lean).tobytes() == answer(model()).tobytes()
    assert ir.to_proto(lean).ByteSize() < ir.to_proto(model()).ByteSize() - 150


def test_attributes_that_say_what_holds_anyway_go_and_others_stay() -> None:
    lean = model()
    WriteLean()(lean)
    left = {node.op_type: set(node.attributes) for node in lean.graph}
    assert left["Conv"] == {"pads"}
    assert left["AveragePool"] == {"kernel_shape", "pads", "count_include_pad"}
    assert left["LeakyRelu"] == set()


def test_names_of_nodes_inputs_and_outputs_stay() -> None:
    lean = model()
    WriteLean({"restore_of_the_picture"})(lean)
    assert [node.name or "" for node in lean.graph] == ["", "restore_of_the_picture", "first", "pool", "last"]
    assert [value.name for value in (*lean.graph.inputs, *lean.graph.outputs)] == ["picture", "scores"]
    inner = {value.name for node in lean.graph for value in node.outputs} - {"scores"}
    assert all(name is not None and len(name) == 1 for name in inner | set(lean.graph.initializers))
    assert len(inner | set(lean.graph.initializers)) == 7


def test_a_short_name_that_is_taken_is_not_given_twice() -> None:
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[4] a) => (float[4] b) '
    lean = ir.from_onnx_text(text + "{ inner = Abs(a) [again] another = Neg(inner) b = Exp(another) }")
    WriteLean()(lean)
    names = [value.name for node in lean.graph for value in node.outputs]
    assert len({"a", *names}) == 4
    onnx.checker.check_model(ir.to_proto(lean), full_check=True)


def test_the_model_that_it_was_cloned_from_keeps_its_names() -> None:
    """Also where the tensors are those of a ModelProto that the user holds."""
    nodes = "h = Add(x, w) y = Mul(h, w)"
    text = f'<ir_version: 8, opset_import: ["": 17]> net (float[N, 4] x) => (float[N, 4] y) {{ {nodes} }}'
    proto = onnx.parser.parse_model(text)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(4, np.float32), "w"))
    before = proto.SerializeToString()
    lean = ir.from_proto(proto).clone()
    WriteLean()(lean)
    assert "w" not in lean.graph.initializers
    assert proto.SerializeToString() == before
    onnx.checker.check_model(ir.to_proto(lean))


def test_tensors_of_strings_stay() -> None:
    text = '<ir_version: 8, opset_import: ["": 17]> net (int64[N] x) => (string[N] y) { y = Gather(names, x) }'
    proto = onnx.parser.parse_model(text)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array(["cat", "dog"], object), "names"))
    lean = ir.from_proto(proto)
    WriteLean()(lean)
    (constant,) = ir.to_proto(lean).graph.initializer
    assert list(constant.string_data) == [b"cat", b"dog"]
