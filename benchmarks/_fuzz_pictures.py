"""Cases of fuzz.py about pictures: folders and zips of them, damaged, of odd modes and sizes, and what lies between."""

from __future__ import annotations

import io
import os
import random
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

from _fuzz_models import ROWS, seed_models
from _fuzz_mutations import mutate_bytes
from _fuzz_verdicts import Case
from PIL import Image

SIDE = 8
_KINDS = ("png", "png", "jpeg", "bmp", "webp")
_MODES: Mapping[str, tuple[str, ...]] = {
    "png": ("1", "L", "LA", "P", "RGBA", "I;16", "RGB"),
    "jpeg": ("L", "CMYK", "YCbCr", "RGB"),
    "bmp": ("1", "L", "P", "RGBA"),
    "webp": ("RGBA", "RGB"),
    "tiff": ("F", "LAB", "I;16B", "CMYK", "I", "PA"),
    "gif": ("P", "L"),
}
"""Formats, the last two of which come under another's name, and modes that they can hold."""
_SIZES = ((1, 1), (1, 3000), (3000, 1), (9, 8), (8, 9), (16, 16), (640, 480), (7, 7))


def _picture(rng: random.Random, kind: str, mode: str = "RGB", size: tuple[int, int] = (SIDE, SIDE)) -> bytes:
    """A valid picture, perhaps with what cameras and editors write beside the pixels."""
    small = Image.frombytes("RGB", (4, 4), rng.randbytes(48)).resize(size)
    image = _in_mode(small, mode)
    more: dict[str, object] = {}
    if rng.random() < 0.2 and kind in ("png", "jpeg", "webp"):
        orientation = Image.Exif()
        orientation[274] = rng.choice((1, 3, 6, 8, 0, 77))
        more["exif"] = rng.choice((orientation.tobytes(), b"Exif\0\0" + rng.randbytes(20)))
    if rng.random() < 0.1 and kind in ("png", "jpeg"):
        more["icc_profile"] = rng.randbytes(200)
    if rng.random() < 0.1 and kind in ("gif", "png", "webp"):
        more |= {"save_all": True, "append_images": [image, image]}
    if rng.random() < 0.2 and kind == "png" and mode in ("P", "L", "RGB"):
        more["transparency"] = rng.choice((0, 255)) if mode != "RGB" else (1, 2, 3)
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image.save(stream, kind, **more)
    return stream.getvalue()


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    if mode == "PA":
        return image.convert("P").convert("PA")
    if mode == "LAB":
        return Image.frombytes("LAB", image.size, image.tobytes())
    if mode in ("I;16", "I;16B"):
        return Image.frombytes(mode, image.size, image.convert("LA").tobytes())
    return image.convert("L").convert(mode) if mode in ("I", "F") else image.convert(mode)


