"""ONNX operators as differentiable functions of PyTorch, by name; versions 9 and newer of the default domain."""

from __future__ import annotations

import importlib

from netsurgeon.models._operators import OPERATORS, operator

for _name in ("elementwise", "layers", "shapes"):
    importlib.import_module(f"netsurgeon.models._operators_{_name}")

__all__ = ["OPERATORS", "operator"]
