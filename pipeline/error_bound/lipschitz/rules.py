"""How much of its operands' error an operator lets through: one rule an operator, keyed by operator.

A key is the operator's type, behind its domain and a dot unless it is a standard one.

The errors are root mean squares over whole inputs, so for constants K that hold on whole tensors

    e(out) ≤ Σ_i K_i e(in_i)        (or its root of the sum of squares, where the operands' errors are orthogonal)

Every rule returns that sum for one node, or raises `NoConstantError`: a constant is proven or there is none. Constants
describe exact arithmetic; what floating point rounds away comes on top. An operand that is broadcast counts once a
copy: K contains √copies.
"""

from __future__ import annotations

from netsurgeon.passes.graph import operator_key
from netsurgeon.pipeline.error_bound.lipschitz import attention, combine, copies, linear, pool, unary
from netsurgeon.pipeline.error_bound.lipschitz.step import NoConstantError, Rule, Step

_FAMILIES = (
    unary.RULES,
    combine.RULES,
    linear.RULES,
    pool.RULES,
    copies.RULES,
    attention.RULES,
)
RULES: dict[str, Rule] = {operator: rule for family in _FAMILIES for operator, rule in family.items()}


def error_after(step: Step) -> float:
    """Bound on the error of the node's first output (of every output, for Split).

    Raises:
        NoConstantError: the operator has no constant for these operands.
    """
    rule = RULES.get(operator_key(step.node.domain, step.node.op_type))
    if rule is None:
        raise NoConstantError("no Lipschitz constant is known for it")
    return rule(step)
