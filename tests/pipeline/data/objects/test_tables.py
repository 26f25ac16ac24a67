"""Tables by what they can do: columns that are inputs, labels, and what is missing."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sample_sources import F32, PICTURE, TWO, X, rows, stacked

from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.opening import open_samples
from netsurgeon.pipeline.errors import InputError


class Column:
    def __init__(self, values: Any):
        self._values = values

    def to_numpy(self) -> np.ndarray:
        return np.asarray(self._values)


class Frame:
    """What pandas and polars have in common."""

    def __init__(self, **columns: Any):
        self.columns, self._columns = list(columns), columns

    def __getitem__(self, name: str) -> Column:
        return Column(self._columns[name])

    def to_numpy(self) -> np.ndarray:
        return np.column_stack(list(self._columns.values()))


class Streamed:
    """An IterableDataset of Hugging Face, as far as it is asked."""

    features = None

    def __init__(self, *rows: dict[str, Any]):
        self._rows, self.column_names = rows, list(rows[0])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._rows)


def test_columns_are_inputs_and_the_others_are_left() -> None:
    frame = Frame(mask=np.ones((2, 5), int), ids=np.zeros((2, 5), int), labels=[1, 0], text=["a", "b"])
    samples = open_samples(frame, TWO)  # type: ignore[arg-type]
    (feed,) = samples.batches()
    assert (feed["ids"].sum(), feed["mask"].sum()) == (0, 10)
    assert samples.labels is not None
    assert samples.labels.tolist() == [1, 0]


def test_a_frame_is_the_matrix_of_the_only_input_with_labels_apart() -> None:
    frame = Frame(a=rows(4)[:, 0], b=rows(4)[:, 1], label=[0, 1, 2, 0], c=rows(4)[:, 2])
    samples = open_samples(frame, X)  # type: ignore[arg-type]
    np.testing.assert_array_equal(stacked(samples), rows(4))
    assert samples.labels is not None
    labelled = open_samples((Frame(a=rows(4)[:, 0], b=rows(4)[:, 1], c=rows(4)[:, 2]), [3, 2, 1, 0]), X)
    np.testing.assert_array_equal(stacked(labelled), rows(4))
    assert labelled.labels is not None
    assert labelled.labels.tolist() == [3, 2, 1, 0]


def test_an_input_that_is_called_label_is_an_input() -> None:
    specs = (InputSpec("label", F32, (None, 1)), InputSpec("x", F32, (None, 1)))
    samples = open_samples(Frame(label=[0.5, 1.5], x=[1.0, 2.0]), specs)  # type: ignore[arg-type]
    assert samples.labels is None


@pytest.mark.parametrize("source", [Frame(ids=[1, 2], masks=[1, 1]), Streamed({"ids": [1], "masks": [1]})])
def test_a_missing_column_is_named(source: Any) -> None:
    with pytest.raises(
        InputError, match=r"has the columns 'ids', 'masks' but .* 'ids', 'mask': rename the one that is 'mask', or give"
    ):
        open_samples(source, TWO)


def test_rows_of_a_dataset() -> None:
    data = [{"text": "a", "x": row.tolist(), "label": at} for at, row in enumerate(rows(3))]
    samples = open_samples(Streamed(*data), X)
    np.testing.assert_array_equal(stacked(samples), rows(3))
    assert samples.labels is not None
    assert samples.labels.tolist() == [0, 1, 2]


def test_the_only_column_or_the_only_picture_is_the_only_input() -> None:
    np.testing.assert_array_equal(stacked(open_samples(Streamed({"values": rows(1)[0], "label": 1}), X)), rows(1))
    picture = Image.new("RGB", (8, 8), (255, 0, 0))
    samples = open_samples(Streamed({"img": picture, "path": "a.png", "label": 1}), PICTURE)
    assert stacked(samples, "image")[0, :, 0, 0].tolist() == [1.0, 0.0, 0.0]
    with pytest.raises(InputError, match=r"has the columns 'a', 'b' but the model's inputs are 'x'"):
        open_samples(Streamed({"a": rows(1)[0], "b": rows(1)[0]}), X)


def test_scores_in_the_label_column_are_targets() -> None:
    samples = open_samples(Streamed({"x": rows(1)[0], "label": 3.5}), X)
    assert samples.labels is not None
    assert (samples.labels.tolist(), samples.classes) == ([3.5], None)


class Counted(Streamed):
    """A Dataset of Hugging Face, which says how many rows it has."""

    def __len__(self) -> int:
        return len(self._rows)


@pytest.mark.parametrize(("kind", "is_first"), [(Counted, False), (Streamed, True)])
def test_a_limit_draws_from_the_whole_where_its_length_is_known(kind: type[Streamed], is_first: bool) -> None:
    source = kind(*({"x": row, "label": at // 25} for at, row in enumerate(rows(50))))
    samples = open_samples(source, X, limit=6, seed=0)
    assert samples.labels is not None
    assert (samples.count, bool(samples.labels.any())) == (6, not is_first)
