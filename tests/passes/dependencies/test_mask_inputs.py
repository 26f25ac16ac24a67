"""Inputs that mask attention are known by what they do."""

import onnx_ir as ir
import pytest
from masked_models import encoder

from netsurgeon.passes.dependencies import attention_masks

OPERATORS = '"" : 23, "com.microsoft" : 1'
HEADER = "(int64[N, S] ids, int64[N, S] which, float[1, S, S] bias, float[N, S, 8] x) => (float[N, S, 8] y)"
SCORES = "k = Transpose<perm = [0, 2, 1]>(x) s = MatMul(x, k)"
ENDS = "w = Softmax(m) y = MatMul(w, x)"
PENALTY = "c = Cast<to = 1>(which) u = Unsqueeze(c, axes) n = Sub(one, u) p = Mul(n, large)"


def graph_of(nodes: str) -> ir.Graph:
    text = f"<ir_version: 10, opset_import: [{OPERATORS}]> g {HEADER} "
    constants = (
        "<float one = {1}, float large = {-10000}, int64[1] axes = {1}, float[2, 8] table = {" + "1," * 15 + "1}>"
    )
    return ir.from_onnx_text(f"{text}{constants} {{ {nodes} }}").graph


@pytest.mark.parametrize(
    "nodes",
    [
        f"{SCORES} {PENALTY} m = Add(s, p) {ENDS}",
        f"{SCORES} c = Cast<to = 9>(which) u = Unsqueeze(c, axes) m = Where(u, s, large) {ENDS}",
        f"{SCORES} {PENALTY} both = Min(p, bias) m = Add(s, both) {ENDS}",
        "c = Cast<to = 9>(which) u = Unsqueeze(c, axes) y = Attention<q_num_heads = 2, kv_num_heads = 2>(x, x, x, u)",
        "c = Cast<to = 6>(which) y = com.microsoft.MultiHeadAttention<num_heads = 2>(x, x, x, , c)",
    ],
    ids=["added", "where", "with another mask", "Attention", "MultiHeadAttention"],
)
def test_a_mask_is_known_by_what_it_does_to_scores(nodes: str) -> None:
    assert attention_masks(graph_of(nodes)) == ("which",)


@pytest.mark.parametrize(
    "nodes",
    [
        f"e = Gather(table, which) z = Add(x, e) k = Transpose<perm = [0, 2, 1]>(z) m = MatMul(z, k) {ENDS}",
        f"{SCORES} {PENALTY} m = Identity(s) w = Softmax(m) t = MatMul(w, x) y = Mul(t, one)",
        "c = Cast<to = 1>(which) w = Softmax(c) u = Unsqueeze(w, axes) y = MatMul(u, x)",
    ],
    ids=["segments that are looked up", "nobody reads it", "values that are normalised"],
)
def test_what_only_reaches_scores_through_rows_or_products_is_none(nodes: str) -> None:
    assert attention_masks(graph_of(nodes)) == ()


def test_a_real_encoder_has_one() -> None:
    assert attention_masks(encoder(name="input.7").graph) == ("input.7",)
