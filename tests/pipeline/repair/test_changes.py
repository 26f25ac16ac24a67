"""What is done to inputs follows from what they are, and from what the user allows."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from masked_models import encoder, padded, sentences, unpadded
from onnx import TensorProto, helper

from netsurgeon.pipeline.data import InputSpec, Samples, open_samples
from netsurgeon.pipeline.model_files import input_specs
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.repair.changes import Changes, choose_changes
from netsurgeon.pipeline.runtime import Runtime

FLOAT = np.dtype(np.float32)
LENGTHS = {"ids": (1,), "attention_mask": (1,)}


def samples(*shape: int, dtype: Any = np.float32) -> Samples:
    data = np.arange(2 * int(np.prod(shape, dtype=int))).reshape(2, *shape).astype(dtype)
    return open_samples({"x": data}, [InputSpec("x", np.dtype(dtype), (None, *shape))])


def chosen(opened: Samples, augment: str, model: ir.Model | None = None, **options: Any) -> Changes:
    model = model or counting()  # asked for nothing where sequences are not cut
    return choose_changes(opened, Options(augment=augment, **options), model, Runtime())[0]


def left_out(opened: Samples, augment: str, model: ir.Model | None = None) -> dict[str, str]:
    return choose_changes(opened, Options(augment=augment), model or counting(), Runtime())[1]


def counting(is_fixed: bool = False) -> ir.Model:
    """The mean over as many frames (batch, frames, 2) as `x_lengths` (batch,) says, at most; or over exactly 6."""
    frames = 6 if is_fixed else "frames"
    nodes = [
        helper.make_node("Cast", ["x_lengths"], ["count"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["x"], ["sums"], keepdims=0),
        helper.make_node("Div", ["sums", "count"], ["y"]),
    ]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", frames, 2]),
        helper.make_tensor_value_info("x_lengths", TensorProto.INT64, ["batch"]),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch"])]
    nodes[1] = helper.make_node("ReduceSum", ["x", "axes"], ["sums"], keepdims=0)
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2])
    graph = helper.make_graph(nodes, "counting", inputs, outputs, [axes])
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def frames(model: ir.Model, counts: list[int]) -> Samples:
    """Sequences of 6 and 4 frames, with what is said to be their lengths."""
    rng = np.random.default_rng(0)
    feeds = [
        {"x": rng.standard_normal((1, length, 2)).astype(np.float32), "x_lengths": np.array([count])}
        for length, count in zip([6, 4], counts, strict=True)
    ]
    return open_samples(feeds, input_specs(model))


@pytest.mark.parametrize(
    ("shape", "dtype", "augment", "changes"),
    [
        ((3, 32, 32), np.float32, "auto", Changes(shifts={"x": 4}, flip=True)),
        ((3, 32, 32), np.float32, "shift", Changes(shifts={"x": 4})),
        ((3, 32, 32), np.float32, "crop,flip", Changes(shifts={"x": 0}, flip=True, crop=True)),
        ((3, 32, 32), np.float32, "noise,lengths", Changes()),
        ((3, 32, 32), np.float32, "none", Changes()),
        ((1, 28, 28), np.float32, "auto", Changes(shifts={"x": 3})),
        ((1, 28, 28), np.float32, "shift,flip", Changes(shifts={"x": 3}, flip=True)),
        ((224, 224, 3), np.float32, "auto", Changes(shifts={"x": 16}, channels_last=frozenset({"x"}), flip=True)),
        ((3, 32, 32), np.uint8, "auto", Changes(shifts={"x": 4}, flip=True)),
        ((32, 32, 3), np.uint8, "crop", Changes(shifts={"x": 0}, channels_last=frozenset({"x"}), crop=True)),
        ((3, 32, 32), np.int64, "auto", Changes()),
        ((12,), np.int64, "auto", Changes()),
        ((12,), np.float32, "shift,flip,crop,lengths", Changes()),
    ],
)
def test_what_is_done_suits_the_inputs(shape: tuple[int, ...], dtype: Any, augment: str, changes: Changes) -> None:
    assert chosen(samples(*shape, dtype=dtype), augment) == changes


def test_floats_that_are_no_pictures_get_noise() -> None:
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((64, 2)) * [1.0, 1000.0]).astype(np.float32)
    mask = (rng.random((64, 4)) < 0.5).astype(np.float32)
    specs = [InputSpec("x", FLOAT, (None, 2)), InputSpec("mask", FLOAT, (None, 4))]
    noises = chosen(open_samples({"x": x, "mask": mask}, specs), "auto").noises
    assert set(noises) == {"x"}
    np.testing.assert_allclose(noises["x"], 0.1 * x.std(axis=0), rtol=1e-4)


def test_noise_is_the_same_along_axes_whose_extents_vary() -> None:
    rng = np.random.default_rng(0)
    sequences = [(rng.standard_normal((1, length, 2)) * [1.0, 10.0]).astype(np.float32) for length in (3, 5, 8)]
    opened = open_samples([{"x": x} for x in sequences], [InputSpec("x", FLOAT, (None, None, 2))])
    noise = chosen(opened, "auto").noises["x"]
    assert noise.shape == (1, 2)
    np.testing.assert_allclose(noise[0], 0.1 * np.concatenate(sequences, axis=1).std(axis=(0, 1)), rtol=1e-4)


def test_sequences_with_a_mask_are_cut_where_that_is_allowed() -> None:
    model = encoder()
    opened = open_samples(unpadded(sentences(20)), input_specs(model))
    assert chosen(opened, "lengths", model) == Changes(lengths=LENGTHS)
    assert chosen(opened, "lengths", model, mask="none") == Changes()
    assert chosen(opened, "auto", model) == Changes()


def test_sequences_are_not_cut_where_a_part_might_be_excluded_or_lengths_are_fixed() -> None:
    model, rows = encoder(), sentences(20)
    assert chosen(open_samples(padded(rows), input_specs(model)), "lengths", model) == Changes()
    model = encoder(length=12)
    opened = open_samples(padded([np.arange(12)] * 4, 12), input_specs(model))
    assert chosen(opened, "lengths", model) == Changes()


@pytest.mark.parametrize(
    ("counts", "changes"),
    [([6, 4], Changes(lengths={"x": (1,)}, counts=("x_lengths",))), ([6, 3], Changes())],
)
def test_sequences_with_their_lengths_are_cut_where_these_are_all_there_is(counts: list[int], changes: Changes) -> None:
    assert chosen(frames(counting(), counts), "lengths", counting()) == changes


def test_what_the_model_does_not_take_shorter_is_not_cut() -> None:
    opened = frames(counting(), [6, 4])
    assert chosen(opened, "lengths", counting()).lengths
    model = counting()
    node = next(node for node in model.graph if node.op_type == "ReduceSum")
    shape = ir.tensor(np.array([-1, 4, 2]), name="shape")
    model.graph.initializers.add(ir.Value(name="shape", const_value=shape))
    reshaped = ir.node("Reshape", [node.inputs[0], model.graph.initializers["shape"]])  # 4 or 6 frames, never 3
    node.replace_input_with(0, reshaped.outputs[0])
    model.graph.insert_before(node, reshaped)
    assert chosen(opened, "lengths", model) == Changes()


def test_a_mask_of_truth_values_is_looked_at() -> None:
    model, rows = encoder(), sentences(20)
    model.graph.inputs[1].dtype = ir.DataType.BOOL
    feeds = unpadded(rows)
    feeds["attention_mask"] = [mask.astype(bool) for mask in feeds["attention_mask"]]
    assert chosen(open_samples(feeds, input_specs(model)), "lengths", model) == Changes(lengths=LENGTHS)
    feeds["attention_mask"][-1][-1] = False
    opened = open_samples(feeds, input_specs(model))
    assert set(left_out(opened, "lengths", model)) == {"lengths"}


def test_a_length_behind_the_first_feeds_may_keep_sequences_whole() -> None:
    model, rng = counting(), np.random.default_rng(0)
    feeds = [
        {"x": rng.standard_normal((1, 6, 2)).astype(np.float32), "x_lengths": np.array([5 if number == 39 else 6])}
        for number in range(40)
    ]
    opened = open_samples(feeds, input_specs(model), batch_size=1)
    assert "'x_lengths' is called like a length" in left_out(opened, "lengths", model)["lengths"]


def with_integers(name: str, numbers: list[int]) -> tuple[Samples, ir.Model]:
    """Sentences of 12 tokens, and an integer beside each."""
    model = encoder()
    shape, integers = ir.Shape(["batch"]), ir.TensorType(ir.DataType.INT64)
    model.graph.inputs.append(ir.Value(name=name, shape=shape, type=integers))
    rows = [np.arange(12)] * len(numbers)
    data = padded(rows, 12) | {name: np.array(numbers)}
    return open_samples(data, input_specs(model)), model


@pytest.mark.parametrize(
    ("name", "numbers", "words"),
    [
        ("text_lengths", [12, 3, 5, 7], "'text_lengths' is called like a length"),
        ("answer", [0, 3, 5, 7], "'answer' may say places in a sequence"),
        ("answer", [-1, 3, 5, 7], "'answer' may say places in a sequence"),
        ("speaker", [100, 3, 5, 7], ""),
        ("speaker", [3, 3, 3, 3], ""),
    ],
)
def test_integers_beside_sequences_may_keep_them_whole(name: str, numbers: list[int], words: str) -> None:
    opened, model = with_integers(name, numbers)
    assert words in left_out(opened, "lengths", model).get("lengths", "")
    assert bool(chosen(opened, "lengths", model).lengths) == (not words)


def test_each_length_near_half_is_tried_and_samples_stay_apart() -> None:
    rng = np.random.default_rng(0)
    refused: list[tuple[list[int], str]] = [
        ([0, -1, 2, 2], "does not run on 3 of 4"),
        ([-1, 4, 2], "not of as many samples"),
    ]
    for sides, words in refused:
        model = counting()
        node = next(node for node in model.graph if node.op_type == "ReduceSum")
        model.graph.initializers.add(ir.Value(name="pairs", const_value=ir.tensor(np.array(sides), name="pairs")))
        reshaped = ir.node("Reshape", [node.inputs[0], model.graph.initializers["pairs"]])
        node.replace_input_with(0, reshaped.outputs[0])
        model.graph.insert_before(node, reshaped)
        divided = next(node for node in model.graph if node.op_type == "Div")
        divided.replace_input_with(1, divided.inputs[0])
        feeds = [
            {"x": rng.standard_normal((2, 4, 2)).astype(np.float32), "x_lengths": np.array([4, 4])} for _ in range(2)
        ]
        opened = open_samples(feeds, input_specs(model))
        assert words in left_out(opened, "lengths", model)["lengths"]


def test_masks_of_floats_are_no_pictures_and_get_no_noise() -> None:
    rng = np.random.default_rng(0)
    left_out_places = rng.random((4, 1, 8, 8)) < 0.5
    masks = {
        "kept": np.where(left_out_places, 0.0, 1.0),
        "large": np.where(left_out_places, -1e9, 0.0),
    }
    data = {name: mask.astype(np.float32) for name, mask in masks.items()} | {"x": np.ones((4, 3), np.int64)}
    specs = [InputSpec(name, array.dtype, (None, *array.shape[1:])) for name, array in data.items()]
    kinds = "shift,flip,crop,noise"
    assert chosen(open_samples(data, specs), kinds) == Changes()
    assert set(left_out(open_samples(data, specs), kinds)) == {"shift", "flip", "crop", "noise"}
    alone = open_samples({"kept": data["kept"]}, specs[:1])
    assert chosen(alone, "shift").shifts == {"kept": 1}, "pictures may be black and white"


def test_an_axis_varies_that_does_so_behind_the_first_feeds() -> None:
    rng = np.random.default_rng(0)
    feeds = [{"x": rng.standard_normal((1, 3 + (number == 39), 2)).astype(np.float32)} for number in range(40)]
    opened = open_samples(feeds, [InputSpec("x", FLOAT, (None, None, 2))], batch_size=1)
    assert chosen(opened, "noise").noises["x"].shape == (1, 2)


def test_what_the_user_names_and_is_not_done_has_its_reason() -> None:
    text = samples(12, dtype=np.int64)
    assert left_out(text, "crop,noise") == {
        "crop": "no input holds pictures of floats or bytes",
        "noise": "no input holds floats that are neither pictures nor masks",
    }
    assert left_out(text, "auto") == left_out(text, "none") == left_out(samples(3, 32, 32), "crop,shift") == {}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (Changes(), "none"),
        (Changes(shifts={"x": 4}, flip=True), "pictures moved by up to 4 pixels, half of the pictures mirrored"),
        (Changes(shifts={"x": 0}, crop=True), "pictures cut to a part and enlarged"),
        (Changes(noises={"x": np.ones(2, np.float32)}), "noise of 0.1 standard deviations"),
        (Changes(lengths={"x": (1,)}), "sequences cut short"),
    ],
)
def test_what_is_done_is_said(changes: Changes, words: str) -> None:
    assert str(changes) == words