def _lying_png(rng: random.Random) -> bytes:
    """A PNG whose header, with the right checksum, speaks of other pixels than there are."""
    content = _picture(rng, "png")
    width, height = (rng.choice((0, 1, SIDE, 9000, 2**16, 2**31 - 1, 2**32 - 1)) for _ in range(2))
    header = struct.pack(
        ">IIBBBBB",
        width,
        height,
        rng.choice((1, 2, 8, 16, 77)),
        rng.choice((0, 2, 3, 4, 6, 5)),
        0,
        0,
        rng.choice((0, 1, 9)),
    )
    chunk = b"IHDR" + header
    return content[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + content[33:]


def _png_with_text(rng: random.Random) -> bytes:
    """A PNG with a compressed text that grows to megabytes."""
    content = _picture(rng, "png")
    chunk = b"zTXtname\0\0" + zlib.compress(bytes(rng.choice((100, 1 << 20, 90 << 20))))
    text = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return content[:33] + text + content[33:]


def _odd(rng: random.Random) -> bytes:
    kind = rng.choice(list(_MODES))
    return _picture(rng, kind, rng.choice(_MODES[kind]))


_BAD: tuple[Callable[[random.Random], bytes], ...] = (
    *(_lying_png, _png_with_text, _odd, _odd, _odd, _odd),
    lambda rng: mutate_bytes(_picture(rng, rng.choice(_KINDS)), rng),
    lambda rng: mutate_bytes(_odd(rng), rng),
    lambda rng: (content := _picture(rng, rng.choice(_KINDS)))[: rng.randrange(len(content))],
    lambda rng: _picture(rng, rng.choice(_KINDS), size=rng.choice(_SIZES)),
    lambda rng: rng.choice(
        (b"", b"\0", b"<svg/>", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"PK\3\4", b"%PDF-1.4", b"P6 8 8 255 ")
    ),
)


def _pictures(rng: random.Random) -> dict[str, bytes]:
    """Pictures by their path, flat or in class folders, and what is wrong about some of them."""
    classes = rng.choice((*[("",), ("a/", "b/")] * 4, ("a/",), ("top/a/", "top/b/"), ("a/", "b/c/")))
    kinds = [rng.choice(_KINDS) for _ in range(rng.choice((ROWS, ROWS, ROWS, 1, 2)))]
    files = {f"{classes[at % len(classes)]}{at:02}.{kind}": _picture(rng, kind) for at, kind in enumerate(kinds)}
    for name in rng.sample(sorted(files), min(len(files), rng.choice((0, 0, 1, 1, 1, 3)))):
        files[name] = rng.choice(_BAD)(rng)
    if rng.random() < 0.3:
        name = rng.choice(
            (".x.png", "a/.x.png", "__MACOSX/x.png", "x.txt", "x.npz", "x.npy", "labels.npy", "\x1b[31m.png")
        )
        files[rng.choice((name, "d/" * 30 + "x.png", "x.PNG", "e/x.png", "ä.png"))] = rng.choice(
            (b"", b"x", _picture(rng, "png"))
        )
    return files


def _into_folder(files: Mapping[str, bytes], goal: Path, rng: random.Random) -> None:
    for name, content in files.items():
        (goal / name).parent.mkdir(parents=True, exist_ok=True)
        (goal / name).write_bytes(content)
    extra = goal / rng.choice(("x.png", "a/x.png", "a"))
    if extra.exists() or not extra.parent.exists() or rng.random() > 0.2:
        return
    match rng.randrange(5):
        case 0:
            extra.symlink_to(
                rng.choice(("gone.png", "x.png", "..", ".", "/dev/zero", "../model.onnx", sorted(files)[0]))
            )
        case 1:
            extra.mkdir()
        case 2:
            os.mkfifo(extra)
        case 3:
            extra.hardlink_to(goal / sorted(files)[0])
        case _:
            (extra.parent / os.fsdecode(b"\xff.png")).write_bytes(_picture(rng, "png"))


def _into_zip(files: Mapping[str, bytes], goal: Path, rng: random.Random) -> None:
    stream = io.BytesIO()
    packing = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    odd = rng.choice(("../x.png", "/x.png", "a\\x.png", "/", sorted(files)[0], "a/../x.png", "\x1b[31m.png", "C:x.png"))
    with zipfile.ZipFile(stream, "w", packing) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, content in (*files.items(), *[(odd, _picture(rng, "png"))] * (rng.random() < 0.2)):
            archive.writestr(name, content)
    archived = bytearray(stream.getvalue())
    directory = archived.find(b"PK\1\2")
    if rng.random() < 0.1:
        archived[directory + 8] |= rng.choice((1, 0x20, 0x40))  # encrypted, a patch, strongly encrypted
    if rng.random() < 0.1:
        archived[directory + 20 : directory + 28] = struct.pack(
            "<II", *(rng.choice((0, 1, 2**31, 2**32 - 1)) for _ in "ab")
        )
    goal.write_bytes(mutate_bytes(bytes(archived), rng) if rng.random() < 0.3 else bytes(archived))


_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "resize": ("8", "9", "16", "1", "0", "-1", "16384", "16385", "x"),
    "crop": ("8", "8", "9", "1", "0", "16384", str(2**40)),
    "channels": ("RGB", "BGR", "grey", "x"),
    "layout": ("NCHW", "NHWC", "x"),
    "scale": ("1", "0", "nan", "inf", "1e300", "-1", "1e400"),
    "mean": ("0.5", "0.1,0.2,0.3", "1,2", "nan", "", "1e400"),
    "std": ("0.5", "1,1,0", "0", "1e-320", "inf", "-1"),
    "classes": ("classes.txt", "classes.txt", "missing.txt", ".", "/dev/zero"),
    "limit": ("1", "5", "0", "-1", "1000000"),
    "batch-size": ("1", "5", "0", str(2**40)),
    "pictures": ("options.toml", "options.toml", "missing.toml", "."),
}
_TOML = (
    b"resize = 8\ncrop = 8\nscale = 0.01\nmean = [0.4, 0.5, 0.6]\n",
    b"crop = 8\nchannels = 'BGR'\nmirror = true\n",
    b"resize = true\n",
    b"mean = [[1]]\n",
    b"scale = '1'\nunknown = 3\n",
)


def of_pictures(mutator: str, rng: random.Random, folder: Path, shared: Path | None) -> Case:
    """A folder or a zip of pictures, their options, and a command that reads them."""
    del shared
    (folder / "model.onnx").write_bytes(seed_models()["photo"].SerializeToString())
    files = _pictures(rng)
    data = rng.choice(("data", "data", "data.zip"))
    (_into_folder if data == "data" else _into_zip)(files, folder / data, rng)
    classes, toml = b"a first\nb second\nc\n", rng.choice(_TOML)
    (folder / "classes.txt").write_bytes(mutate_bytes(classes, rng) if rng.random() < 0.5 else classes)
    (folder / "options.toml").write_bytes(mutate_bytes(toml, rng) if rng.random() < 0.5 else toml)
    options = ["--crop", str(SIDE), "--resize", str(SIDE)] if rng.random() < 0.5 else []
    for _ in range(rng.choice((0, 0, 1, 2))):
        name = rng.choice(list(_OPTIONS))
        options += [f"--{name}", rng.choice(_OPTIONS[name])]
    if rng.random() < 0.7:
        more = rng.choice(((), (), ("--mirror",), ("--test", data), ("--label-offset", "1")))
        quick = ("--quiet", "--sparsity", "0.5", "--method", "obs", *more)
        return Case(mutator, ("compress", "model.onnx", "--data", data, "-o", "out.onnx", *quick, *options), "out.onnx")
    looks = (("compare", "model.onnx", "model.onnx"), ("inspect", "model.onnx", "--sensitivity"))
    command = rng.choice((*looks, ("profile", "model.onnx", "--runs", "3")))
    for taken in (
        ("--limit", "--batch-size") if command[0] == "profile" else ("--batch-size",) * (command[0] == "inspect")
    ):
        while taken in options:
            del options[options.index(taken) : options.index(taken) + 2]
    return Case(mutator, (*command, "--data", data, *options))
