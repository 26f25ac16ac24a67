"""The cases of fuzz.py: files made from a seed and a number, the command line that reads them, and the verdict."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import logging
import os
import random
import resource
import shutil
import sys
import tempfile
import traceback
import unicodedata
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import onnx
from _fuzz_models import seed_models
from _fuzz_mutations import FLOATS, INTEGERS, NAMES, mutate_bytes, mutate_field, mutate_structure

from netsurgeon import cli
from netsurgeon.pipeline.runtime import onnxruntime

GOOD = ("delivered", "refused", "failed check")
BAD = ("bug", "died", "hung", "memory")
CLASSES = (*GOOD, *BAD)
ROWS = 24
"""Inputs of a case: fewer are judged with a warning, more take longer."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """How a case ended: one of CLASSES, and in words what was wrong or what was said."""

    kind: str
    words: str = ""


@dataclasses.dataclass(frozen=True)
class Case:
    """What is run.

    Attributes:
        mutator: what made its input.
        arguments: of the command line, relative to the folder where its files lie.
        output: the model it writes, if it does.
        same_as: bytes that a delivered model must have.
    """

    mutator: str
    arguments: tuple[str, ...]
    output: str | None = None
    same_as: bytes | None = dataclasses.field(default=None, repr=False)


# ------------------------------------------------------------------------------------------------ cases
def make_case(seed: int, number: int, folder: Path, zoo: Path | None = None, only: str | None = None) -> Case:
    """Write the files of a case into a folder; the same numbers always give the same case."""
    rng = random.Random(f"{seed}/{number}")
    names = [only] if only else list(MUTATORS)
    name = names[number % len(names)]
    return MUTATORS[name](name, rng, folder, zoo)


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _pick(rng: random.Random, zoo: Path | None) -> tuple[str, onnx.ModelProto]:
    models = {**seed_models(zoo), "packed": packed_model()}
    name = rng.choice(list(models))
    return name, _copy(models[name])


def _command(rng: random.Random, name: str) -> tuple[tuple[str, ...], str | None]:
    """A command that reads model.onnx; large models are looked at only."""
    compress = ("compress", "model.onnx", "--data", f"random:{ROWS}", "-o", "out.onnx", "--quiet")
    quick = (*compress, "--sparsity", "0.5", "--method", "obs")
    if name == "packed" and rng.random() < 0.6:
        return ("unpack", "model.onnx", "-o", "out.onnx"), "out.onnx"
    looked_at = (
        ("inspect", "model.onnx"),
        ("inspect", "model.onnx", "--units"),
        ("inspect", "model.onnx", "--json", "-"),
    )
    if name in ("digits", "packed") or name.startswith("zoo/") or rng.random() < 0.5:
        return rng.choice(looked_at), None
    if rng.random() < 0.2:
        data = ("--data", f"random:{ROWS}")
        compare = ("compare", "model.onnx", "model.onnx", *data)
        return rng.choice((compare, ("inspect", "model.onnx", "--sensitivity", *data))), None
    more = (
        (),
        (),
        ("--values", "codebook"),
        ("--report", "report.html"),
        ("--trim", "up-to:0.3"),
        ("--pattern", "2:4"),
    )
    extra = rng.choice((*more, ("--trim", "0.3")))
    base = compress if "--pattern" in extra or extra == ("--trim", "0.3") else quick
    return (*base, *extra), "out.onnx"


def _of_bytes(mutator: str, rng: random.Random, folder: Path, zoo: Path | None) -> Case:
    name, model = _pick(rng, zoo)
    (folder / "model.onnx").write_bytes(mutate_bytes(model.SerializeToString(), rng))
    return Case(mutator, *_command(rng, name))


def _of_model(mutate: Callable[[onnx.ModelProto, random.Random], None]) -> Callable[..., Case]:
    def case(mutator: str, rng: random.Random, folder: Path, zoo: Path | None) -> Case:
        name, model = _pick(rng, zoo)
        (folder / "weights.bin").write_bytes(bytes(range(256)) * 64)
        mutate(model, rng)
        (folder / "model.onnx").write_bytes(model.SerializeToString())
        return Case(mutator, *_command(rng, name))

    return case


def _values(rng: random.Random, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    return np.random.default_rng(rng.randrange(2**32)).normal(size=shape).astype(np.float32)


def _arrays(rng: random.Random) -> Mapping[str, np.ndarray[Any, Any]]:
    """Inputs and labels for the model "dense", with something wrong about them."""
    inputs = _values(rng, (ROWS, 6))
    labels: np.ndarray[Any, Any] = np.arange(ROWS) % 4
    name = "x"
    match rng.randrange(9):
        case 0:
            inputs.flat[rng.randrange(inputs.size)] = rng.choice(FLOATS)
        case 1:
            inputs[...] = rng.choice(FLOATS)
        case 2:
            inputs = inputs.astype(
                rng.choice(("float16", "float64", "int8", "U8", "S3", "complex64", "bool", ">f4", "M8[s]"))
            )
        case 3:
            inputs = inputs.reshape(rng.choice(((6, ROWS), (ROWS, 6, 1), (-1,), (1, ROWS, 6), (ROWS, 2, 3))))
        case 4:
            inputs = inputs[: rng.choice((0, 1, 2, 3))]
        case 5:
            name = rng.choice((*NAMES, "y", "labels", "x.npy"))
        case 6:
            labels = rng.choice((labels[:5], labels - 1, labels * 10**12, labels + 0.5, labels[:, None], labels[:0]))
        case 7:
            labels = np.full(ROWS, rng.choice((*INTEGERS, *FLOATS, "a", None)))
        case _:
            labels = np.zeros((ROWS, rng.choice((0, 1, 4, 1000))), rng.choice(("int64", "float32", "bool")))
    return {name: inputs, "labels": labels} if rng.random() < 0.7 else {name: inputs}


def _npy(array: np.ndarray[Any, Any], rng: random.Random) -> bytes:
    """A file whose header lies, half of the time."""
    stream = io.BytesIO()
    np.save(
        stream, array, allow_pickle=True
    )  # a pickle is one of the attacks: it must be refused, and is never loaded here
    content = stream.getvalue()
    if rng.random() < 0.75:
        return content
    shape = tuple(rng.choice((*INTEGERS, ROWS, 6)) for _ in range(rng.choice((0, 1, 2, 2, 3, 40))))
    kind = rng.choice(("<f4", "<f4", "<f8", "|O", "<U5", "|V8", "<M8[s]", "|S0", "", "x", [("a", "<f4")], None))
    header = {"descr": kind, "fortran_order": rng.choice((True, False, 3)), "shape": rng.choice((shape, shape, 5, "x"))}
    text = rng.choice((*(repr(header),) * 8, "(" * 300, "{}", "1" * 9000, "__import__('os')")).encode()
    size = rng.choice((*(len(text),) * 8, 0, 65535)).to_bytes(2, "little")
    return b"\x93NUMPY" + rng.choice((*(b"\1\0",) * 8, b"\2\0", b"\xff\0")) + size + text + array.tobytes()


def _of_arrays(mutator: str, rng: random.Random, folder: Path, zoo: Path | None) -> Case:
    del zoo
    (folder / "model.onnx").write_bytes(seed_models()["dense"].SerializeToString())
    arrays = _arrays(rng)
    data = rng.choice((*("data.npz",) * 4, *("data.npy",) * 2, "data.zip"))
    if data == "data.npy":
        content = _npy(next(iter(arrays.values())), rng)
    else:
        stream = io.BytesIO()
        packing = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
        twice = list(arrays.items())[: rng.random() < 0.1]
        with zipfile.ZipFile(stream, "w", packing) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names that are there twice
            for name, array in (*arrays.items(), *twice):
                archive.writestr(f"{name or '_'}.npy".replace("\0", "_"), _npy(array, rng))
        content = stream.getvalue()
    (folder / data).write_bytes(mutate_bytes(content, rng) if rng.random() < 0.3 else content)
    test = ("--test", data) if rng.random() < 0.2 else ()
    options = ("--quiet", "--sparsity", "0.5", "--method", "obs", *test)
    return Case(mutator, ("compress", "model.onnx", "--data", data, "-o", "out.onnx", *options), "out.onnx")


_SHARES = ("nan", "inf", "-1", "0", "1", "0.3", "0.5", "0.9", "0.999999", "1e400", "1e-300", "9" * 400, "")
_COUNTS = ("-1", "0", "1", "2", "3", "8", "17", "1000", str(2**31), str(2**63), "9" * 400, "0x10", "1.5")
_TEXTS = ("x", "[", "**", "*", "a=b", "n*=0.9", "node_1=0.3", "\x1b[31m", "ä", ".", "/dev/zero", "os:getcwd", "a" * 300)
_OPTIONS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("sparsity", "damping", "scale"), _SHARES),
    **dict.fromkeys(("limit", "seed", "round-to", "threads", "timed-batch", "batch-size", "label-offset"), _COUNTS),
    **dict.fromkeys(("metric", "classes", "custom-ops", "timings", "test"), _TEXTS),
    **dict.fromkeys(("mean", "std"), (*_SHARES, "1,2,3", "1,nan", ",")),
    **dict.fromkeys(("resize", "crop"), _COUNTS),
    "layer": ("n*=0.9", "node_1=0.3", "*=1", "*=-1", "*=nan", "[=0.5", "*", "=", "\x1b[31m=0.5"),
    "exclude": ("*", "[", "node_1", "\x1b[31m", "**/*"),
    "trim": (*_SHARES, "up-to:0.5", "up-to:2", "up-to:", "0.9"),
    "pattern": ("2:4", "0:0", "1:2", "3:4", "99999:100000", "4:2", "-1:2", "2:4:8", "x"),
    "method": ("auto", "obs", "admm", "magnitude", "lobs", "x"),
    "values": ("float32", "float16", "codebook", "x"),
    "importance": ("obs", "apoz", "magnitude", "x"),
    "save": ("parameters", "macs", "x"),
    "provider": ("cpu", "cuda", "x", "CPUExecutionProvider"),
    **dict.fromkeys(("max-drop", "speedup", "latency"), ("1%", "-5%", "nan", "1e30", "5ms", "1.1")),
    **dict.fromkeys(("max-size", "max-macs"), ("1KB", "-1KB", "1e30GB", "nan", "100", "40M")),
}
"""Options of compress, and values for them of about the right kind."""
_FLAGS = ("--uniform", "--keep-zeros", "--keep-unread", "--no-pack", "--mirror")


def _options(rng: random.Random) -> list[str]:
    options = []
    for _ in range(rng.randint(1, 3)):
        name = rng.choice(list(_OPTIONS))
        options += [f"--{name}", rng.choice(_OPTIONS[name])]
    return [*options, rng.choice(_FLAGS)] if rng.random() < 0.3 else options


def _of_options(mutator: str, rng: random.Random, folder: Path, zoo: Path | None) -> Case:
    del zoo
    (folder / "model.onnx").write_bytes(seed_models()[rng.choice(("dense", "picture", "residual"))].SerializeToString())
    data = rng.choice((f"random:{ROWS}",) * 60 + ("random:0", "random:1", "random:-3", "random:1000000000000", *_TEXTS))
    output = rng.choice(("out.onnx",) * 40 + ("", ".", "a/b/out.onnx", "out.txt", "/dev/full", "a\0b", "\x1b[31m.onnx"))
    arguments = ("compress", "model.onnx", "--data", data, "-o", output, "--quiet", *_options(rng))
    if not any(goal in arguments for goal in ("--max-drop", "--speedup", "--latency", "--max-size", "--max-macs")):
        arguments += ("--sparsity", "0.5")
    return Case(mutator, arguments, "out.onnx" if output == "out.onnx" else None)


_RECIPE = 'sparsity = 0.5\nmethod = "obs"\nseed = 3\ndamping = 0.02\nlimit = 20\n'
_TOML = (
    *(
        "0.25",
        "1",
        "-1",
        "nan",
        "-inf",
        "1e400",
        "9" * 5000,
        "0x1F",
        "true",
        "1979-05-27",
        '"x"',
        '"\\u001b[31m"',
        "''",
    ),
    *("[]", "[1, [2]]", '["a=0.5", "*=0.1"]', "{a = 1}", "[" * 3000, "{a=" * 2000, '"""', "[0.5, 0.5, 0.5]"),
)


