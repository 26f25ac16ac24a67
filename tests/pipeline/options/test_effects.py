"""Options that compress would not heed are refused, and no others."""

from typing import Any

import pytest

import netsurgeon
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.options.effects import check_effects


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"quantize": "int8", "values": "codebook"}, "quantize int8 makes integers .* values codebook .*leave one"),
        ({"quantize": "w4", "values": "float16"}, "quantize w4 makes integers .* values float16 .*leave one"),
        ({"sparsity": 0.5, "ranges": "percentile"}, "ranges percentile .* none are measured here: leave it out"),
        ({"quantize": "w8", "ranges": "min-max"}, "ranges min-max .*give it with quantize int8 or w4a8"),
        ({"quantize": "dynamic", "ranges": "min-max"}, "ranges min-max .*none are measured here.*quantize int8"),
        ({"quantize": "none", "max_drop": 0.01, "ranges": "min-max"}, "ranges min-max .*leave it out"),
        ({"values": "float16", "max_drop": 0.01, "ranges": "min-max"}, "ranges min-max .*leave it out"),
    ],
)
def test_what_would_have_no_effect_is_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        check_effects(Options(**options))
    with pytest.raises(InputError, match=problem):
        netsurgeon.compress("no model.onnx", {}, **options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"quantize": "int8", "values": "float32"},
        {"quantize": "none", "values": "codebook"},
        {"quantize": "w4a8", "ranges": "percentile"},
        {"max_drop": 0.01, "ranges": "percentile"},
        {"sparsity": 0.5, "ranges": "error"},
    ],
)
def test_what_has_an_effect_is_taken(options: dict[str, Any]) -> None:
    check_effects(Options(**options))
