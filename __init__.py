"""netsurgeon: compress a trained ONNX model, verified by ONNX Runtime."""

__version__ = "0.1.0"
