"""Pictures in a folder or a zip as model inputs: found in a fixed order, decoded one batch at a time.

A picture becomes an input as the networks' authors publish it: resize the shorter side, crop the centre, order
the channels, then ``(pixel * scale - mean) / std``. A pixel has 256 values, so that formula is a table with one
row a channel, computed once in float64; a batch is a look-up.

Pictures in class folders carry labels. A zip is read in place: nothing is ever extracted.
"""

import math
import os
import tomllib
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from netsurgeon.pipeline.errors import InputError

Array = NDArray[Any]
Channels = Literal["RGB", "BGR", "grey"]
Layout = Literal["NCHW", "NHWC"]

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")  # eight bits a channel
_MAX_BYTES = 1 << 28  # a file that claims more is no picture anybody calibrates with
_MAX_DEPTH = 8  # links between folders may run in circles


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

    def __post_init__(self) -> None:
        for name in ("resize", "crop"):
            _check_side(name, getattr(self, name))
        _check_choice("channels", self.channels, get_args(Channels))
        _check_choice("layout", self.layout, get_args(Layout))
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
            values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read as picture options in TOML: {error}") from error
        known = [option.name for option in fields(cls)]
        if unknown := sorted(set(values) - set(known)):
            raise InputError(
                f"{path} holds the unknown picture options {', '.join(unknown)}: the known ones are {', '.join(known)}"
            )
        return cls(**values)

    @property
    def channel_count(self) -> int:
        """Channels of the input: 1 for grey, else 3."""
        return 1 if self.channels == "grey" else 3

    def table(self, dtype: np.dtype[Any]) -> Array:
        """The input value of every pixel value, (channels, 256).

        Raises:
            InputError: `dtype` is an integer type and the values are no integers in its range.
        """
        mean = np.broadcast_to(np.array(self.mean), self.channel_count)[:, None]
        std = np.broadcast_to(np.array(self.std), self.channel_count)[:, None]
        exact = (np.arange(256.0) * self.scale - mean) / std
        with np.errstate(invalid="ignore", over="ignore"):
            values: Array = exact.astype(dtype)
        if dtype.kind in "biu" and not np.array_equal(values.astype(np.float64), exact):
            raise InputError(
                f"the model takes {dtype} pixels, but scale {self.scale:g}, mean {self.mean} and std {self.std} do not "
                f"give whole numbers in its range: for plain pixels give scale = 1, mean = 0 and std = 1"
            )
        return values


@dataclass(frozen=True)
class Pictures:
    """Pictures found in a folder or a zip, sorted by name; nothing is decoded until it is read.

    Attributes:
        root: the folder or the zip.
        names: path of each picture inside `root`.
        labels: (pictures,) class of each picture, None where there are no class folders.
        class_names: the name of each class.
        warnings: what a user should know of what was left out.
    """

    root: Path
    names: tuple[str, ...] = field(repr=False)
    labels: NDArray[np.int64] | None = field(repr=False)
    class_names: tuple[str, ...] | None = field(repr=False)
    warnings: tuple[str, ...]

    @contextmanager
    def reader(self, options: PictureOptions, dtype: np.dtype[Any]) -> Iterator[Callable[[NDArray[np.intp]], Array]]:
        """Open the pictures: a function from indices (n,) to inputs (n, C, H, W), or (n, H, W, C) for NHWC.

        Raises:
            InputError: from that function, if a picture cannot be decoded, is smaller than the crop, or differs in
                size from the others asked for with it.
        """
        table = options.table(dtype)
        with self._opened() as fetch:

            def read(indices: NDArray[np.intp]) -> Array:
                names = [self.names[index] for index in indices]
                pixels = [_decode(fetch(name), name, options) for name in names]
                _check_same_size(pixels, names)
                return _look_up(pixels, table, options.layout)

            yield read

    @contextmanager
    def _opened(self) -> Iterator[Callable[[str], bytes]]:
        with ExitStack() as stack:
            archive = None if self.root.is_dir() else stack.enter_context(_open_zip(self.root))

            def fetch(name: str) -> bytes:
                try:
                    return _read_member(archive, name) if archive else _read_file(self.root / name)
                except (OSError, RuntimeError, KeyError, zipfile.BadZipFile, zlib.error) as error:
                    raise InputError(
                        f"picture {name} of {self.root} cannot be read ({error}): repair or remove it"
                    ) from error

            yield fetch


