"""A picture as a model's input, the way the networks' authors publish it.

Resize the shorter side, crop the centre, order the channels, then ``(pixel * scale - mean) / std``. A pixel has 256
values, so that formula is a table with one row a channel, computed once in float64; a batch is a look-up.
"""

import threading
import warnings
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from netsurgeon.pipeline.data.images.options import PictureOptions
from netsurgeon.pipeline.data.limits import check_bytes
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.notation import counted

Array = NDArray[Any]

_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")  # eight bits a channel
_MOST_PIXELS = 1 << 26
_quiet = threading.Lock()
"""Filters of warnings are the process's: one thread at a time changes them."""


def decode(pictures: Sequence[tuple[str, bytes]], table: Array, options: PictureOptions) -> Array:
    """Pictures, each a name and the encoded bytes, as inputs (n, C, H, W), or (n, H, W, C) for NHWC.

    Args:
        pictures: at least one.
        table: the options' `table` in the input's type.
        options: how a picture becomes an input.

    Raises:
        InputError: a picture cannot be decoded, is smaller than the crop, or differs in size from the others.
    """
    pixels: list[NDArray[np.uint8]] = []
    for name, content in pictures:
        pixels.append(_pixels(content, name, options))
        if len(pixels) == 1:
            _check_batch(len(pictures), pixels[0], table)
    _check_same_size(pixels, [name for name, _ in pictures])
    return _looked_up(np.stack(pixels), table, options)


def picture_values(picture: Image.Image, table: Array, options: PictureOptions, name: str) -> Array:
    """An opened picture as one sample, (C, H, W), or (H, W, C) for NHWC.

    Args:
        picture: of Pillow.
        table: the options' `table` in the input's type.
        options: how a picture becomes an input.
        name: what messages call it.

    Raises:
        InputError: it cannot be decoded, or is smaller than the crop.
    """
    try:
        pixels = _prepared(picture, name, options)
    except (OSError, ValueError, SyntaxError, EOFError) as error:  # Pillow reads a file when pixels are asked for
        raise InputError(f"picture {name} cannot be decoded ({error}): repair or remove it") from error
    values: Array = _looked_up(pixels[np.newaxis], table, options)[0]
    return values


def _looked_up(pixels: NDArray[np.uint8], table: Array, options: PictureOptions) -> Array:
    """The inputs of pixels (n, H, W, C), in the layout of the options."""
    channel = np.arange(len(table))
    if options.layout == "NCHW":
        pixels, channel = pixels.transpose(0, 3, 1, 2), channel[:, None, None]
    return np.asarray(table[channel, pixels])


def check_fits(shape: tuple[int, ...], expected: tuple[int | None, ...], name: str, options: PictureOptions) -> None:
    """Check that a picture of `shape` (three axes) can be fed to an input that takes `wanted`.

    Raises:
        InputError: it cannot; the message says which option to give.
    """
    if len(expected) == 3 and all(take in (None, have) for have, take in zip(shape, expected, strict=True)):
        return
    advice = _advice(expected, options)
    raise InputError(f"a picture becomes {_by(shape)} but the model's input {name!r} takes {_by(expected)}: {advice}")


def _by(shape: tuple[int | None, ...]) -> str:
    return "x".join("?" if size is None else str(size) for size in shape) or "a scalar"


def _advice(expected: tuple[int | None, ...], options: PictureOptions) -> str:
    if len(expected) != 3:
        return "give the data as .npz with arrays of the model's shape"
    first, last = expected[0], expected[-1]
    channels, side = (first, expected[1:]) if options.layout == "NCHW" else (last, expected[:-1])
    if channels not in (None, options.channel_count):
        other = last if options.layout == "NCHW" else first
        if other == options.channel_count:
            return f"set layout = {'NHWC' if options.layout == 'NCHW' else 'NCHW'!r} in the picture options"
        return f"set channels = {'grey' if channels == 1 else 'RGB'!r} in the picture options"
    height, width = side
    if height is not None and width is not None and height != width:
        return f"scale the pictures to {height}x{width} beforehand (--crop cuts squares)"
    pixels = height or width
    return f"give --crop {pixels}, with --resize {pixels} or more if the pictures are of another size"


def _check_batch(count: int, picture: NDArray[np.uint8], table: Array) -> None:
    height, width = picture.shape[:2]
    what = f"a batch of {counted(count, 'picture')} of {width}x{height} pixels"
    check_bytes(
        count * picture.size * (1 + table.itemsize), what, "give --resize and --crop, or a smaller --batch-size"
    )


def _pixels(content: bytes, name: str, options: PictureOptions) -> NDArray[np.uint8]:
    """Pixels of one picture, resized and cropped, (H, W, channels)."""
    try:
        with _quiet, warnings.catch_warnings(), Image.open(_silently(content)) as opened:
            return _prepared(opened, name, options)
    except UnidentifiedImageError as error:
        raise InputError(f"picture {name} cannot be decoded (of no known format): repair or remove it") from error
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise InputError(f"picture {name} cannot be decoded ({error}): repair or remove it") from error


def _prepared(opened: Image.Image, name: str, options: PictureOptions) -> NDArray[np.uint8]:
    """Pixels of an opened picture, resized and cropped, (H, W, channels)."""
    _check_area(opened.size, name)
    if opened.mode not in _MODES:
        raise InputError(f"picture {name} has pixels of mode {opened.mode}: expected 8 bits a channel, convert it")
    # Pillow warns when it converts a palette with transparency in one step
    flat = opened.convert("RGBA") if "transparency" in opened.info else opened
    picture = flat.convert("L" if options.channels == "grey" else "RGB")
    pixels = np.asarray(_crop(_resize(picture, options.resize, name), options.crop, name))
    pixels = pixels.reshape(*pixels.shape[:2], options.channel_count)
    return pixels[:, :, ::-1] if options.channels == "BGR" else pixels


def _silently(content: bytes) -> BytesIO:
    """The content, whose oddities Pillow would warn about on the user's terminal; the caller restores the filters."""
    warnings.simplefilter("ignore")
    return BytesIO(content)


def _check_area(size: tuple[int, int], name: str) -> None:
    width, height = size
    if width * height > _MOST_PIXELS:
        raise InputError(
            f"picture {name} has {width}x{height} pixels, at most {_MOST_PIXELS:,} are read: make it smaller, or "
            "remove it"
        )


def _resize(picture: Image.Image, side: int | None, name: str) -> Image.Image:
    if side is None or min(picture.size) == side:
        return picture
    shorter = min(picture.size)
    width, height = (side * length // shorter for length in picture.size)
    _check_area((width, height), f"{name}, resized,")
    return picture.resize((width, height), Image.Resampling.BILINEAR)


def _crop(picture: Image.Image, side: int | None, name: str) -> Image.Image:
    if side is None or picture.size == (side, side):
        return picture
    width, height = picture.size
    if min(width, height) < side:
        raise InputError(
            f"picture {name} is {width}x{height} pixels, too small for --crop {side}: give --resize {side} or more"
        )
    left, top = round((width - side) / 2), round((height - side) / 2)
    return picture.crop((left, top, left + side, top + side))


def _check_same_size(pixels: list[NDArray[np.uint8]], names: list[str]) -> None:
    for one, name in zip(pixels, names, strict=True):
        if one.shape != pixels[0].shape:
            (height, width), (first_height, first_width) = one.shape[:2], pixels[0].shape[:2]
            raise InputError(
                f"pictures differ in size, {names[0]} has {first_width}x{first_height} pixels and {name} has "
                f"{width}x{height}: give --crop (and --resize), or a batch size of 1"
            )
