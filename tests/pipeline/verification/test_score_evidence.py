"""Class scores of real networks are told from landmarks, boxes and angles by how they vary, and by names."""

import io
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import PIL.Image
import pytest
from plain_models import DIGITS

from netsurgeon.pipeline.runtime.session import Runtime
from netsurgeon.pipeline.verification.score_evidence import (
    FEWEST_INPUTS,
    WIDE,
    looks_like_embedding,
    score_figures,
    why_no_scores,
)

Array = npt.NDArray[np.float64]
SHARED = Path("/work/shared")
RNG = np.random.default_rng(0)
CORNERS = np.sort(RNG.uniform(0.0, 1.0, (200, 2, 2)), axis=1)  # (200, low and high, x and y)
BOXES = CORNERS.reshape(200, 4)
CENTRED_BOXES = np.concatenate([CORNERS.mean(axis=1), CORNERS[:, 1] - CORNERS[:, 0]], axis=1)
FACE = RNG.uniform(-0.5, 0.5, (98, 2))
LANDMARKS = (CORNERS.mean(axis=1)[:, None] + RNG.uniform(0.8, 1.2, (200, 1, 1)) * FACE).reshape(200, 196)
ANGLES = RNG.normal(0.0, (30.0, 15.0, 5.0), (200, 3))


@pytest.fixture(scope="module")
def digits() -> tuple[Array, npt.NDArray[np.int64]]:
    """Logits of the digits network, and the classes."""
    with np.load(DIGITS / "test.npz") as archive:
        (logits,) = Runtime().session(ir.load(DIGITS / "digits.onnx")).run({"image": archive["image"]}).values()
        return logits.astype(np.float64), archive["labels"]


def test_the_largest_logit_of_a_classifier_is_its_answer(digits: tuple[Array, npt.NDArray[np.int64]]) -> None:
    logits, labels = digits
    assert why_no_scores(logits, "y") is None
    assert all(why_no_scores(logits[labels == digit], "y") is None for digit in range(10))  # inputs of one class only


@pytest.mark.parametrize("values", [LANDMARKS, BOXES, CENTRED_BOXES, 640.0 * BOXES, ANGLES, CENTRED_BOXES[:, :2]])
def test_the_largest_coordinate_or_angle_is_no_answer(values: Array) -> None:
    reason = why_no_scores(values, "y")
    assert reason is not None
    assert "do not compete" in reason


def test_normalised_boxes_are_no_scores_though_their_order_varies() -> None:
    values = (CENTRED_BOXES - CENTRED_BOXES.mean(axis=0)) / CENTRED_BOXES.std(axis=0)
    assert len(set(values.argmax(axis=1))) == 4
    assert why_no_scores(values, "y") is not None


def test_in_doubt_the_largest_number_is_an_answer() -> None:
    independent = np.random.default_rng(1).standard_normal((200, 10))  # as scores of classes trained one by one may be
    assert why_no_scores(independent, "y") is None
    assert why_no_scores(np.tile(LANDMARKS[:1], (200, 1)), "y") is None  # the same for all inputs
    assert why_no_scores(np.full((200, 4), np.inf), "y") is None


@pytest.mark.parametrize("name", ["logits", "class_probs", "Scores:0", "clsConf_8", "output_labels"])
def test_a_name_that_speaks_of_scores_outweighs_the_numbers(name: str) -> None:
    assert why_no_scores(BOXES, name) is None


@pytest.mark.parametrize("name", ["bboxes", "faceLandmarks", "loc:0", "embedding_1"])
def test_with_a_name_that_speaks_of_something_else_one_sign_is_enough(name: str) -> None:
    independent = np.random.default_rng(1).standard_normal((200, 10))
    assert why_no_scores(independent, name) is not None
    ordered = np.linspace(0.0, 1.0, 10) + 0.1 * (independent - independent.mean(axis=1, keepdims=True))
    assert why_no_scores(ordered, "y") is None
    assert "speaks of" in (why_no_scores(ordered, name) or "")
    balanced = independent - independent.mean(axis=1, keepdims=True)
    assert why_no_scores(balanced, name) is None


def test_few_inputs_leave_only_the_name() -> None:
    few = BOXES[: FEWEST_INPUTS - 1]
    assert why_no_scores(few, "y") is None
    assert why_no_scores(BOXES[:FEWEST_INPUTS], "y") is not None
    assert why_no_scores(few, "boxes") == "its name speaks of 'box'"