def _of_recipe(mutator: str, rng: random.Random, folder: Path, zoo: Path | None) -> Case:
    del zoo
    (folder / "model.onnx").write_bytes(seed_models()["dense"].SerializeToString())
    lines = _RECIPE.splitlines()
    for _ in range(rng.choice((0, 1, 1, 2))):
        name = rng.choice((*_OPTIONS, "work", "data", "uniform", "keep-zeros", "a.b", '"\\u001b[31m"'))
        plain = rng.choice(_OPTIONS.get(name, _TEXTS))
        value = rng.choice((*_TOML, plain or "0", f'"{plain}"', f'"{plain}"', plain or "0"))
        lines = [line for line in lines if not line.startswith(f"{name} =")]
        line = rng.choice((*[f"{name} = {value}"] * 5, f"[{name}]\nx = {value}"))
        lines.insert(rng.randrange(len(lines) + 1), line)
    content = "\n".join(lines).encode()
    (folder / "recipe.toml").write_bytes(mutate_bytes(content, rng) if rng.random() < 0.3 else content)
    arguments = ("compress", "model.onnx", "--data", f"random:{ROWS}", "-o", "out.onnx", "--quiet")
    return Case(mutator, (*arguments, "--recipe", "recipe.toml"), "out.onnx")


@functools.cache
def _finished_run() -> Mapping[str, bytes]:
    """Every file that a run with --work leaves, and the model it delivers."""
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        Path("model.onnx").write_bytes(seed_models()["wide"].SerializeToString())
        code, words, _ = _run(_WORK_COMMAND, Path(name))
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


