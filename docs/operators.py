"""Write docs/operators.md: what can be done with every operator, read from the registries of the code."""

from __future__ import annotations

import textwrap
from pathlib import Path

from netsurgeon.models.onnx_module.operators import OPERATORS
from netsurgeon.passes.axes import DECLARATIONS
from netsurgeon.passes.dependencies import analyse  # noqa: F401  which registers the declarations
from netsurgeon.passes.graph import TRAITS, operator_key
from netsurgeon.passes.layers import LAYER_OPERATORS
from netsurgeon.passes.rewriting import FUSED_OPERATORS
from netsurgeon.pipeline.error_bound.lipschitz.rules import RULES

PAGE = Path(__file__).with_suffix(".md")
INTRODUCTION = f"""# Operators

This page shows what netsurgeon can do with each operator of your model. With an operator that is not listed it can do
nothing. `make operators` writes this page from the code, and a test fails when it is stale.

- **Trim**: its axes can be followed, so neurons and channels before it and after it can be removed.
- **Prune**: its weights can become zeros, corrected in closed form.
- **Quantize**: what it does with activations that are 8-bit integers ([quantization.md](quantization.md)). A *layer*
  multiplies them by its weights. Others *compute* with them, *carry* them on unchanged, *join* several under one
  scale, or *clip* them, which the range of the integers then does.
- **Error bound**: there is a constant that limits how much of its inputs' error it passes on.
- **Train**: a model with it can be trained as a PyTorch module (`retrain`, `--repair`).

A yes is for the operator in general; single nodes can still be refused, for a reason that the report names. A model
that contains an operator without any yes can be compressed all the same: only what depends on that operator stays as
it is.

Operators that ONNX Runtime's optimiser has fused around weights are taken apart first, and their parts count; the
report names the attribute or input that keeps one from it, such as `do_rotary`. Of
com.microsoft these are
{textwrap.fill(", ".join(FUSED_OPERATORS), 120)}.

| Operator | Trim | Prune | Quantize | Error bound | Train |
|---|---|---|---|---|---|
"""
QUANTIZE = 3
"""Its column."""
ROLES = {"weighs": "layer", "computes": "computes", "carries": "carries", "joins": "joins", "clips": "clips"}
"""What the page calls an operator's `integer_role`."""


def operator_page() -> str:
    """The page, whole: standard operators first, those of other domains last."""
    roles = {operator_key(domain, name): traits.integer_role for (domain, name, _), traits in TRAITS.items()}
    quantizable = {name for name, role in roles.items() if role}
    shape_only = {operator_key(domain, name) for (domain, name, _), traits in TRAITS.items() if traits.reads_shape_only}
    columns = (set(DECLARATIONS), set(LAYER_OPERATORS), quantizable, {*RULES, *shape_only}, set(OPERATORS))
    names = sorted(set().union(*columns), key=lambda name: ("." in name, name))
    rows = [[name, *("yes" if name in column else "" for column in columns)] for name in names]
    for row in rows:
        row[QUANTIZE] = ROLES.get(roles.get(row[0]) or "", "")
    return INTRODUCTION + "".join(f"| {' | '.join(row)} |\n" for row in rows)


if __name__ == "__main__":
    PAGE.write_text(operator_page(), "utf-8")
