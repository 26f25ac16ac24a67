"""What a model is fed while it is timed: data, or made-up inputs where their values cannot matter."""

import numpy as np
import onnx_ir as ir
import pytest
from timed_models import graph

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.profiling.timing_inputs import timing_feeds, value_dependence


def test_a_size_of_minus_one_is_an_open_axis() -> None:
    model = graph("y = Relu(x)")
    model.graph.inputs[0].shape = ir.Shape([-1, 4])
    assert timing_feeds(model, None, (3,), {}, 0)[0][0].feed["x"].shape == (3, 4)


def test_the_users_data_is_fed() -> None:
    rows = np.arange(20.0, dtype=np.float32).reshape(5, 4)
    (fed,), notes = timing_feeds(graph("y = Relu(x)"), {"x": rows}, (3,), {}, 0)
    np.testing.assert_array_equal(fed.feed["x"], rows[:3])
    assert (fed.batch, fed.source, notes) == (3, "the first of the data", ())
    with pytest.raises(InputError, match="the data holds 5 samples, batch 8 needs as many"):
        timing_feeds(graph("y = Relu(x)"), {"x": rows}, (8,), {}, 0)


def test_a_fixed_batch_is_respected() -> None:
    fixed = graph("y = Relu(x)", "float[2,4] x", "float[2,4] y")
    (fed,), notes = timing_feeds(fixed, None, (1, 2, 8), {}, 0)
    assert fed.batch == 2
    assert [note.code for note in notes] == ["batch-skipped"] * 2
    assert [note.data for note in notes] == [{"batch": 1, "fixed": 2}, {"batch": 8, "fixed": 2}]
    assert timing_feeds(fixed, None, None, {}, 0)[0][0].batch == 2
    with pytest.raises(InputError, match="batch 1: the model's batch is fixed to 2: leave --batch out"):
        timing_feeds(fixed, None, (1,), {}, 0)


def test_sizes_of_open_axes_must_be_given_and_fit() -> None:
    model = graph("y = Relu(x)", "float[N,3,H] x", "float[N,3,H] y")
    with pytest.raises(InputError, match=r"leaves more than its batch open: .*--shape x=1x3x224"):
        timing_feeds(model, "random", None, {}, 0)
    (fed,), _ = timing_feeds(model, None, None, {"x": (2, 3, 7)}, 0)
    assert fed.feed["x"].shape == (2, 3, 7)
    for shape in ((2, 4, 7), (2, 3), (2, 3, 0)):
        with pytest.raises(InputError, match=r"--shape gives .* the model takes any x 3 x any"):
            timing_feeds(model, None, None, {"x": shape}, 0)
    with pytest.raises(InputError, match="--shape names the input 'z', the model has 'x'"):
        timing_feeds(model, None, None, {"z": (1,)}, 0)
    with pytest.raises(InputError, match="leave --shape out"):
        timing_feeds(model, {"x": np.ones((1, 3, 3), np.float32)}, None, {"x": (1, 3, 3)}, 0)


DEPENDENT = {
    "NonZero": ("i = NonZero(x) y = Cast<to = 1>(i)", "float[N,4] x"),
    "Reshape by computed sizes": ("s = Cast<to = 7>(x) h = Reshape(x, s) y = Relu(h)", "float[4] x"),
    "If": (
        "c = Cast<to = 9>(x) "
        "y = If (c) <then_branch = a () => (float[N] t) {t = Relu(x)}, "
        "else_branch = b () => (float[N] e) {e = Abs(x)}>",
        "float[1] x",
    ),
    "Foreign": ("y = Relu(x)", "float[N,4] x"),
    "int64": ("h = Cast<to = 1>(x) y = Relu(h)", "int64[N,4] x"),
}
INDEPENDENT = {
    "plain": "y = Relu(x)",
    "Reshape by shapes": "s = Shape(x) h = Reshape(x, s) y = Relu(h)",
    "Loop of a fixed length": """n = Constant<value_int = 5>() go = Constant<value = bool {1}>()
        y = Loop (n, go, x) <body = turn (int64 i, bool c, float[N,4] v) => (bool d, float[N,4] w) {
            d = Identity(c) w = Sin(v) }>""",
}


@pytest.mark.parametrize("name", DEPENDENT)
def test_nothing_is_made_up_where_time_may_depend_on_it(name: str) -> None:
    body, inputs = DEPENDENT[name]
    model = graph(body, inputs)
    if name == "Foreign":
        model.graph[0].domain = "other"
    assert value_dependence(model) is not None
    with pytest.raises(InputError, match="give inputs with --data, or --data random"):
        timing_feeds(model, None, None, {}, 0)
    assert timing_feeds(model, "random", None, {}, 0)[0][0].source == "random numbers"


@pytest.mark.parametrize("name", INDEPENDENT)
def test_made_up_inputs_serve_where_time_cannot_depend_on_them(name: str) -> None:
    model = graph(INDEPENDENT[name])
    assert value_dependence(model) is None
    assert timing_feeds(model, None, (2,), {}, 0)[0][0].feed["x"].shape == (2, 4)


def test_what_a_body_captures_counts() -> None:
    model = graph(
        """go = Constant<value = bool {1}>()
        h = If (go) <then_branch = a () => (float[N,4] t) {t = Relu(x)},
                     else_branch = b () => (float[N,4] e) {e = Abs(x)}>
        i = NonZero(h) y = Cast<to = 1>(i)"""
    )
    assert "NonZero" in str(value_dependence(model))
