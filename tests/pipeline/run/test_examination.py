"""How many inputs the dense model is looked at on before long work."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnx_ir as ir
import pytest

from netsurgeon.pipeline.data import InputSpec, open_samples
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.progress import no_ticks
from netsurgeon.pipeline.run import examine_answers
from netsurgeon.pipeline.runtime import Runtime, Session
from netsurgeon.pipeline.verification import Inputs, Judging

IDENTITY = ir.from_onnx_text(
    '<ir_version: 8, opset_import: ["" : 17]> network (float[N, 4] x) => (float[N, 4] y) { y = Identity(x) }'
)


class Counting(Session):
    """A session that counts the inputs that it is run on."""

    def __init__(self) -> None:
        super().__init__(Runtime().session(IDENTITY)._inference)
        self.count = 0

    def run(self, feed: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        self.count += len(feed["x"])
        return super().run(feed, outputs)


@pytest.mark.parametrize(
    ("options", "examined"),
    [({"effort": "fast"}, 1500), ({}, 1024), ({"sparsity": 0.5}, 1024), ({"sparsity": 0.5, "effort": "fast"}, 1024)],
)
def test_all_that_guide_a_first_look_are_examined_which_needs_the_answers_anyway(
    options: dict[str, Any], examined: int
) -> None:
    x = np.random.default_rng(0).standard_normal((1500, 4)).astype(np.float32)
    samples, dense = open_samples({"x": x}, (InputSpec("x", np.dtype(np.float32), (None, 4)),)), Counting()
    inputs = cast(Inputs, SimpleNamespace(guide=samples, held=samples, all=(samples,)))
    assert examine_answers(inputs, dense, Judging("agreement"), Options(**options), no_ticks) == ()
    assert dense.count == examined
