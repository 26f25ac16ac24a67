"""How a picture becomes an input: options in a file, and what is refused."""

from pathlib import Path

import pytest

from netsurgeon.pipeline.data.images import PictureOptions
from netsurgeon.pipeline.errors import InputError


def test_options_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "pictures.toml"
    path.write_text('resize = 256\ncrop = 224\nchannels = "BGR"\nscale = 1\nmean = [104, 117.5, 123]\nstd = 2\n')
    assert PictureOptions.from_toml(path) == PictureOptions(
        resize=256, crop=224, channels="BGR", scale=1.0, mean=(104.0, 117.5, 123.0), std=(2.0,)
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("size = 3", "unknown picture options size: the known ones are resize, crop"),
        ("crop = 0", "crop is 0"),
        ("crop = 2.5", "crop is 2.5"),
        ("resize = true", "resize is True"),
        ('channels = "RBG"', "expected one of RGB, BGR, grey"),
        ('layout = ["NCHW"]', "expected one of NCHW, NHWC"),
        ('scale = "1/255"', "expected a finite number"),
        ("scale = nan", "expected a finite number"),
        ("mean = [1, 2]", "expected one, or one for each of 3 channels"),
        ('channels = "grey"\nmean = [1, 2, 3]', "each of 1 channel"),
        ("std = [1, 0, 1]", "a zero cannot divide"),
        ("= 3", "cannot be read as picture options"),
    ],
)
def test_options_that_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "pictures.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        PictureOptions.from_toml(path)


def test_options_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        PictureOptions.from_toml(tmp_path / "none.toml")
