"""The cases of fuzz.py: files made from a seed and a number, and the command line that reads them."""

from __future__ import annotations

import os
import random
import resource
import shutil
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

import onnx
from _fuzz_arrays import of_arrays
from _fuzz_folders import of_external, of_work, packed_model
from _fuzz_models import ROWS, large_models, seed_models
from _fuzz_mutations import mutate_bytes, mutate_field
from _fuzz_options import of_commands, of_options, of_recipe
from _fuzz_pictures import of_pictures
from _fuzz_structure import mutate_structure
from _fuzz_verdicts import GOOD, Case, Verdict, judge

from netsurgeon.pipeline.runtime import peak_bytes

LARGE = 0.06
"""Share of the models that are large ones: they take seconds each."""
COMPRESSED_OF_ZOO = ("zoo/keypoint_classifier", "zoo/mlperf_kws")
"""Those that are compressed in few seconds; the others are looked at, run and timed."""


def make_case(seed: int, number: int, folder: Path, shared: Path | None = None, only: str | None = None) -> Case:
    """Write the files of a case into a folder; the same numbers always give the same case."""
    rng = random.Random(f"{seed}/{number}")
    names = [only] if only else list(MUTATORS)
    name = names[number % len(names)]
    return MUTATORS[name](name, rng, folder, shared)


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _pick(rng: random.Random, shared: Path | None) -> tuple[str, onnx.ModelProto]:
    models = {**seed_models(shared), "packed": packed_model()}
    if rng.random() < LARGE and large_models(shared):
        models = dict(large_models(shared))
    name = rng.choice(list(models))
    return name, _copy(models[name])


def _command(rng: random.Random, name: str) -> tuple[tuple[str, ...], str | None]:
    """A command that reads model.onnx, and other.onnx, which is valid; large models are looked at only."""
    if name == "packed" and rng.random() < 0.6:
        return ("unpack", "model.onnx", "-o", "out.onnx"), "out.onnx"
    is_slow = name in ("digits", "packed") or name.startswith(("zoo/", "models/"))
    if (is_slow and name not in COMPRESSED_OF_ZOO) or rng.random() < 0.5:
        return rng.choice(_LOOKS), None
    if rng.random() < 0.2:
        return rng.choice(_RUNS), None
    compress = ("compress", "model.onnx", "--data", f"random:{ROWS}", "-o", "out.onnx", "--quiet")
    extra = rng.choice(_EXTRAS)
    sparse = () if "--pattern" in extra or extra == ("--trim", "0.3") else ("--sparsity", "0.5", "--method", "obs")
    return (*compress, *sparse, *extra), "out.onnx"


_LOOKS: tuple[tuple[str, ...], ...] = (
    *(("inspect", "model.onnx"), ("inspect", "model.onnx", "--json", "-")),
    *(("inspect", "model.onnx", "--units"), ("inspect", "model.onnx", "--units", "--json", "-")),
    ("profile", "model.onnx", "--runs", "3"),
    ("unpack", "model.onnx", "-o", "out.onnx"),
)
_DATA = ("--data", f"random:{ROWS}")
_RUNS: tuple[tuple[str, ...], ...] = (
    ("compare", "model.onnx", "model.onnx", *_DATA),
    ("compare", "other.onnx", "model.onnx", *_DATA),
    ("inspect", "model.onnx", "--sensitivity", *_DATA),
    ("profile", "model.onnx", "--runs", "3", "--per-op", "--data", "random:2"),
    ("profile", "other.onnx", "--against", "model.onnx", "--runs", "3"),
)
_EXTRAS: tuple[tuple[str, ...], ...] = (
    *((), (), ("--values", "codebook"), ("--report", "report.html"), ("--trim", "up-to:0.3")),
    *(("--pattern", "2:4"), ("--trim", "0.3")),
)


def _write(model: bytes, valid: onnx.ModelProto, name: str, rng: random.Random, folder: Path, mutator: str) -> Case:
    """The case of a mutated model, beside the one that it was made from where that is asked for."""
    (folder / "model.onnx").write_bytes(model)
    arguments, output = _command(rng, name)
    if "other.onnx" in arguments:
        (folder / "other.onnx").write_bytes(valid.SerializeToString())
    return Case(mutator, arguments, output)


def _of_bytes(mutator: str, rng: random.Random, folder: Path, shared: Path | None) -> Case:
    name, model = _pick(rng, shared)
    return _write(mutate_bytes(model.SerializeToString(), rng), model, name, rng, folder, mutator)


def _of_model(mutate: Callable[[onnx.ModelProto, random.Random], None]) -> Callable[..., Case]:
    def case(mutator: str, rng: random.Random, folder: Path, shared: Path | None) -> Case:
        name, model = _pick(rng, shared)
        valid = _copy(model)
        (folder / "weights.bin").write_bytes(bytes(range(256)) * 64)
        mutate(model, rng)
        return _write(model.SerializeToString(), valid, name, rng, folder, mutator)

    return case


MUTATORS: Mapping[str, Callable[..., Case]] = {
    "bytes": _of_bytes,
    "fields": _of_model(mutate_field),
    "structure": _of_model(mutate_structure),
    "structure 2": _of_model(mutate_structure),
    "external": of_external,
    "arrays": of_arrays,
    "pictures": of_pictures,
    "recipe": of_recipe,
    "options": of_options,
    "commands": of_commands,
    "work": of_work,
}


# ------------------------------------------------------------------------------------------------ a child that serves
def attack(seed: int, number: int, folder: Path, shared: Path | None = None, only: str | None = None) -> Verdict:
    """Make a case in a folder, run it in this process, and judge how it ends."""
    case = make_case(seed, number, folder, shared, only)
    return judge(case, folder)


def serve(root: Path, shared: Path | None, most_bytes: int) -> None:
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
            verdict = attack(int(seed), int(number), folder, shared, only or None)
        except Exception:
            verdict = Verdict("bug", f"in the attack itself: {traceback.format_exc()}")
        if peak_bytes() > most_bytes and verdict.kind in GOOD:
            verdict = Verdict("memory", f"more than {most_bytes >> 20} MiB resident; {verdict.words}")
        answers.write(f"{verdict.kind}\t{' '.join(verdict.words.split())}\n")
        answers.flush()
