"""Compress a vision transformer on pictures and a voice detector on speech, and measure what is left of their answers.

    python benchmarks/vision_and_speech.py --shared ../shared

The vision transformer (`vit_ibp`) is calibrated on 1,024 training pictures of CIFAR-10, and measured on its 10,000 test
pictures. Silero's voice detector listens to sentences of the STS benchmark, spoken by espeak-ng (Debian:
`apt-get install espeak-ng`) in six voices, with noise, and a second of silence before and after each. A feed holds the
windows of one sentence, with the states that the dense model has reached there. The compressed detector is then run
over the test sentences with states of its own.
"""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _process import Row, take_two_cores
from _rows import keep_rows, matching, read_rows, report_misses, row_parser
from _tables import table, write
from numpy.typing import NDArray
from scipy.signal import resample_poly

import netsurgeon
from netsurgeon.pipeline.runtime import Runtime, Session

Floats = NDArray[np.float32]
SPARSITY = 0.5
PICTURES = 1024
PIXELS = netsurgeon.PictureOptions(scale=0.00392157, mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010))
"""With these the model gets most training pictures right."""
SENTENCES, LONGEST = 96, 3
"""Of each split; seconds of speech."""
VOICES = ("en-us", "en-gb", "en-gb-scotland", "en-us+f3", "en-gb+f2", "en-us+m4")
RATE, WINDOW, CONTEXT, STATE = 16_000, 512, 64, (2, 1, 128)
"""Samples a second; of a window, and of what lies before it; and the shape of the detector's state."""
SPOKEN_RATE, HEADER = 22_050, 44
"""Samples a second that espeak-ng gives, and bytes in front of them."""
LOUD = 1e-5
"""Energy of a sample from which a window without its noise counts as speech."""
TITLES = ("row", "right, dense → small", "same answers", "output error", "file ÷", "seconds (of a core)")
LEGEND = (
    "Half of the weights removed. Right: pictures whose class is named, and windows of sound of which the model says "
    "whether someone speaks (at 0.5), as the recording without noise has it. Output error: relative, of the test "
    "inputs. Other programs used the machine, too."
)


def main() -> int:
    """Run the rows asked for."""
    parser = row_parser(
        __doc__, "vision_and_speech", shared="zoo, data/cifar10 and data/stsb", only="parts of names of rows"
    )
    arguments = parser.parse_args()
    take_two_cores()
    runs: dict[str, Callable[[Path], Row]] = {"vit --sparsity 0.5": see, "vad --sparsity 0.5": listen}
    for name in [] if arguments.render else matching(parser, arguments.only, list(runs)):
        if runs[name] is listen and shutil.which("espeak-ng") is None:
            parser.error(
                "there is no espeak-ng, which speaks the sentences: install it, or name other rows with --only"
            )
        row = runs[name](arguments.shared)
        keep_rows(
            arguments.results, "vision_and_speech", {**read_rows(arguments.results, "vision_and_speech"), name: row}
        )
    render(arguments.results)
    return report_misses(arguments.results / "vision_and_speech.md", ())


def see(shared: Path) -> Row:
    """The vision transformer on pictures."""
    pictures = shared / "data" / "cifar10"
    started, processor = time.perf_counter(), time.process_time()
    result = netsurgeon.compress(
        shared / "zoo" / "vit_ibp.onnx",
        pictures / "train.zip",
        test=pictures / "test.zip",
        limit=PICTURES,
        pictures=PIXELS,
        sparsity=SPARSITY,
    )
    validation = result.report.validation
    return {
        **_facts(result.report, started, processor),
        "dense": validation.dense.top1,
        "small": validation.compressed.top1,
        "same": validation.agreement,
    }