def _of_work(mutator: str, rng: random.Random, folder: Path, zoo: Path | None) -> Case:
    """Damaged records are made again: the model that is delivered has the bytes of a run that was left alone."""
    del zoo
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


MUTATORS: Mapping[str, Callable[..., Case]] = {
    "bytes": _of_bytes,
    "fields": _of_model(mutate_field),
    "structure": _of_model(mutate_structure),
    "structure 2": _of_model(mutate_structure),
    "arrays": _of_arrays,
    "recipe": _of_recipe,
    "options": _of_options,
    "work": _of_work,
}


# ------------------------------------------------------------------------------------------------ verdicts
def attack(seed: int, number: int, folder: Path, zoo: Path | None = None, only: str | None = None) -> Verdict:
    """Make a case in a folder, run it in this process, and judge how it ends."""
    case = make_case(seed, number, folder, zoo, only)
    return judge(case, folder)


def judge(case: Case, folder: Path) -> Verdict:
    """Run a command line in a folder and hold it to what is promised of every input."""
    before = _content(folder / "model.onnx")
    code, words, tables = _run(case.arguments, folder)
    problem = _what_is_wrong(case, folder, code, words, before) or control_signs(words + tables)
    if problem:
        return Verdict("memory" if "MemoryError" in words or "bad_alloc" in words else "bug", problem)
    return Verdict({0: "delivered", 1: "failed check", 2: "refused"}[code], words)


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _run(arguments: tuple[str, ...], folder: Path) -> tuple[int, str, str]:
    """Exit code of a command line that runs in a folder, and what it writes to standard error and output."""
    quiet = logging.NullHandler()  # as main does: what libraries log is not what the user is told
    with _captured(1) as tables, _captured(2) as stream, contextlib.chdir(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger().addHandler(quiet)
        try:
            code = cli.run(list(arguments))
        except BaseException:
            code, _ = 99, stream.write(traceback.format_exc())
        finally:
            logging.getLogger().removeHandler(quiet)
        return code, _text_of(stream), _text_of(tables)


@contextlib.contextmanager
def _captured(number: Literal[1, 2]) -> Iterator[IO[str]]:
    """What this process writes to standard output (1) or error (2) goes into a file."""
    redirect = contextlib.redirect_stdout if number == 1 else contextlib.redirect_stderr
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="backslashreplace") as stream:
        copy = os.dup(number)
        os.dup2(stream.fileno(), number)
        try:
            with redirect(stream):
                yield stream
        finally:
            os.dup2(copy, number)
            os.close(copy)


