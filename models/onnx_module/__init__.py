"""An ONNX graph as a PyTorch module that can be trained."""

from netsurgeon.models.onnx_module.module import OnnxModule
from netsurgeon.models.onnx_module.operators import OPERATORS

__all__ = [
    "OPERATORS",
    "OnnxModule",
]
