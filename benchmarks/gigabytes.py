"""Compress a language model of gigabytes: a decoder with random weights, in the time and memory that it takes.

    python benchmarks/gigabytes.py                                    # 615 million parameters: 2.46 GB, as in the row
    python benchmarks/gigabytes.py --parameters 60M --folder /tmp/g   # while developing

The model is written tensor by tensor, so that this program stays small. It is compressed by half, in a process of its
own, in 128 sequences of 128 tokens; its processor seconds, the most anonymous memory that it had and the most bytes of
files that it kept beside the output are printed. The result is then loaded and run in one more process. `--kill STAGE`
(such as "pruning layers") ends a first run that has spent some processor seconds in that stage, as its log says at
least every minute, and lets a second one go on from its work folder; without it the work folder is new. A second call
with the same folder says whether its bytes are those of the first.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import hashlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

TOKENS, SEQUENCES, HEAD = 128, 128, 64
ALIGNED = 4096
"""Where each tensor begins in the file: at pages, as they are mapped."""
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


@dataclasses.dataclass(frozen=True)
class Shape:
    """A decoder's widths.

    Attributes:
        width: of the stream.
        inner: of the feed-forward part.
        layers: blocks of attention and feed-forward part.
        vocabulary: rows of the embedding table and of the head.
    """

    width: int
    inner: int
    layers: int
    vocabulary: int

    @property
    def parameters(self) -> int:
        """Numbers in all matrices."""
        block = 4 * self.width**2 + 3 * self.width * self.inner
        return self.layers * block + 2 * self.vocabulary * self.width

    @classmethod
    def of(cls, parameters: int) -> Shape:
        """A decoder of about so many parameters: depth grows with width, and the vocabulary makes up the rest."""
        width = HEAD * max(2, round(1536 * (parameters / 615e6) ** (1 / 3) / HEAD))
        inner = HEAD * round(2.75 * width / HEAD)
        layers = max(2, round(0.84 * parameters / (4 * width**2 + 3 * width * inner)))
        left = parameters - cls(width, inner, layers, 0).parameters
        return cls(width, inner, layers, max(256, round(left / (2 * width))))


class Writer:
    """A graph whose tensors go to one file as they come."""

    def __init__(self, path: Path, seed: int):
        self.path, self._rng = path, np.random.default_rng(seed)
        self._data = path.with_name(f"{path.name}.data").open("wb")
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node; the name of its output."""
        output = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=output, **attributes))
        return output

    def constant(self, name: str, array: npt.NDArray[np.generic]) -> str:
        """A small tensor, in the model's own file."""
        self.initializers.append(onnx.numpy_helper.from_array(array, name))
        return name

    def matrix(self, name: str, rows: int, columns: int, scale: float) -> str:
        """Random numbers, in the file beside the model."""
        start = -(-self._data.tell() // ALIGNED) * ALIGNED
        self._data.seek(start)
        for first in range(0, rows, 1024):
            part = self._rng.standard_normal((min(1024, rows - first), columns), np.float32)
            self._data.write((part * np.float32(scale)).tobytes())
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[rows, columns])
        tensor.data_location = TensorProto.EXTERNAL
        entries = {"location": Path(self._data.name).name, "offset": start, "length": 4 * rows * columns}
        for key, value in entries.items():
            entry = tensor.external_data.add()
            entry.key, entry.value = key, str(value)
        self.initializers.append(tensor)
        return name

    def save(self, logits: str, vocabulary: int) -> None:
        """Write the model's own file."""
        self._data.close()
        graph = helper.make_graph(
            self.nodes,
            "decoder",
            [helper.make_tensor_value_info("tokens", TensorProto.INT64, ["batch", TOKENS])],
            [helper.make_tensor_value_info(logits, TensorProto.FLOAT, ["batch", TOKENS, vocabulary])],
            self.initializers,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        self.path.write_bytes(model.SerializeToString())


def build(path: Path, shape: Shape, seed: int = 0) -> None:
    """Write a decoder: RMS norms, causal attention, gated feed-forward parts, and a head of its own."""
    writer = Writer(path, seed)
    writer.constant("epsilon", np.array(1e-5, np.float32))
    writer.constant("last", np.array([-1], np.int64))
    writer.constant("heads", np.array([0, TOKENS, shape.width // HEAD, HEAD], np.int64))
    writer.constant("joined", np.array([0, TOKENS, shape.width], np.int64))
    writer.constant("scale", np.array(1.0 / math.sqrt(HEAD), np.float32))
    writer.constant("causal", np.triu(np.full((TOKENS, TOKENS), -1e9, np.float32), 1))
    stream = writer.node("Gather", writer.matrix("embedding", shape.vocabulary, shape.width, 1.0), "tokens")
    for block in range(shape.layers):
        stream = _block(writer, stream, shape, f"block{block}", 1.0 / math.sqrt(2 * shape.layers))
    stream = _norm(writer, stream, shape.width, "norm")
    head = writer.matrix("head", shape.width, shape.vocabulary, 2.0 / math.sqrt(shape.width))
    writer.save(writer.node("MatMul", stream, head), shape.vocabulary)


def _block(writer: Writer, stream: str, shape: Shape, name: str, branch_scale: float) -> str:
    width, inner = shape.width, shape.inner
    entered = _norm(writer, stream, width, f"{name}.attention")
    scale = 1.0 / math.sqrt(width)
    q, k, v = (
        writer.node(
            "Reshape", writer.node("MatMul", entered, writer.matrix(f"{name}.{part}", width, width, scale)), "heads"
        )
        for part in ("q", "k", "v")
    )
    query = writer.node("Mul", writer.node("Transpose", q, perm=[0, 2, 1, 3]), "scale")
    scores = writer.node("MatMul", query, writer.node("Transpose", k, perm=[0, 2, 3, 1]))
    shares = writer.node("Softmax", writer.node("Add", scores, "causal"), axis=-1)
    mixed = writer.node("MatMul", shares, writer.node("Transpose", v, perm=[0, 2, 1, 3]))
    mixed = writer.node("Reshape", writer.node("Transpose", mixed, perm=[0, 2, 1, 3]), "joined")
    attended = writer.node("MatMul", mixed, writer.matrix(f"{name}.o", width, width, 4.0 * branch_scale * scale))
    stream = writer.node("Add", stream, attended)
    entered = _norm(writer, stream, width, f"{name}.feed_forward")
    gate = writer.node("MatMul", entered, writer.matrix(f"{name}.gate", width, inner, scale))
    gate = writer.node("Mul", gate, writer.node("Sigmoid", gate))
    up = writer.node("MatMul", entered, writer.matrix(f"{name}.up", width, inner, scale))
    down = writer.matrix(f"{name}.down", inner, width, 2.0 * branch_scale / math.sqrt(inner))
    return writer.node("Add", stream, writer.node("MatMul", writer.node("Mul", gate, up), down))


def _norm(writer: Writer, stream: str, width: int, name: str) -> str:
    energy = writer.node("ReduceMean", writer.node("Mul", stream, stream), "last")
    length = writer.node("Sqrt", writer.node("Add", energy, "epsilon"))
    gain = writer.constant(f"{name}.gain", np.ones(width, np.float32))
    return writer.node("Mul", writer.node("Div", stream, length), gain)


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
    """

    anonymous: int = 0
    files: int = 0
    kinds: dict[str, int] = dataclasses.field(default_factory=dict)
    processor: float = 0.0
    wall: float = 0.0
    stages: dict[str, list[float]] = dataclasses.field(default_factory=dict)


def watched(command: list[str], scratch: Path, kill: str | None) -> tuple[Usage, int]:
    """Run a command and look at it twice a second; its usage and exit code, -9 where it was ended in stage `kill`."""
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
            if kill and stage.startswith(kill) and usage.stages[stage][0] > KILLED_AFTER:
                process.kill()
    usage.wall = time.perf_counter() - started
    return usage, process.returncode


def _look(pid: int, scratch: Path, usage: Usage, stage: str) -> None:
    try:
        status = Path(f"/proc/{pid}/status").read_text("utf-8")
        times = Path(f"/proc/{pid}/stat").read_text("utf-8").rsplit(")", 1)[1].split()
        kinds = _bytes_of_files(pid, scratch)
    except (OSError, IndexError):
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


def main() -> None:
    """Build, compress, and look at the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parameters", default="615M")
    parser.add_argument("--folder", type=Path, default=Path("build/gigabytes"))
    parser.add_argument("--kill", help="stage in which a first run is ended")
    parser.add_argument("--sequences", type=int, default=SEQUENCES)
    parser.add_argument("--blocks", type=int, help="so many blocks of the full width, and a vocabulary in proportion")
    parser.add_argument("--large", type=int, help="bytes of weights above which a model counts as large")
    parser.add_argument("options", nargs="*", default=["--values", "float32", "--no-pack"], help="of compress")
    arguments = parser.parse_args()
    shape = Shape.of(int(float(arguments.parameters.rstrip("MG")) * (1e9 if "G" in arguments.parameters else 1e6)))
    if arguments.blocks:
        words = shape.vocabulary * arguments.blocks // shape.layers
        shape = dataclasses.replace(shape, layers=arguments.blocks, vocabulary=words)
    folder: Path = arguments.folder.resolve()
    scratch, model, data = folder / "scratch", folder / "model.onnx", folder / "data.npz"
    scratch.mkdir(parents=True, exist_ok=True)
    if not model.exists():
        build(model, shape)
    for name, seed, count in (("data", 1, arguments.sequences), ("test", 2, arguments.sequences // 4)):
        tokens = np.random.default_rng(seed).zipf(1.3, (count, TOKENS)) % shape.vocabulary
        np.savez(folder / f"{name}.npz", tokens=tokens.astype(np.int64))
    size = sum(file.stat().st_size for file in folder.glob("model.onnx*"))
    print(f"{shape}: {shape.parameters / 1e6:.0f} million parameters, {size / 1e9:.2f} GB", flush=True)
    output = folder / "small.onnx"
    program = "from netsurgeon.cli import main; main()"
    if arguments.large is not None:
        limit = f"large_models.IN_MEMORY_LIMIT = {arguments.large}"
        program = f"from netsurgeon.pipeline.runtime import large_models; {limit}; {program}"
    command = [sys.executable, "-c", program, "compress", str(model), "--data", str(data), "-o", str(output)]
    command += ["--report", str(folder / "report.json"), "--sparsity", "0.5", "--work", str(scratch / "work")]
    command += ["--test", str(folder / "test.npz"), "--batch-size", "2"]
    command += arguments.options
    shutil.rmtree(scratch)
    scratch.mkdir()
    for kill in (arguments.kill, None) if arguments.kill else (None,):
        usage, code = watched(command, scratch, kill)
        print(
            f"exit code {code}: {usage.processor:.0f} processor seconds, {usage.wall:.0f} seconds, anonymous memory "
            f"{usage.anonymous / 1e9:.2f} GB, files {usage.files / size:.2f} model sizes"
        )
        for kind, count in usage.kinds.items():
            print(f"  {kind:42s} {count / size:5.2f} model sizes")
        for stage, (seconds, memory, files) in usage.stages.items():
            print(f"  {stage:42s} {seconds:7.0f} s {memory / 1e9:6.2f} GB {files / size:5.2f} model sizes")
    written = sum(file.stat().st_size for file in folder.glob("small.onnx*"))
    made = digest(output)
    print(f"output: {written / 1e9:.2f} GB, sha256 {made}{_compared(folder, made)}", flush=True)
    subprocess.run([sys.executable, "-c", RUN, str(output), str(data)], check=True)
    print(json.dumps({"parameters": shape.parameters, "wall": usage.wall, "processor": usage.processor}))


if __name__ == "__main__":
    main()