def _text_of(stream: IO[str]) -> str:
    stream.flush()
    stream.seek(0)
    return stream.read()


def _what_is_wrong(case: Case, folder: Path, code: int, words: str, before: bytes | None) -> str | None:
    lines = words.splitlines()
    if code not in (0, 1, 2):
        return f"exit code {code}: {words[-2000:]}"
    if code and (len(lines) != 1 or not words.startswith("error: ")):
        return f"exit code {code} with other than one sentence: {words[-2000:]!r}"
    if "unexpected" in words and "a bug" in words:
        return words.strip()
    if not code and words:
        return f"words on the terminal of a run that succeeded: {words[-500:]!r}"
    if _content(folder / "model.onnx") != before:
        return "the input file was changed"
    if case.output is None:
        return None
    if code:
        return "a model was written by a run that failed" if (folder / case.output).exists() else None
    if case.same_as is not None and (folder / case.output).read_bytes() != case.same_as:
        return "the delivered model is another one than that of a run that was left alone"
    return fault_of_model(folder / case.output, folder / "model.onnx")


def control_signs(text: str) -> str | None:
    """Signs that a terminal would obey rather than show."""
    signs = {sign for sign in text if unicodedata.category(sign) in ("Cc", "Cf", "Zl", "Zp") and sign != "\n"}
    return f"control characters on the terminal: {sorted(signs)} in {text[:500]!r}" if signs else None


