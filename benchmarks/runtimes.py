"""Packed models in other runtimes, against the same models unpacked: ``python benchmarks/runtimes.py``.

Every runtime that is installed loads and runs both (`make test-runtimes` installs them). Results are kept in
results/runtimes.json and shown in results/runtimes.md. Exit code 1 if a runtime answers otherwise than with the
unpacked model, or one of those that fold did not.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import json
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import _models
import numpy as np
from _process import Row, take_two_cores
from _rows import RESULTS, keep_rows, read_rows, report_misses
from _runtimes import OPENVINO, REFERENCE, RUNTIMES, Answer, Runtime, compile_in_openvino
from _tables import table, write
from numpy.typing import NDArray

import netsurgeon

HERE = Path(__file__).parent
DIGITS = HERE.parent / "models" / "digits"
INPUTS = 64
ROUNDS = 15
SAME = 1e-6
"""Largest difference from the unpacked model's answers in the same runtime, over their largest value."""
AS_FAST = 1.5
"""Time of a run, over that of the unpacked model, up to which a runtime that does not tell has folded the weights."""

Feeds = Mapping[str, NDArray[Any]]


@dataclasses.dataclass(frozen=True)
class Case:
    """A model and how it is compressed.

    Attributes:
        model: `digits`, or one of the shared ones, which are calibrated on random numbers: nothing here is about
            accuracy.
        options: of `compress`.
    """

    model: str
    options: dict[str, Any]

    @property
    def name(self) -> str:
        """Model and options, as on the command line."""
        return f"{self.model} {' '.join(f'--{key} {value}' for key, value in self.options.items())}"


CASES = (
    Case("digits", {"sparsity": 0.5}),
    Case("digits", {"sparsity": 0.9}),
    Case("digits", {"sparsity": 0.9, "values": "codebook"}),
    Case("lenet5_dense", {"sparsity": 0.9, "values": "codebook"}),
    Case("resnet20_cifar10", {"sparsity": 0.5, "values": "codebook"}),
    Case("resnet20_cifar10", {"sparsity": 0.9}),
)


def main() -> int:
    """Run what was asked for."""
    arguments = _arguments()
    take_two_cores()
    rows = read_rows(arguments.results, "runtimes")
    for case in arguments.cases:
        rows[case.name] = _run(case, arguments.shared)
        keep_rows(arguments.results, "runtimes", rows)
        print(case.name, json.dumps(rows[case.name])[:300], flush=True)
    _render(arguments.results, rows)
    missed = [f"{case.name}: {miss}" for case in arguments.cases for miss in _misses(rows[case.name])]
    return report_misses(arguments.results / "runtimes.md", missed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, help="folder with more models; without it the digits alone")
    parser.add_argument("--only", type=lambda text: text.split(","), help="names of rows, or parts of them")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of runtimes.json and .md")
    parser.add_argument("--render", action="store_true", help="only write runtimes.md anew")
    arguments = parser.parse_args()
    there = [case for case in CASES if case.model == "digits" or arguments.shared]
    words = arguments.only or [""]
    arguments.cases = [] if arguments.render else [case for case in there if any(word in case.name for word in words)]
    if not arguments.cases and not arguments.render:
        parser.error(f"no row is called so; there are: {', '.join(case.name for case in there)}")
    return arguments


def _run(case: Case, shared: Path | None) -> Row:
    """Compress, unpack, and let every runtime answer."""
    with tempfile.TemporaryDirectory() as folder:
        packed, plain = Path(folder) / "packed.onnx", Path(folder) / "plain.onnx"
        feeds = _compress(case, shared, packed)
        netsurgeon.unpack(packed, plain)
        models = {"packed": packed.read_bytes(), "plain": plain.read_bytes()}
        expected = RUNTIMES[0].answer(models["plain"], feeds, 0)
        return {
            "bytes": {name: len(model) for name, model in models.items()},
            "runtimes": {
                runtime.name: {"version": runtime.version(), **_facts(runtime, models, feeds, expected)}
                for runtime in RUNTIMES
                if runtime.version() is not None
            },
            "converted": {**_ort_sizes(packed, plain), **_openvino_sizes(packed, plain)},
        }


