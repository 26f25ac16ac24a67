"""The picture of a surgery is a whole PNG, and nothing else is left in the folder."""

from pathlib import Path

import numpy as np
from PIL import Image

from netsurgeon.models.surgery.history import PICTURE, plot_history
from netsurgeon.models.surgery.masks import Count


def draw(kept: list[int], path: Path) -> np.ndarray:
    rows = [
        Count(step=10 * step, layer="conv", size=100, kept=count, pruned=100 - count, spliced=step, c=1.0)
        for step, count in enumerate(kept)
    ]
    plot_history(rows, path)
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("L"))


def test_different_surgeries_are_different_pictures_and_equal_ones_equal_files(tmp_path: Path) -> None:
    path = tmp_path / PICTURE
    one = draw([100, 50, 20], path)
    first = path.read_bytes()
    other = draw([100, 90, 80], path)
    assert one.shape == other.shape == (800, 800)
    assert (one != other).any()
    draw([100, 50, 20], path)
    assert path.read_bytes() == first
    assert [file.name for file in tmp_path.iterdir()] == [PICTURE]


def test_a_layer_of_which_nothing_is_left_can_be_drawn(tmp_path: Path) -> None:
    """Its share is 0, which a logarithmic axis does not have."""
    assert draw([100, 0], tmp_path / PICTURE).std() > 0
