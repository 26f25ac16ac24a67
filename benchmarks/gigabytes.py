"""Compress a language model of gigabytes: a decoder with random weights, in the time and memory that it takes.

    python benchmarks/gigabytes.py                                    # 615 million parameters: 2.46 GB, as in the row
    python benchmarks/gigabytes.py --parameters 60M --folder /tmp/g   # while developing

The model is written tensor by tensor, so that this program stays small. It is compressed by half, in a process of its
own, in 128 sequences of 128 tokens; its processor seconds, the most anonymous memory that it had and the most bytes of
files that it kept beside the output are printed. The result is then loaded and run in one more process. `--kill STAGE`
(such as "pruning layers") ends a first run that has spent some processor seconds in that stage, as its log says at
least every minute, and lets a second one go on from its work folder; without it the work folder is new. Models of each
size have a folder of their own; a second call says whether its bytes are those of the first. Figures are kept in
results/gigabytes.json and .md.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from _decoder import TOKENS, Shape, build
from _process import Row
from _rows import RESULTS, keep_rows, read_rows, report_misses
from _tables import table, write

SEQUENCES = 128
FULL_SIZE, MOST_PROCESSOR, MOST_ANONYMOUS, MOST_FILES = 600_000_000, 2400.0, 6e9, 2.0
"""From so many parameters on: processor seconds (20 minutes of two cores), bytes, and model sizes."""
TITLES = ("decoder", "GB", "processor s", "s", "anonymous GB", "files, model sizes", "reached")
STAGE_TITLES = ("decoder", "stage", "processor s", "anonymous GB", "files, model sizes")
LEGEND = (
    "Decoders with random weights, half of the weights removed, packing left out; processor seconds of all threads, "
    "the most anonymous memory, and the most bytes of files beside the output. With 600 million parameters or more: "
    "at most 2,400 processor seconds, 6 GB, and 2 model sizes. Other programs used the machine, too."
)
SECONDS_BETWEEN_LOOKS = 0.5
KILLED_AFTER = 3.0
"""Processor seconds in a stage after which a run that is to be killed there is."""
STAGE = re.compile(r"\[[0-9:]+\] (?:step [^:]*: )?([a-z ]+)")
"""What a line of the log says that is done."""
RUN = """
import sys, numpy as np
from netsurgeon.pipeline.runtime import Runtime
from pathlib import Path
feed = {"tokens": np.load(sys.argv[2])["tokens"][:2]}
(logits,) = Runtime().session(Path(sys.argv[1])).run(feed).values()
assert np.isfinite(logits).all() and logits.std() > 0.0
print("loads and runs:", logits.shape)
"""


@dataclasses.dataclass
class Usage:
    """What a process takes, in bytes and seconds.

    Attributes:
        anonymous: most anonymous memory.
        files: most bytes of files that it keeps, open or in its folders, beside the output.
        kinds: which files those are.
        processor: seconds of all its threads.
        wall: seconds.
        stages: processor seconds, most anonymous memory and most files by stage.
        problem: why the last look saw nothing; empty where there was none.
    """

    anonymous: int = 0
    files: int = 0
    kinds: dict[str, int] = dataclasses.field(default_factory=dict)
    processor: float = 0.0
    wall: float = 0.0
    stages: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    problem: str = ""


def watched(command: list[str], scratch: Path, kill: str | None) -> tuple[Usage, int]:
    """Run a command and look at it twice a second; its usage and exit code, -9 where it was ended in stage `kill`.

    Raises:
        SystemExit: nothing could be measured, or it ended before stage `kill`, with a sentence.
    """
    usage, started = Usage(), time.perf_counter()
    environment = os.environ | {"TMPDIR": str(scratch)}
    log = scratch.parent / "log.txt"
    with log.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen(command, env=environment, stderr=stream)
        while process.poll() is None:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            lines = log.read_text("utf-8", "replace").splitlines()
            stage = next((found[1].strip() for line in reversed(lines) if (found := STAGE.match(line))), "")
            _look(process.pid, scratch, usage, stage)
            if kill and stage.startswith(kill) and usage.stages.get(stage, [0.0])[0] > KILLED_AFTER:
                process.kill()
    usage.wall = time.perf_counter() - started
    if not usage.processor:
        raise SystemExit(f"nothing was measured, because /proc/{process.pid} cannot be read: {usage.problem}")
    if kill and process.returncode != -signal.SIGKILL:
        raise SystemExit(
            f"the run was not ended in stage {kill!r} but had exit code {process.returncode}: seen were "
            f"{', '.join(map(repr, usage.stages))}; name another stage, or take a larger model, which spends "
            f"{KILLED_AFTER:g} processor seconds there"
        )
    return usage, process.returncode


def _look(pid: int, scratch: Path, usage: Usage, stage: str) -> None:
    try:
        status = Path(f"/proc/{pid}/status").read_text("utf-8")
        times = Path(f"/proc/{pid}/stat").read_text("utf-8").rsplit(")", 1)[1].split()
        kinds = _bytes_of_files(pid, scratch)
    except (OSError, IndexError) as error:  # as a process ends, too
        usage.problem = str(error)
        return
    files = sum(kinds.values())
    anonymous = next((int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("RssAnon")), 0)
    processor = (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")
    entry = usage.stages.setdefault(stage, [0.0, 0.0, 0.0])
    entry[0] += processor - usage.processor
    entry[1], entry[2] = max(entry[1], anonymous), max(entry[2], files)
    usage.processor = processor
    usage.anonymous = max(usage.anonymous, anonymous)
    if files > usage.files:
        usage.files, usage.kinds = files, kinds


def _bytes_of_files(pid: int, scratch: Path) -> dict[str, int]:
    """Bytes on disk of the files that a process keeps: by the folder they lie in, or what it has them for."""
    kinds: dict[str, int] = collections.Counter()
    for file in scratch.rglob("*"):
        if file.is_file():
            kinds[file.relative_to(scratch).parts[0]] += file.stat().st_blocks * 512
    for kind, size in _unnamed_files(pid, scratch):
        kinds[kind] += size
    return kinds


def _unnamed_files(pid: int, scratch: Path) -> Iterator[tuple[str, int]]:
    """Files that have no name any more: weights are mapped, activations are not."""
    seen = set()
    for folder, kind in (("map_files", "mapped, without a name"), ("fd", "open, without a name")):
        for entry in Path(f"/proc/{pid}/{folder}").iterdir():
            try:
                target, facts = str(entry.readlink()), entry.stat()
            except OSError:
                continue
            if target.endswith(" (deleted)") and target.startswith(str(scratch)) and facts.st_ino not in seen:
                seen.add(facts.st_ino)
                yield kind, facts.st_blocks * 512


def digest(output: Path) -> str:
    """The sha256 of a model's files."""
    whole = hashlib.sha256()
    for file in (output, output.with_name(f"{output.name}.data")):
        if file.exists():
            with file.open("rb") as stream:
                while block := stream.read(1 << 22):
                    whole.update(block)
    return whole.hexdigest()


