"""How a picture becomes an input: the options that a user gives, and the value of every pixel by them."""

import math
import reprlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from netsurgeon.pipeline.data.limits import read_toml
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.notation import counted

Array = NDArray[Any]
Channels = Literal["RGB", "BGR", "grey"]
Layout = Literal["NCHW", "NHWC"]

_MOST_SIDE = 1 << 14


@dataclass(frozen=True)
class PictureOptions:
    """How a picture becomes an input: ``(pixel * scale - mean) / std``, pixels 0 to 255.

    Args:
        resize: pixels of the shorter side after resizing (bilinear), None to leave the size.
        crop: side of the square cut from the centre, None to keep all.
        channels: the order of the channels in the input; "grey" gives one channel.
        scale: factor on each pixel.
        mean: one value, or one a channel in the order of `channels`.
        std: one value, or one a channel in the order of `channels`.
        layout: where the channel axis goes.
        mirror: whether weights are corrected on every picture's mirror image, too: for pictures that could as well
            have been taken the other way round, unlike text. Accuracy is never measured on mirror images.

    Raises:
        InputError: a value is of the wrong type or out of range.
    """

    resize: int | None = None
    crop: int | None = None
    channels: Channels = "RGB"
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: Layout = "NCHW"
    mirror: bool = False

    def __post_init__(self) -> None:
        for name in ("resize", "crop"):
            _check_side(name, getattr(self, name))
        _check_choice("channels", self.channels, get_args(Channels))
        _check_choice("layout", self.layout, get_args(Layout))
        if not isinstance(self.mirror, bool):
            raise InputError(f"picture option mirror is {self.mirror!r}, expected true or false")
        object.__setattr__(self, "scale", _number("scale", self.scale))
        for name in ("mean", "std"):
            object.__setattr__(self, name, _per_channel(name, getattr(self, name), self.channel_count))
        if 0 in self.std:
            raise InputError(f"picture option std is {self.std}: a zero cannot divide, give positive values")

    @classmethod
    def from_toml(cls, path: Path) -> "PictureOptions":
        """Read the options from a TOML file whose keys are the names of the fields.

        Raises:
            InputError: the file cannot be read, a key is unknown, or a value does not fit.
        """
        try:
            values = read_toml(Path(path))
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read as picture options in TOML: {error}") from error
        option_names = [option.name for option in fields(cls)]
        if unknown := sorted(set(values) - set(option_names)):
            raise InputError(
                f"{path} holds the unknown picture options {', '.join(unknown)}: the known ones are "
                f"{', '.join(option_names)}"
            )
        return cls(**values)

    @property
    def width_axis(self) -> int:
        """Axis of an input along which its pictures are mirrored."""
        return -1 if self.layout == "NCHW" else -2

    @property
    def channel_count(self) -> int:
        """Channels of the input: 1 for grey, else 3."""
        return 1 if self.channels == "grey" else 3

    def table(self, dtype: np.dtype[Any]) -> Array:
        """The input value of every pixel value, (channels, 256).

        Raises:
            InputError: `dtype` is an integer type and the values are no integers in its range.
        """
        mean, std = np.array(self.mean)[:, None], np.array(self.std)[:, None]
        exact = np.broadcast_to((np.arange(256.0) * self.scale - mean) / std, (self.channel_count, 256))
        with np.errstate(invalid="ignore", over="ignore"):
            values: Array = exact.astype(dtype)
        if dtype.kind in "biu" and not np.array_equal(values.astype(np.float64), exact):
            raise InputError(
                f"the model takes {dtype} pixels, but scale {self.scale:g}, mean {self.mean} and std {self.std} do not "
                f"give whole numbers in its range: for plain pixels give scale = 1, mean = 0 and std = 1"
            )
        return values


def _check_side(name: str, value: object) -> None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MOST_SIDE):
        raise InputError(
            f"picture option {name} is {reprlib.repr(value)}: expected a positive number of pixels, at most "
            f"{_MOST_SIDE}"
        )


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"picture option {name} is {value!r}: expected one of {', '.join(choices)}")


def _number(name: str, value: object) -> float:
    try:
        number = math.nan if isinstance(value, bool) or not isinstance(value, int | float) else float(value)
    except OverflowError:  # a whole number of hundreds of digits
        number = math.inf
    if not math.isfinite(number):
        raise InputError(f"picture option {name} holds {reprlib.repr(value)}: expected a finite number")
    return number


def _per_channel(name: str, value: object, channels: int) -> tuple[float, ...]:
    values = value if isinstance(value, list | tuple) else (value,)
    if len(values) not in (1, channels):
        raise InputError(
            f"picture option {name} holds {len(values)} values: expected one, or one for each of "
            f"{counted(channels, 'channel')}"
        )
    return tuple(_number(name, one) for one in values)