def _compress(case: Case, shared: Path | None, goal: Path) -> Feeds:
    """Write the packed model; inputs to compare on."""
    if case.model == "digits":
        test = DIGITS / "test.npz"
        netsurgeon.compress(DIGITS / "digits.onnx", DIGITS / "calibration.npz", test=test, output=goal, **case.options)
        return {"image": np.load(test)["image"][:INPUTS]}
    assert shared is not None  # _arguments has seen it
    model = shared / "models" / f"{case.model}.onnx"
    netsurgeon.compress(model, "random:128", output=goal, uniform=True, method="obs", **case.options)
    [entry] = _models.quiet_session(str(model)).get_inputs()
    shape = (INPUTS, *entry.shape[1:])
    return {entry.name: np.random.default_rng(0).standard_normal(shape).astype(np.float32)}


def _facts(runtime: Runtime, models: Mapping[str, bytes], feeds: Feeds, expected: Answer) -> Row:
    """What one runtime makes of both models."""
    rounds = 3 if runtime is REFERENCE else ROUNDS
    single = {name: array[:1] for name, array in feeds.items()}
    try:
        answers = {name: runtime.answer(model, feeds, 0) for name, model in models.items()}
        timed = {name: runtime.answer(model, single, rounds) for name, model in models.items()}
    except Exception as error:  # a runtime that cannot load a model is a row of the table
        return {"loads": False, "error": f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}"}
    left = None
    if answers["packed"].operators is not None:
        more = Counter(answers["packed"].operators)
        more.subtract(answers["plain"].operators or ())
        left = sorted(operator for operator, count in more.items() if count > 0)
    return {
        "loads": True,
        "same_class": _same_class(answers["packed"], expected),
        "difference": _difference(answers["packed"], expected),
        "difference_same_runtime": _difference(answers["packed"], answers["plain"]),
        "left": left,
        "load_ms": {name: round(statistics.median(answer.load_ms), 3) for name, answer in timed.items()},
        "run_ms": {name: round(statistics.median(answer.run_ms), 4) for name, answer in timed.items()},
    }


def _first(answer: Answer) -> NDArray[Any]:
    scores = next(iter(answer.outputs.values()))
    return scores.reshape(len(scores), -1)


def _same_class(actual: Answer, expected: Answer) -> float:
    """Share of the inputs whose largest output is the same one."""
    return float((_first(actual).argmax(axis=1) == _first(expected).argmax(axis=1)).mean())


def _difference(actual: Answer, expected: Answer) -> float:
    """Largest difference over the largest value of the outputs."""
    return float(np.abs(_first(actual) - _first(expected)).max() / np.abs(_first(expected)).max())


def _ort_sizes(packed: Path, plain: Path) -> dict[str, int]:
    """Bytes of ONNX Runtime's own format, and of that gzipped."""
    sizes: dict[str, int] = {}
    for name, path in (("packed", packed), ("plain", plain)):
        folder = path.parent / f"ort-{name}"
        command = [sys.executable, "-m", "onnxruntime.tools.convert_onnx_models_to_ort", str(path)]
        subprocess.run(
            [*command, "--output_dir", str(folder), "--optimization_style", "Fixed"], check=True, capture_output=True
        )
        converted = (folder / f"{path.stem}.ort").read_bytes()
        sizes |= {f"ort {name}": len(converted), f"ort {name} gzip": len(gzip.compress(converted, mtime=0))}
    return sizes


def _openvino_sizes(packed: Path, plain: Path) -> dict[str, int]:
    """Bytes of OpenVINO's own format, weights in float16 as `ovc` stores them."""
    if OPENVINO.version() is None:
        return {}
    import openvino

    sizes = {}
    for name, path in (("packed", packed), ("plain", plain)):
        target = path.with_suffix(".xml")
        openvino.save_model(openvino.convert_model(path), target)
        compile_in_openvino(openvino.Core().read_model(target))
        sizes[f"ir {name}"] = target.stat().st_size + target.with_suffix(".bin").stat().st_size
    return sizes


