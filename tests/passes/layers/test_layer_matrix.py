"""A layer's weight by itself is what the layer gives and takes, to the last bit."""

import numpy as np
import onnx_ir as ir
import pytest

from netsurgeon.passes.layers.layer_finder import find_layers
from netsurgeon.passes.layers.layer_matrix import LayerMatrix


@pytest.mark.parametrize("alpha", [1.0, 0.3])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_what_is_read_back_is_what_the_layer_gives_once_it_is_written(alpha: float, dtype: type) -> None:
    name = np.dtype(dtype).name.replace("float32", "float")
    model = ir.from_onnx_text(
        f'<ir_version: 8, opset_import: ["" : 17]> g ({name}[N,24] x, {name}[24,7] w) => ({name}[N,7] y) '
        f"{{ y = Gemm<alpha = {alpha}>(x, w) }}"
    )
    rng, weight = np.random.default_rng(0), model.graph.inputs.pop()
    weight.const_value = ir.tensor(rng.standard_normal((24, 7)).astype(dtype), name="w")
    model.graph.register_initializer(weight)
    (layer,) = find_layers(model.graph)[0]
    matrix = LayerMatrix.of(layer)
    assert np.array_equal(matrix.matrix(), layer.matrix())
    assert matrix.values.dtype == (dtype if alpha == 1.0 else np.float64)
    other = rng.standard_normal(layer.matrix().shape)
    read_back, rounded = matrix.read_back(other), matrix.rounded(other)
    layer.write(other)
    assert np.array_equal(layer.matrix(), read_back)
    layer.write(rounded)
    assert np.array_equal(layer.matrix(), read_back), "what is sent back loses nothing"
