"""An ONNX graph as a PyTorch module that can be trained."""

from netsurgeon.models.onnx_module.module import OnnxModule

__all__ = [
    "OnnxModule",
]
