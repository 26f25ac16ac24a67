"""What `inspect --quantization` prints: what each layer becomes, the model's times, and what would be chosen."""

import dataclasses

import pytest
from printed_text import printed

from netsurgeon.pipeline.inspect_quantization import LayerQuantization, QuantizationInspection
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.profiling import Timed
from netsurgeon.pipeline.terminal import print_quantization

LAYER = LayerQuantization(
    name="[red]conv[/]",
    operator="Conv",
    low=-0.5,
    high=2.05,
    zero_point=50,
    errors=(0.00012, 0.034),
    floats_ms=0.25,
    integers_ms=0.125,
    kernel="QLinearConv",
    reason=None,
)
SLOW = dataclasses.replace(LAYER, name="slow", reason="it is faster on floats: 0.1 ms on floats, 0.2 ms on integers")
UNABLE = LayerQuantization(
    name="last",
    operator="MatMul",
    low=None,
    high=None,
    zero_point=None,
    errors=(),
    floats_ms=None,
    integers_ms=None,
    kernel=None,
    reason="its weight stands in front of its input",
)
INSPECTION = QuantizationInspection(
    name="model.onnx",
    samples=200,
    bits=(7, 4),
    layers=(LAYER, SLOW, UNABLE),
    timed=Timed(dense=3.5, model=1.4, speedup=2.5, low=2.4, high=2.6),
    untimed=None,
    gains=True,
    notes=(Message("opset raised from 11 to 13", "opset-raised"),),
)


def test_a_layer_has_its_range_errors_times_and_kernel() -> None:
    text = printed(print_quantization, INSPECTION)
    (row,) = (line.split() for line in text.splitlines() if LAYER.name in line)
    assert " ".join(row) == f"{LAYER.name} Conv -0.5 to 2.05 50 0.00012 0.034 0.25 0.125 QLinearConv"
    assert "slow stays on floats: it is faster on floats: 0.1 ms on floats, 0.2 ms on integers" in text
    assert "last stays on floats: its weight stands in front of its input" in text
    assert "2.50 times as fast as the dense model (3.5 ms → 1.4 ms); --quantize would put 1 of 3 layers on" in text
    assert "note: opset raised from 11 to 13" in text
    runs_as = {line.split()[0]: line.split()[-1] for line in text.splitlines() if line.startswith((" slow ", " last "))}
    assert runs_as == {"slow": "floats", "last": "floats"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"gains": False}, "(3.5 ms → 1.4 ms); --quantize would leave it on floats"),
        (
            {"timed": None, "gains": None, "samples": 0, "untimed": "the input 'x' holds INT64"},
            "not timed: the input 'x' holds INT64: give inputs with --data",
        ),
        ({"timed": None, "gains": None, "samples": 0, "untimed": ""}, "2 of 3 layers can run on integers"),
        ({"samples": 0}, "ranges and errors need inputs: give them with --data"),
    ],
)
def test_what_would_be_chosen_or_why_that_is_not_told(changes: dict[str, object], sentence: str) -> None:
    assert sentence in printed(print_quantization, dataclasses.replace(INSPECTION, **changes))  # type: ignore[arg-type]


def test_every_line_fits_a_terminal_of_80_columns() -> None:
    kernels = dataclasses.replace(LAYER, name="/encoder/layer.0/attention/query/MatMul", kernel="MatMulIntegerToFloat")
    text = printed(print_quantization, dataclasses.replace(INSPECTION, layers=(*INSPECTION.layers, kernels)), width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert "0.00012" in text


def test_sparse_kernels_have_a_column_where_they_were_timed() -> None:
    sparse = dataclasses.replace(LAYER, sparse_ms=0.0625)
    inspection = dataclasses.replace(INSPECTION, layers=(sparse, UNABLE))
    assert "0.0625" in printed(print_quantization, inspection)
    titles = inspection.overview().titles
    assert titles[-2:] == ("sparse, ms", "runs as")
    assert all(len(row) == len(titles) for row in inspection.overview().rows)
    assert "sparse, ms" not in INSPECTION.overview().titles