def find_pictures(root: Path, classes: Path | None = None) -> Pictures:
    """List the pictures of a folder or a zip, with the labels their class folders give.

    A label is the index of the folder among the sorted class folders, or, with `classes`, the line of that file
    (its first word) that names the folder. Hidden files are skipped. One folder around all class folders is looked
    through.

    Raises:
        InputError: there are no pictures, they are nested unevenly, or a class folder is not in `classes`.
    """
    files = _list_folder(root) if root.is_dir() else _list_zip(root)
    names = tuple(sorted(name for name in files if name.lower().endswith(SUFFIXES)))
    if not names:
        raise InputError(
            f"{root} holds no data: expected pictures ({', '.join(SUFFIXES)}) or, in a folder, .npz or .npy files"
        )
    folders = _class_folders(root, names)
    warnings = _left_out(root, len(names), len(files))
    if folders and len(set(folders)) == 1 and classes is None:
        warnings += (f"all pictures of {root} lie in one folder, {folders[0]}: taken as unlabelled",)
        folders = None
    if folders is None:
        _refuse_classes(root, classes)
        return Pictures(root, names, None, None, warnings)
    class_names = _read_classes(classes) if classes else tuple(sorted(set(folders)))
    return Pictures(root, names, _to_labels(folders, class_names, classes), class_names, warnings)


def check_fits(shape: tuple[int, ...], wanted: tuple[int | None, ...], name: str, options: PictureOptions) -> None:
    """Check that a picture of `shape` (three axes) can be fed to an input that takes `wanted`.

    Raises:
        InputError: it cannot; the message says which option to give.
    """
    if len(wanted) == 3 and all(take in (None, have) for have, take in zip(shape, wanted, strict=True)):
        return
    advice = _advice(wanted, options)
    raise InputError(f"a picture becomes {_by(shape)} but the model's input {name!r} takes {_by(wanted)}: {advice}")


def _by(shape: tuple[int | None, ...]) -> str:
    return "x".join("?" if size is None else str(size) for size in shape) or "a scalar"


def _advice(wanted: tuple[int | None, ...], options: PictureOptions) -> str:
    if len(wanted) != 3:
        return "give the data as .npz with arrays of the model's shape"
    first, last = wanted[0], wanted[-1]
    channels, side = (first, wanted[1:]) if options.layout == "NCHW" else (last, wanted[:-1])
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


def _check_side(name: str, value: object) -> None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise InputError(f"picture option {name} is {value!r}: expected a positive number of pixels")


def _check_choice(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f"picture option {name} is {value!r}: expected one of {', '.join(known)}")


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"picture option {name} holds {value!r}: expected a finite number")
    return float(value)


def _per_channel(name: str, value: object, channels: int) -> tuple[float, ...]:
    values = value if isinstance(value, list | tuple) else (value,)
    if len(values) not in (1, channels):
        raise InputError(
            f"picture option {name} holds {len(values)} values: expected one, or one for each of {channels} channels"
        )
    return tuple(_number(name, one) for one in values)


def _decode(content: bytes, name: str, options: PictureOptions) -> NDArray[np.uint8]:
    """Pixels of one picture, resized and cropped, (H, W, channels)."""
    try:
        with Image.open(BytesIO(content)) as opened:
            if opened.mode not in _MODES:
                raise InputError(
                    f"picture {name} has pixels of mode {opened.mode}: expected 8 bits a channel, convert it"
                )
            # Pillow warns when it converts a palette with transparency in one step
            flat = opened.convert("RGBA") if "transparency" in opened.info else opened
            picture = flat.convert("L" if options.channels == "grey" else "RGB")
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise InputError(f"picture {name} cannot be decoded ({error}): repair or remove it") from error
    pixels = np.asarray(_crop(_resize(picture, options.resize), options.crop, name))
    pixels = pixels.reshape(*pixels.shape[:2], options.channel_count)
    return pixels[:, :, ::-1] if options.channels == "BGR" else pixels


