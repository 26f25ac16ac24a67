from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest

DIGITS = Path(__file__).parent.parent / "models" / "digits"


def load(name: str) -> dict[str, npt.NDArray[np.generic]]:
    with np.load(DIGITS / name, allow_pickle=False) as archive:
        return dict(archive)


@pytest.fixture(scope="module")
def session() -> ort.InferenceSession:
    return ort.InferenceSession(DIGITS / "digits.onnx", providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(("name", "count"), [("calibration.npz", 300), ("test.npz", 450)])
def test_arrays_are_pictures_and_their_classes(name: str, count: int) -> None:
    arrays = load(name)
    assert set(arrays) == {"image", "labels"}
    assert arrays["image"].shape == (count, 1, 8, 8)
    assert arrays["image"].dtype == np.float32
    assert arrays["image"].min() == 0.0
    assert arrays["image"].max() == 1.0
    assert arrays["labels"].dtype == np.int64
    assert set(arrays["labels"].tolist()) == set(range(10))


def test_calibration_and_test_share_no_picture() -> None:
    calibration = {picture.tobytes() for picture in load("calibration.npz")["image"]}
    assert calibration.isdisjoint(picture.tobytes() for picture in load("test.npz")["image"])


def test_the_network_reads_the_test_pictures(session: ort.InferenceSession) -> None:
    arrays = load("test.npz")
    (logits,) = session.run(["logits"], {"image": arrays["image"]})
    assert logits.shape == (450, 10)
    assert np.mean(logits.argmax(axis=1) == arrays["labels"]) >= 0.98


def test_the_network_fails_on_pictures_of_nothing(session: ort.InferenceSession) -> None:
    arrays = load("test.npz")
    (logits,) = session.run(["logits"], {"image": np.zeros_like(arrays["image"])})
    assert np.mean(logits.argmax(axis=1) == arrays["labels"]) < 0.2


def test_the_batch_is_free(session: ort.InferenceSession) -> None:
    image = load("test.npz")["image"]
    (all_logits,) = session.run(None, {"image": image[:7]})
    (one_logits,) = session.run(None, {"image": image[3:4]})
    np.testing.assert_allclose(one_logits[0], all_logits[3], rtol=0, atol=1e-5)


def test_the_network_has_the_structure_worth_testing_on() -> None:
    model = onnx.load(DIGITS / "digits.onnx")
    operators = [node.op_type for node in model.graph.node]
    for operator in ("Add", "BatchNormalization", "MaxPool", "Reshape"):
        assert operator in operators
    assert operators.count("Gemm") == 2
    convolutions = [
        {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        for node in model.graph.node
        if node.op_type == "Conv"
    ]
    assert any(attributes["group"] == 16 for attributes in convolutions)
    assert any(attributes["strides"] == [2, 2] for attributes in convolutions)


def test_nothing_of_the_machine_it_was_made_on_stays() -> None:
    model = onnx.load(DIGITS / "digits.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert not model.metadata_props
    assert not model.doc_string
    assert not model.graph.metadata_props
    for part in (*model.graph.node, *model.graph.initializer, *model.graph.value_info, *model.graph.input):
        assert not part.metadata_props
        assert not part.doc_string
    assert b".py" not in (DIGITS / "digits.onnx").read_bytes()


def test_all_of_it_stays_small() -> None:
    assert sum(path.stat().st_size for path in DIGITS.iterdir()) < 600_000