def test_the_figures_of_numbers_that_are_known() -> None:
    rng = np.random.default_rng(2)
    independent = rng.standard_normal((4000, 6))
    together = np.repeat(rng.standard_normal((4000, 1)), 6, axis=1) + np.arange(6)
    for values, freedom, order in (
        (independent, 1.0, 0.0),
        (independent - independent.mean(axis=1, keepdims=True), 0.0, 0.0),
        (together, 6.0, 1.0),
    ):
        figures = score_figures(values)
        assert figures is not None
        assert figures.freedom == pytest.approx(freedom, abs=0.05)
        assert figures.order == pytest.approx(order, abs=0.01)
    one_stands_out = score_figures(np.eye(6)[rng.integers(0, 6, 100)])
    assert one_stands_out is not None
    assert one_stands_out.skewness == pytest.approx(4.0 / np.sqrt(5.0))  # of one 1 and five 0


def shared_pictures(data: str, count: int, size: int) -> npt.NDArray[np.float32]:
    with zipfile.ZipFile(SHARED / "data" / data / "test.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpg")]
        drawn = [names[at] for at in np.random.default_rng(0).permutation(len(names))[:count]]
        opened = [PIL.Image.open(io.BytesIO(archive.read(name))).convert("RGB").resize((size, size)) for name in drawn]
    return np.stack([np.asarray(picture, np.float32) for picture in opened]).transpose(0, 3, 1, 2) / 255.0


@pytest.mark.skipif(not SHARED.exists(), reason="the material is not here")
@pytest.mark.parametrize(
    ("model", "data", "is_scores"),
    [
        ("models/resnet20_cifar10", "cifar10", True),
        ("models/lenet5_dense", "mnist", True),
        ("models/lenet300100_dns", "mnist", True),
        ("zoo/pfld_landmarks", "imagenet", False),
    ],
)
def test_real_classifiers_keep_their_answers_and_real_landmarks_have_none(
    model: str, data: str, is_scores: bool
) -> None:
    network = ir.load(SHARED / f"{model}.onnx")
    if data == "mnist":
        with np.load(SHARED / "data/mnist/test.npz") as archive:
            pictures = archive["x"][:64, None].astype(np.float32) / 256.0
    else:
        pictures = shared_pictures(data, 64, 32 if data == "cifar10" else 112)
        pictures = (pictures - 0.45) / 0.226 if is_scores else pictures
    name = network.graph.inputs[0].name or ""
    outputs = Runtime().session(network).run({name: np.ascontiguousarray(pictures)})
    (values,) = [value for value in outputs.values() if value.ndim == 2]
    assert (why_no_scores(values, "y") is None) == is_scores


def test_the_numbers_of_an_embedding_are_no_scores_and_one_class_of_many_stands_out() -> None:
    rng = np.random.default_rng(5)
    numbers = rng.standard_normal((200, 12)) @ rng.standard_normal((12, 64))
    assert why_no_scores(numbers, "y") == "none of them stands out as the score of the right class does"
    assert why_no_scores(numbers[:, : WIDE - 1], "y") is None, "of fewer it cannot be told"
    assert why_no_scores(numbers, "logits") is None
    right = rng.integers(0, 64, 200)
    scores = rng.standard_normal((200, 64)) + 6.0 * np.eye(64)[right]
    assert why_no_scores(scores, "y") is None


def test_an_embedding_is_known_by_its_name_its_length_or_its_numbers() -> None:
    rng = np.random.default_rng(6)
    numbers = rng.standard_normal((200, 64))
    unit = np.abs(numbers) / np.linalg.norm(numbers, axis=1, keepdims=True)
    ordered = np.sort(numbers, axis=1)
    signal = np.cumsum(numbers, axis=1)
    assert looks_like_embedding(numbers, "y")
    assert looks_like_embedding(unit, "y")
    assert looks_like_embedding(np.exp(numbers), "image_features")
    assert looks_like_embedding(numbers[:8], "pooler_output")
    assert not looks_like_embedding(np.exp(numbers), "y"), "one stands out"
    assert not looks_like_embedding(signal, "y")
    assert not looks_like_embedding(ordered, "y")
    assert not looks_like_embedding(numbers[:, :8], "embedding")
    assert not looks_like_embedding(numbers[:8], "y")