def _resize(picture: Image.Image, side: int | None) -> Image.Image:
    if side is None or min(picture.size) == side:
        return picture
    shorter = min(picture.size)
    width, height = (side * length // shorter for length in picture.size)
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


def _look_up(pixels: list[NDArray[np.uint8]], table: Array, layout: Layout) -> Array:
    height, width = pixels[0].shape[:2]
    channels = len(table)
    shape = (channels, height, width) if layout == "NCHW" else (height, width, channels)
    batch = np.empty((len(pixels), *shape), table.dtype)
    for row, picture in zip(batch, pixels, strict=True):
        for channel in range(channels):
            target = row[channel] if layout == "NCHW" else row[:, :, channel]
            target[...] = table[channel][picture[:, :, channel]]
    return batch


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)


def _list_folder(root: Path) -> list[str]:
    found = []
    for folder, inner, files in os.walk(root, followlinks=True):
        here = Path(folder).relative_to(root)
        if len(here.parts) >= _MAX_DEPTH:
            inner.clear()
        found += [(here / name).as_posix() for name in files]
    return [name for name in found if not _is_hidden(name)]


def _list_zip(root: Path) -> list[str]:
    with _open_zip(root) as archive:
        names = {entry.filename for entry in archive.infolist() if not entry.is_dir()}
    return [name for name in names if not _is_hidden(name)]


def _open_zip(root: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(root)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{root} cannot be read as a zip ({error}): expected a zip of pictures") from error


def _read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > _MAX_BYTES:
        raise OSError(f"more than {_MAX_BYTES >> 20} MiB")
    return archive.read(name)


def _read_file(path: Path) -> bytes:
    if path.stat().st_size > _MAX_BYTES:
        raise OSError(f"more than {_MAX_BYTES >> 20} MiB")
    return path.read_bytes()


def _left_out(root: Path, pictures: int, files: int) -> tuple[str, ...]:
    if pictures == files:
        return ()
    return (f"left out of {root} because they are not pictures: {files - pictures} of {files} files",)


def _class_folders(root: Path, names: tuple[str, ...]) -> list[str] | None:
    """The class folder of each picture, None if they lie flat."""
    parts = [name.split("/") for name in names]
    while min(map(len, parts)) > 2 and len({path[0] for path in parts}) == 1:
        parts = [path[1:] for path in parts]
    depths = {len(path) for path in parts}
    if depths == {1}:
        return None
    if depths == {2}:
        return [path[0] for path in parts]
    raise InputError(
        f"the pictures of {root} lie at different depths: expected all in the folder itself, or all in class folders"
    )


def _refuse_classes(root: Path, classes: Path | None) -> None:
    if classes is not None:
        raise InputError(f"the class list {classes} needs pictures in class folders, but those of {root} lie flat")


def _read_classes(path: Path) -> tuple[str, ...]:
    try:
        lines = Path(path).read_text(encoding="utf-8").strip().splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"the class list {path} cannot be read ({error}): expected one class a line") from error
    names = tuple((line.split() or [""])[0] for line in lines)
    if len(set(names)) != len(names) or "" in names or not names:
        raise InputError(f"the class list {path} has empty or repeated lines: expected one class a line")
    return names


def _to_labels(folders: list[str], class_names: tuple[str, ...], classes: Path | None) -> NDArray[np.int64]:
    index = {name: label for label, name in enumerate(class_names)}
    if unknown := sorted(set(folders) - set(index)):
        raise InputError(
            f"the class folder {unknown[0]} is not among the {len(index)} classes of {classes}: add it or remove it"
        )
    return np.array([index[folder] for folder in folders], np.int64)