def _folds(name: str, row: Row) -> bool:
    """Whether nothing is unpacked any more once the model has loaded."""
    if row["left"] is not None:
        return not row["left"]
    return name != REFERENCE.name and bool(row["run_ms"]["packed"] <= AS_FAST * row["run_ms"]["plain"])


def _misses(row: Row) -> list[str]:
    """What the runtimes did that they must not."""
    missed = []
    for name, facts in row["runtimes"].items():
        if not facts["loads"]:
            missed.append(f"{name}: {facts['error']}")
            continue
        if facts["difference_same_runtime"] > SAME or facts["same_class"] < 1:
            missed.append(f"{name}: answers otherwise than with the unpacked model")
        if name != REFERENCE.name and not _folds(name, facts):
            missed.append(f"{name}: unpacks each time")
    return missed


def _render(folder: Path, rows: dict[str, Row]) -> None:
    legend = (
        f"Packed models against the same models unpacked, on {INPUTS} inputs. Same class: share of the inputs "
        "with the same largest output as the unpacked model in ONNX Runtime, whose answers netsurgeon has "
        "verified. Difference: the largest one from those answers, over their largest value; behind it that from "
        "the unpacked model in the same runtime. Folded: no operator is left that the unpacked model has not; ~ "
        f"where a runtime does not tell and a run takes less than {AS_FAST:g} times as long. Times: medians, a "
        "run of one input; packed / unpacked. Models but for the digits are calibrated on random numbers: "
        "nothing here is about accuracy. OpenVINO computes in float32 here."
    )
    titles = ("model", "runtime", "loads", "same class", "difference", "folded", "load ms", "run ms")
    lines = [
        _line(case.name, name, facts)
        for case in CASES
        if case.name in rows
        for name, facts in rows[case.name]["runtimes"].items()
    ]
    sizes = (
        "Bytes of a file, and of what other formats make of it. `.ort` is ONNX Runtime's format for mobile builds "
        "(`python -m onnxruntime.tools.convert_onnx_models_to_ort`), IR OpenVINO's (`ovc`, weights in float16): both "
        "hold the unpacked weights."
    )
    kinds = {"ort packed": ".ort", "ort plain": ".ort of unpacked", "ort packed gzip": ".ort, gzip"}
    kinds |= {"ort plain gzip": ".ort of unpacked, gzip", "ir packed": "IR", "ir plain": "IR of unpacked"}
    converted = [
        [
            case.name,
            *(f"{size:,}" for size in rows[case.name]["bytes"].values()),
            *(
                f"{rows[case.name]['converted'][kind]:,}" if kind in rows[case.name]["converted"] else ""
                for kind in kinds
            ),
        ]
        for case in CASES
        if case.name in rows
    ]
    head = (
        "# Packed models in other runtimes\n\n"
        "This page shows which runtimes load packed models, what they answer, and whether they fold the unpacking."
    )
    parts = [head, legend, table(titles, lines), "## After conversion", sizes]
    parts += [table(("model", "packed", "unpacked", *kinds.values()), converted)]
    write(folder / "runtimes.md", "\n\n".join(parts) + "\n")


def _line(case: str, name: str, facts: Row) -> list[str]:
    runtime = f"{name} {facts['version']}"
    if not facts["loads"]:
        return [case, runtime, f"no: {facts['error']}".replace("|", "\\|"), *[""] * 5]
    folds = "yes" if _folds(name, facts) else f"no: {', '.join(facts['left'] or ['each run unpacks'])}"
    return [
        case,
        runtime,
        "yes",
        f"{100 * facts['same_class']:.3g} %",
        " ".join(f"{facts[key]:.0e}" if facts[key] else "0" for key in ("difference", "difference_same_runtime")),
        folds if facts["left"] is not None or folds != "yes" else "yes ~",
        " / ".join(f"{facts['load_ms'][name]:.1f}" for name in ("packed", "plain")),
        " / ".join(f"{facts['run_ms'][name]:.3g}" for name in ("packed", "plain")),
    ]


if __name__ == "__main__":
    sys.exit(main())
