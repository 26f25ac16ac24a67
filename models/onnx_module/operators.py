"""ONNX operators as differentiable functions of PyTorch, by name; versions 9 and newer of the default domain."""

from __future__ import annotations

import importlib

from netsurgeon.models.onnx_module.registry import OPERATORS, operator

for _name in ("elementwise", "integers", "layers", "resizing", "shapes"):
    importlib.import_module(f"netsurgeon.models.onnx_module.{_name}")

__all__ = ["OPERATORS", "operator"]