def _compared(folder: Path, made: str) -> str:
    """Whether an earlier run in the same folder has made the same bytes."""
    file = folder / "sha256.txt"
    if not file.exists():
        file.write_text(made, "utf-8")
        return ""
    return f", the {'same' if file.read_text('utf-8') == made else 'not the same'} bytes as an earlier run"


def main() -> int:
    """Build, compress, look at the result and keep it; 1 if a row misses what it must reach."""
    arguments = _arguments()
    if not arguments.render:
        name, row = measure(arguments)
        keep_rows(arguments.results, "gigabytes", {**read_rows(arguments.results, "gigabytes"), name: row})
    rows = read_rows(arguments.results, "gigabytes")
    render(arguments.results, rows)
    missed = [f"{name}: {miss}" for name, row in rows.items() for miss in misses(row)]
    return report_misses(arguments.results / "gigabytes.md", missed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parameters", default="615M")
    parser.add_argument("--folder", type=Path, default=Path("build/gigabytes"))
    parser.add_argument("--kill", help="stage in which a first run is ended")
    parser.add_argument("--sequences", type=int, default=SEQUENCES)
    parser.add_argument("--blocks", type=int, help="so many blocks of the full width, and a vocabulary in proportion")
    parser.add_argument("--large", type=int, help="bytes of weights above which a model counts as large")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of gigabytes.json and gigabytes.md")
    parser.add_argument("--render", action="store_true", help="only write gigabytes.md anew")
    parser.add_argument("options", nargs="*", default=["--values", "float32", "--no-pack"], help="of compress")
    return parser.parse_args()


def measure(arguments: argparse.Namespace) -> tuple[str, Row]:
    """Compress a decoder in a process of its own and load what came out in another one; the row's name, and the row."""
    shape = Shape.of(int(float(arguments.parameters.rstrip("MG")) * (1e9 if "G" in arguments.parameters else 1e6)))
    if arguments.blocks:
        words = shape.vocabulary * arguments.blocks // shape.layers
        shape = dataclasses.replace(shape, layers=arguments.blocks, vocabulary=words)
    folder: Path = arguments.folder.resolve() / str(shape.parameters)
    scratch, model, output = folder / "scratch", folder / "model.onnx", folder / "small.onnx"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    if not model.exists():
        build(model, shape)
    for name, seed, count in (("data", 1, arguments.sequences), ("test", 2, max(2, arguments.sequences // 4))):
        tokens = np.random.default_rng(seed).zipf(1.3, (count, TOKENS)) % shape.vocabulary
        np.savez(folder / f"{name}.npz", tokens=tokens.astype(np.int64))
    size = sum(file.stat().st_size for file in folder.glob("model.onnx*"))
    print(f"{shape}: {shape.parameters / 1e6:.0f} million parameters, {size / 1e9:.2f} GB", flush=True)
    command = _command(folder, arguments)
    usages = [watched(command, scratch, kill) for kill in ((arguments.kill, None) if arguments.kill else (None,))]
    for usage, code in usages:
        _show(usage, code, size)
    usage, code = usages[-1]
    row = {
        "parameters": shape.parameters, "bytes": size, "sequences": arguments.sequences, "options": arguments.options,
        "exit_code": code, "processor": round(usage.processor, 1), "wall": round(usage.wall, 1),
        "anonymous": usage.anonymous, "files": usage.files, "stages": usage.stages, "killed": arguments.kill,
    }  # fmt: skip
    if code == 0:
        row["sha256"] = digest(output)
        print(f"output: sha256 {row['sha256']}{_compared(folder, row['sha256'])}", flush=True)
        loaded = subprocess.run([sys.executable, "-c", RUN, str(output), str(folder / "data.npz")], check=False)
        row["loads"] = loaded.returncode == 0
    ended = f", ended in {arguments.kill} and gone on" if arguments.kill else ""
    return f"{shape.parameters / 1e6:.0f} million, {arguments.sequences} x {TOKENS} tokens{ended}", row


def _command(folder: Path, arguments: argparse.Namespace) -> list[str]:
    """What compresses the model of a folder by half."""
    program = "from netsurgeon.cli import main; main()"
    if arguments.large is not None:
        limit = f"large_models.IN_MEMORY_LIMIT = {arguments.large}"
        program = f"from netsurgeon.pipeline.runtime import large_models; {limit}; {program}"
    command = [
        sys.executable,
        "-c",
        program,
        "compress",
        str(folder / "model.onnx"),
        "--data",
        str(folder / "data.npz"),
    ]
    command += ["-o", str(folder / "small.onnx"), "--report", str(folder / "report.json"), "--sparsity", "0.5"]
    command += ["--work", str(folder / "scratch" / "work"), "--test", str(folder / "test.npz"), "--batch-size", "2"]
    return [*command, *arguments.options]


def _show(usage: Usage, code: int, size: int) -> None:
    print(
        f"exit code {code}: {usage.processor:.0f} processor seconds, {usage.wall:.0f} seconds, anonymous memory "
        f"{usage.anonymous / 1e9:.2f} GB, files {usage.files / size:.2f} model sizes"
    )
    for kind, count in usage.kinds.items():
        print(f"  {kind:42s} {count / size:5.2f} model sizes")
    for stage, (seconds, memory, files) in usage.stages.items():
        print(f"  {stage:42s} {seconds:7.0f} s {memory / 1e9:6.2f} GB {files / size:5.2f} model sizes")


def misses(row: Row) -> list[str]:
    """What a row falls short of: seconds and memory where the model is as large as the one of the row that must be."""
    if row.get("exit_code", 0) != 0:
        return [f"exit code {row['exit_code']}"]
    shortfalls = [] if row.get("loads", True) else ["the output does not run"]
    if row["parameters"] >= FULL_SIZE and row["processor"] > MOST_PROCESSOR:
        shortfalls.append(f"{row['processor']:.0f} processor seconds, at most {MOST_PROCESSOR:g}")
    if row["parameters"] >= FULL_SIZE and row["anonymous"] > MOST_ANONYMOUS:
        shortfalls.append(f"{row['anonymous'] / 1e9:.1f} GB, at most {MOST_ANONYMOUS / 1e9:g}")
    if row["parameters"] >= FULL_SIZE and row["files"] > MOST_FILES * row["bytes"]:
        shortfalls.append(f"files of {row['files'] / row['bytes']:.2f} model sizes, at most {MOST_FILES:g}")
    return shortfalls


def render(folder: Path, rows: dict[str, Row]) -> None:
    """Write gigabytes.md."""
    lines, stages = [], []
    for name, row in sorted(rows.items(), key=lambda item: item[1]["parameters"]):
        lines.append([
            name, f"{row['bytes'] / 1e9:.2f}", f"{row['processor']:.0f}", f"{row['wall']:.0f}" if "wall" in row else "",
            f"{row['anonymous'] / 1e9:.2f}", f"{row['files'] / row['bytes']:.2f}", "; ".join(misses(row)) or "yes",
        ])  # fmt: skip
        for stage, (seconds, memory, files) in row.get("stages", {}).items():
            stages.append([name, stage, f"{seconds:.0f}", f"{memory / 1e9:.2f}", f"{files / row['bytes']:.2f}"])
    head = "# Gigabytes\n\nThis page shows what time, memory and disk it takes to compress models of gigabytes."
    page = [head, LEGEND, table(TITLES, lines), "By stage:", table(STAGE_TITLES, stages)]
    write(folder / "gigabytes.md", "\n\n".join(page if stages else page[:3]) + "\n")


if __name__ == "__main__":
    sys.exit(main())
