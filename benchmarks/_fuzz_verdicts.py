"""A case of fuzz.py, its run in this process, and what must be true of how it ends."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import re
import tempfile
import traceback
import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from netsurgeon import cli
from netsurgeon.pipeline.runtime import onnxruntime

GOOD = ("delivered", "refused", "failed check")
BAD = ("bug", "died", "hung", "memory")
CLASSES = (*GOOD, *BAD)
PROGRESS = re.compile(r"\[\d+:\d\d:\d\d\] ")
"""How lines begin that say how far a run is, which are no part of the verdict."""
FEEDS = 16
"""Random inputs that a delivered model is run on. Its outputs must be finite if the dense model's are for all of them:
one that overflows for some inputs (a weight of 1e38 behind a unit that is mostly off) does so for others once weights
have changed, as classes change at their borders, and no compression can keep which."""


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


def judge(case: Case, folder: Path) -> Verdict:
    """Run a command line in a folder and hold it to what is promised of every input."""
    before = contents(folder)
    code, words, tables = run_command(case.arguments, folder)
    problem = _what_is_wrong(case, folder, code, words) or control_signs(words + tables)
    problem = problem or _what_became_of_files(case, before, contents(folder))
    if problem:
        return Verdict("memory" if "MemoryError" in words or "bad_alloc" in words else "bug", problem)
    return Verdict({0: "delivered", 1: "failed check", 2: "refused"}[code], words)


def contents(folder: Path) -> Mapping[str, bytes]:
    """Every plain file of a folder by its path, but for what lies behind links and in the work folder."""
    paths = (path for path in sorted(folder.rglob("*")) if not path.is_symlink() and path.is_file())
    names = {str(path.relative_to(folder)): path for path in paths}
    return {name: path.read_bytes() for name, path in names.items() if not name.startswith("work/")}


def run_command(arguments: tuple[str, ...], folder: Path) -> tuple[int, str, str]:
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


def _what_is_wrong(case: Case, folder: Path, code: int, words: str) -> str | None:
    lines = [line for line in words.splitlines() if not PROGRESS.match(line)]
    words = "".join(f"{line}\n" for line in lines)
    if code not in (0, 1, 2):
        return f"exit code {code}: {words[-2000:]}"
    if code and (len(lines) != 1 or not words.startswith("error: ")):
        return f"exit code {code} with other than one sentence: {words[-2000:]!r}"
    if "unexpected" in words and "a bug" in words:
        return words.strip()
    if not code and words:
        return f"words on the terminal of a run that succeeded: {words[-500:]!r}"
    if case.output is None:
        return None
    if code:
        return "a model was written by a run that failed" if (folder / case.output).exists() else None
    if case.same_as is not None and (folder / case.output).read_bytes() != case.same_as:
        return "the delivered model is another one than that of a run that was left alone"
    return fault_of_model(folder / case.output, folder / "model.onnx")


def _what_became_of_files(case: Case, before: Mapping[str, bytes], after: Mapping[str, bytes]) -> str | None:
    """Inputs that were written to, and files that nobody has asked for."""
    changed = [name for name, content in before.items() if after.get(name) != content]
    if changed:
        return f"the input {changed[0]!r} was changed"
    asked_for = {str(Path(argument)) for argument in case.arguments}
    recipes = b"".join(content for name, content in before.items() if name.endswith(".toml"))
    # a work folder that a recipe names stays, whatever its name
    left = sorted(
        name
        for name in set(after) - set(before) - asked_for
        if not (len(Path(name).parts) > 1 and Path(name).parts[0].encode() in recipes)
    )
    return f"{left[0]!r} was left behind" if left else None


def control_signs(text: str) -> str | None:
    """Signs that a terminal would obey rather than show."""
    signs = {sign for sign in text if unicodedata.category(sign) in ("Cc", "Cf", "Zl", "Zp") and sign != "\n"}
    return f"control characters on the terminal: {sorted(signs)} in {text[:500]!r}" if signs else None


def fault_of_model(path: Path, dense: Path) -> str | None:
    """Whether a delivered model loads in ONNX Runtime, and gives finite outputs if the dense one always does."""
    try:
        small = _session(path)
    except Exception as error:
        return f"the delivered model does not load: {error}"
    try:
        large = _session(dense)
        feeds = [{value.name: _random_input(value, seed) for value in large.get_inputs()} for seed in range(FEEDS)]
        expected = [large.run(None, feed) for feed in feeds]
    except Exception:
        return None  # an input that was mended on the way, or one that takes special values
    try:
        answers = [small.run([value.name for value in large.get_outputs()], feed) for feed in feeds]
    except Exception as error:
        return f"the delivered model does not run: {error}"
    for ones, others in zip(zip(*expected, strict=True), zip(*answers, strict=True), strict=True):
        shapes = [[np.asarray(value).shape for value in values] for values in (ones, others)]
        if shapes[0] != shapes[1]:
            return f"the delivered model's outputs have the shapes {shapes[1]}, not {shapes[0]}"
        if _are_finite(ones) and not _are_finite(others):
            return "the delivered model's outputs are not finite where the dense one's are"
    return None


def _are_finite(values: Sequence[Any]) -> bool:
    return all(np.asarray(value).dtype.kind != "f" or bool(np.isfinite(value).all()) for value in values)


def _session(path: Path) -> Any:
    ort = onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _random_input(value: Any, seed: int) -> np.ndarray[Any, Any]:
    shape = [extent if isinstance(extent, int) and extent > 0 else 3 for extent in value.shape]
    kind = {"tensor(double)": "float64", "tensor(float16)": "float16", "tensor(float)": "float32"}[value.type]
    return np.random.default_rng(seed).normal(size=shape).astype(kind)