def fault_of_model(path: Path, dense: Path) -> str | None:
    """Whether a delivered model loads in ONNX Runtime, and gives finite outputs where the dense one does."""
    try:
        small = _session(path)
    except Exception as error:
        return f"the delivered model does not load: {error}"
    try:
        large = _session(dense)
        feed = {value.name: _random_input(value) for value in large.get_inputs()}
        expected = large.run(None, feed)
    except Exception:
        return None  # an input that was mended on the way, or one that takes special values
    try:
        answers = small.run([value.name for value in large.get_outputs()], feed)
    except Exception as error:
        return f"the delivered model does not run: {error}"
    for one, other in zip(expected, answers, strict=True):
        if np.asarray(one).shape != np.asarray(other).shape:
            return (
                f"the delivered model's outputs have the shape {np.asarray(other).shape}, not {np.asarray(one).shape}"
            )
        if np.asarray(one).dtype.kind == "f" and np.isfinite(one).all() and not np.isfinite(other).all():
            return "the delivered model's outputs are not finite where the dense one's are"
    return None


def _session(path: Path) -> Any:
    ort = onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _random_input(value: Any) -> np.ndarray[Any, Any]:
    shape = [extent if isinstance(extent, int) and extent > 0 else 3 for extent in value.shape]
    kind = {"tensor(double)": "float64", "tensor(float16)": "float16", "tensor(float)": "float32"}[value.type]
    return np.random.default_rng(0).normal(size=shape).astype(kind)


# ------------------------------------------------------------------------------------------------ a child that serves
def serve(root: Path, zoo: Path | None, most_bytes: int) -> None:
    """Answer each line "seed number only" of standard input with one line: the class, and words."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    resource.setrlimit(resource.RLIMIT_AS, (3 * most_bytes, 3 * most_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        seed, number, only = line.rstrip("\n").split("\t")
        folder = root / "case"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            verdict = attack(int(seed), int(number), folder, zoo, only or None)
        except Exception:
            verdict = Verdict("bug", f"in the attack itself: {traceback.format_exc()}")
        if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > most_bytes and verdict.kind in GOOD:
            verdict = Verdict("memory", f"more than {most_bytes >> 20} MiB resident; {verdict.words}")
        answers.write(f"{verdict.kind}\t{' '.join(verdict.words.split())}\n")
        answers.flush()
