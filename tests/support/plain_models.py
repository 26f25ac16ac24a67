"""The embedded network's files, and a model of one product that is read from text."""

from pathlib import Path

import onnx
import onnx.parser

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
