"""Models to be timed, read from the text of their graph."""

import onnx_ir as ir

HEAD = '<ir_version: 8, opset_import: ["" : 17]>'


def graph(body: str, inputs: str = "float[N,4] x", outputs: str = "float[N,4] y") -> ir.Model:
    return ir.from_onnx_text(f"{HEAD} graph ({inputs}) => ({outputs}) {{ {body} }}")
