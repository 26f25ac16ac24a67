"""Cases of fuzz.py about a model and what lies beside it: work folders, and weights in files of their own."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import random
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import onnx
from _fuzz_models import ROWS, seed_models
from _fuzz_mutations import mutate_bytes, mutate_field
from _fuzz_verdicts import Case, run_command


@functools.cache
def _finished_run() -> Mapping[str, bytes]:
    """Every file that a run with --work leaves, and the model it delivers."""
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        Path("model.onnx").write_bytes(seed_models()["wide"].SerializeToString())
        code, words, _ = run_command(_WORK_COMMAND, Path(name))
        if code:
            raise RuntimeError(f"the run of a valid model has failed: {words}")
        return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file()}


_WORK_COMMAND = (
    *("compress", "model.onnx", "--data", "random:64", "-o", "out.onnx", "--quiet", "--sparsity", "0.8"),
    *("--method", "obs", "--work", "work"),
)


@functools.cache
def packed_model() -> onnx.ModelProto:
    """A model with packed weights."""
    model = onnx.ModelProto()
    model.ParseFromString(_finished_run()["out.onnx"])
    return model


def of_work(mutator: str, rng: random.Random, folder: Path, shared: Path | None) -> Case:
    """Damaged records are made again: the model that is delivered has the bytes of a run that was left alone."""
    del shared
    whole = _finished_run()
    files = dict(whole)
    records = sorted(name for name in files if name.startswith("work/"))
    for name in rng.sample(records, rng.choice((1, 1, 2, 3))):
        match rng.randrange(5):
            case 0:
                del files[name]
            case 1:
                files[name] = whole[rng.choice(records)]
            case _:
                files[name] = mutate_bytes(files[name], rng)
    if rng.random() < 0.1:
        files[rng.choice(("work/more", "work/plan.json.part", "work/.x.part", "work/plan2.json"))] = b"{}"
    delivered = files.pop("out.onnx")
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return Case(mutator, _WORK_COMMAND, "out.onnx", delivered)


# ------------------------------------------------------------------------------------------------ external data
Tensors = list[onnx.TensorProto]
_KINDS = ("dense", "wide", "picture", "residual", "attention", "body", "recurrent", "constants", "digits")


def _places(tensors: Tensors, rng: random.Random) -> list[tuple[str, int]]:
    """A file and an offset for the values of each tensor, in one of the layouts that exporters choose."""
    layout = rng.choice(("one", "one", "each", "two", "folder", "pages", "gaps", "backwards", "over each other"))
    ends: dict[str, int] = {}
    order = list(range(len(tensors)))
    if layout == "backwards":
        order.reverse()
    places: dict[int, tuple[str, int]] = {}
    for at in order:
        name = {"each": f"{at}.bin", "two": f"{at % 2}.bin", "folder": "weights/all.bin"}.get(layout, "weights.bin")
        start = ends.get(name, 0)
        if layout == "pages":
            start = -(-start // 4096) * 4096
        elif layout == "gaps":
            start += rng.choice((0, 1, 3, 64))
        elif layout == "over each other":
            start = 0
        places[at] = name, start
        ends[name] = start + len(tensors[at].raw_data)
    return [places[at] for at in range(len(tensors))]


def _move_out(tensors: Tensors, folder: Path, rng: random.Random) -> list[str]:
    """Write the values of tensors into files, with more or fewer of the entries that may say where."""
    places = _places(tensors, rng)
    files: dict[str, bytearray] = {name: bytearray() for name, _ in places}
    for tensor, (name, start) in zip(tensors, places, strict=True):
        content = files[name]
        content.extend(bytes(max(0, start + len(tensor.raw_data) - len(content))))
        content[start : start + len(tensor.raw_data)] = tensor.raw_data
    says_length, says_sum = rng.random() < 0.8, rng.random() < 0.3
    for tensor, (name, start) in zip(tensors, places, strict=True):
        entries = {"location": name, "offset": str(start), "length": str(len(tensor.raw_data))}
        if not start and rng.random() < 0.5:
            del entries["offset"]
        if not says_length:
            del entries["length"]
        if says_sum:
            entries["checksum"] = hashlib.sha1(files[name]).hexdigest()
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=value)
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return sorted(files)


_ENTRIES: Mapping[str, tuple[str, ...]] = {
    "offset": ("0", "1", "-1", "4096", "9" * 19, "9" * 30, "x", "", "\u0663", "1e3", " 4", str(2**63), str(2**64)),
    "length": ("0", "1", "-4", "3", "9" * 19, "9" * 30, "", "x", str(2**63), str(2**64 - 1)),
    "location": (
        *("weights.bin", "model.onnx", "out.onnx", "../up.bin", "/etc/passwd", "/dev/zero", ".", "", "..", "a\0b"),
        *("missing.bin", "weights", "./weights.bin", "weights/../weights.bin", "WEIGHTS.BIN", "x" * 300, "\x1b[31m"),
    ),
    "checksum": ("", "x", "0" * 40, "f" * 40, "\x1b[31m"),
    "basepath": ("", "..", "/etc", "weights", "/"),
    "more": ("", "x" * 5000, "\x1b[31m"),
}


def _mutate_entry(tensors: Tensors, rng: random.Random) -> None:
    entries = rng.choice(tensors).external_data
    key = rng.choice(("offset", "offset", "length", "length", "location", "location", *_ENTRIES))
    present = [entry for entry in entries if entry.key == key]
    if present and rng.random() < 0.2:
        entries.remove(present[0])
    elif present and rng.random() < 0.8:
        present[0].value = rng.choice(_ENTRIES[key])
    else:
        entries.add(key=key, value=rng.choice(_ENTRIES[key]))


def _as_link(file: Path, rng: random.Random) -> None:
    """The file as a link: into its folder, out of it, nowhere, to itself, to a device."""
    inside = file.with_name(f"real-{file.name}")
    file.rename(inside)
    goal = rng.choice((inside.name, inside.name, str(inside.absolute()), "/etc/passwd", "gone", file.name, "/dev/zero"))
    file.symlink_to(goal)


def _as_folder(file: Path, rng: random.Random) -> None:
    del rng
    file.unlink()
    file.mkdir()


def _as_pipe(file: Path, rng: random.Random) -> None:
    del rng
    file.unlink()
    os.mkfifo(file)


def _as_second_name(file: Path, rng: random.Random) -> None:
    """A hard link: two names of one file."""
    del rng
    file.with_name(f"real-{file.name}").hardlink_to(file)


_FILE_CHANGES: tuple[Callable[[Path, random.Random], object], ...] = (
    *(_as_link, _as_link, _as_folder, _as_pipe, _as_second_name),
    lambda file, rng: file.unlink(),
    lambda file, rng: file.write_bytes(file.read_bytes()[: -rng.choice((1, 3, 4, 64))]),
    lambda file, rng: file.write_bytes(file.read_bytes() + bytes(rng.choice((1, 4, 1000)))),
    lambda file, rng: file.write_bytes(b""),
    lambda file, rng: file.write_bytes(mutate_bytes(file.read_bytes(), rng)),
    lambda file, rng: file.write_bytes(b"\xff" * file.stat().st_size),
)


def of_external(mutator: str, rng: random.Random, folder: Path, shared: Path | None) -> Case:
    """Weights in files beside the model: other places, damaged files, links, and outputs over them."""
    del shared
    kind = rng.choice(_KINDS)
    model = onnx.ModelProto()
    model.CopyFrom(seed_models()[kind])
    constants = [attribute.t for node in model.graph.node for attribute in node.attribute if attribute.name == "value"]
    tensors = [tensor for tensor in (*model.graph.initializer, *constants) if tensor.raw_data]
    files = _move_out(rng.sample(tensors, rng.randint(1, len(tensors))), folder, rng)
    outside = [tensor for tensor in tensors if tensor.external_data]
    for _ in range(rng.choice((0, 1, 1, 2))):
        _mutate_entry(outside, rng)
    if rng.random() < 0.1:
        mutate_field(model, rng)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    if rng.random() < 0.4:
        rng.choice(_FILE_CHANGES)(folder / rng.choice(files), rng)
    if rng.random() < 0.05:
        (folder / "real").mkdir()
        (folder / "model.onnx").rename(folder / "real" / "model.onnx")
        (folder / "model.onnx").symlink_to("real/model.onnx")
    return _external_case(mutator, kind, files, rng)


def _external_case(mutator: str, kind: str, files: list[str], rng: random.Random) -> Case:
    """A command that reads the model, or writes where its weights are."""
    data = ("--data", f"random:{ROWS}")
    looks = (
        ("inspect", "model.onnx"),
        ("inspect", "model.onnx", "--units"),
        ("profile", "model.onnx", "--runs", "3"),
        ("compare", "model.onnx", "model.onnx", *data),
    )
    if kind == "digits" or rng.random() < 0.4:
        return Case(mutator, rng.choice(looks))
    compress = ("compress", "model.onnx", *data, "--quiet", "--sparsity", "0.5", "--method", "obs", "-o")
    if rng.random() < 0.15:  # over the weights, or beside a name under which they would go into a second file
        return Case(mutator, (*compress, rng.choice((*files, files[0].removesuffix(".data"), "model.onnx"))))
    return Case(mutator, (*compress, "out.onnx"), "out.onnx")