def listen(shared: Path) -> Row:
    """The voice detector on speech."""
    model = shared / "zoo" / "silero_vad_16k.onnx"
    with tempfile.TemporaryDirectory() as name:
        folder, dense, rng = Path(name), Runtime().session(model), np.random.default_rng(0)
        says: dict[str, NDArray[np.bool_]] = {}
        truth: list[NDArray[np.bool_]] = []
        for split in ("train", "test"):
            (folder / split).mkdir()
            answers: list[Floats] = []
            truth.clear()
            for number, (sound, is_speech) in enumerate(recordings(shared / "data" / "stsb" / f"sts-{split}.csv", rng)):
                windows = windows_of(sound)
                given, states = run(dense, windows)
                np.savez(folder / split / f"{number:03}.npz", input=windows, state=states, sr=np.array(RATE))
                answers.append(given)
                truth.append(is_speech)
            says["dense"] = np.concatenate(answers) > 0.5
        started, processor = time.perf_counter(), time.process_time()
        output = folder / "small.onnx"
        result = netsurgeon.compress(model, folder / "train", test=folder / "test", sparsity=SPARSITY, output=output)
        facts = _facts(result.report, started, processor)
        small = Runtime().session(output)
        files = sorted((folder / "test").glob("*.npz"))
        says["small"] = np.concatenate([run(small, np.load(file)["input"])[0] for file in files]) > 0.5
    right = np.concatenate(truth)
    shares = {side: round(float((answer == right).mean()), 4) for side, answer in says.items()}
    return {**facts, **shares, "same": round(float((says["small"] == says["dense"]).mean()), 4)}


def _facts(report: netsurgeon.Report, started: float, processor: float) -> Row:
    return {
        "error": round(report.validation.outputs[0].relative_error, 5),
        "ratio": round(report.dense.bytes / report.compressed.bytes, 3),
        "seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": round(time.process_time() - processor, 1),
    }


def recordings(file: Path, rng: np.random.Generator) -> list[tuple[Floats, NDArray[np.bool_]]]:
    """Sentences of a split as sound with noise, each beside which of its windows hold speech."""
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    sentences = list(dict.fromkeys(row[5] for row in rows))
    chosen = rng.choice(len(sentences), SENTENCES, replace=False)
    return [_recording(sentences[index], VOICES[at % len(VOICES)], rng) for at, index in enumerate(chosen)]


def _recording(sentence: str, voice: str, rng: np.random.Generator) -> tuple[Floats, NDArray[np.bool_]]:
    speed = str(rng.integers(130, 190))
    command = ["espeak-ng", "--stdout", "-v", voice, "-s", speed, "--", sentence]
    spoken = subprocess.run(command, capture_output=True, check=True).stdout
    samples = np.frombuffer(spoken[HEADER:], np.int16).astype(np.float32) / 2**15
    speech = resample_poly(samples, RATE, SPOKEN_RATE)[: LONGEST * RATE].astype(np.float32)
    speech *= np.float32(0.1 * rng.uniform(0.3, 1.5) / max(float(np.sqrt(np.square(speech).mean())), 1e-6))
    clean = np.pad(speech, RATE)
    noise = rng.standard_normal(len(clean)).astype(np.float32) * np.float32(10.0 ** rng.uniform(-3.5, -1.7))
    energies = np.square(clean[: len(clean) // WINDOW * WINDOW].reshape(-1, WINDOW)).mean(axis=1)
    return clean + noise, energies > LOUD


def windows_of(sound: Floats) -> Floats:
    """Windows of a recording behind their context, (windows, CONTEXT + WINDOW)."""
    padded = np.pad(sound[: len(sound) // WINDOW * WINDOW], (CONTEXT, 0))
    return np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(padded, CONTEXT + WINDOW)[::WINDOW])


def run(detector: Session, windows: Floats) -> tuple[Floats, Floats]:
    """What a detector says of each window, (windows,), and the state that it had before, (2, windows, 128)."""
    state, answers, states = np.zeros(STATE, np.float32), [], []
    for window in windows:
        states.append(state)
        answer, state = detector.run({"input": window[None], "state": state, "sr": np.array(RATE)}).values()
        answers.append(answer[0, 0])
    return np.array(answers), np.concatenate(states, axis=1)


def render(folder: Path) -> None:
    """Write vision_and_speech.md."""
    lines = [
        [
            name,
            f"{row['dense']:.2%} → {row['small']:.2%}",
            f"{row['same']:.2%}",
            f"{row['error']:.4f}",
            f"{row['ratio']:.2f}",
            f"{row['seconds']:.0f} ({row['cpu_seconds']:.0f})",
        ]
        for name, row in read_rows(folder, "vision_and_speech").items()
    ]
    write(folder / "vision_and_speech.md", "\n\n".join(["# Vision and speech", LEGEND, table(TITLES, lines)]) + "\n")


if __name__ == "__main__":
    sys.exit(main())
