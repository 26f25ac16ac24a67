"""What `cluster.py` measures and simulates, and what must be reached."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from _decoder import TOKENS, Shape
from _simulated_cluster import Cluster, Costs

from netsurgeon.pipeline.calibration import shards

GIGABIT = 1e9 / 8
MEASURED = 10 * GIGABIT
"""At which one worker is what others are compared with."""
LATENCY = 1e-4
HERE = Path(__file__).parent.parent
GOAL = {"max_drop": "1%"}
RESNET: dict[str, Any] = {"sparsity": 0.8}
PICTURES, SHARD = 10_000, 64
SEQUENCES = 4096
SHARD_OF_TOKENS = shards.SHARD_BYTES // (shards.TOKEN_BYTES * TOKENS)
"""Sequences that the rule of shards puts into one."""
FASTER, SLOWER = 1.75, 0.03
"""Two workers against one, and the seam's share of a run."""
SPEED_UP = 45.0
"""Of 64 workers at 10 Gbit/s on 10,000 pictures."""
APART = 0.2
"""Share by which the model's forecast may differ from what is measured."""


@dataclasses.dataclass(frozen=True)
class Case:
    """A model whose bytes are compared.

    Attributes:
        model: its name; that of its file, too.
        folder: where it lies: in the repository, or in the shared folder.
        options: of `compress`.
        is_timed: whether times decide, and are replayed.
    """

    model: str
    folder: Path
    options: dict[str, Any]
    is_timed: bool = True

    @property
    def name(self) -> str:
        """Model and options."""
        return " ".join([self.model, *(f"--{key.replace('_', '-')} {value}" for key, value in self.options.items())])

    @property
    def takes_limit(self) -> bool:
        """Whether `compress` is told how many inputs count; else the inputs are made with a limit."""
        return self.model != "resnet20_cifar10"

    def path(self, shared: Path) -> Path:
        """Of the model."""
        return (self.folder if self.folder.is_absolute() else shared / self.folder) / f"{self.model}.onnx"


BYTES = (
    Case("digits", HERE / "models" / "digits", {"sparsity": 0.8}, is_timed=False),
    Case("resnet20_cifar10", Path("models"), GOAL),
    Case("l3", HERE / "build" / "transformers", {**GOAL, "metric": "spearman"}),
)


@dataclasses.dataclass(frozen=True)
class SmallDecoder:
    """The decoder whose graph is measured.

    Attributes:
        shape: of it.
        shard: sequences in each of two shards.
    """

    shape: Shape
    shard: int

    @property
    def sequences(self) -> int:
        """Of both shards."""
        return 2 * self.shard

    @property
    def share(self) -> float:
        """Of the rows that enter sums: as many as in two shards of a large run, or all that there are."""
        return 2 * SHARD_OF_TOKENS / SEQUENCES


@dataclasses.dataclass(frozen=True)
class LargeDecoder:
    """The decoder that was compressed alone.

    Attributes:
        shape: of it.
        row: of results/gigabytes.json.
        sequences: that calibrated.
    """

    shape: Shape
    row: str
    sequences: int


DECODER = SmallDecoder(Shape(width=512, inner=1408, layers=1, vocabulary=512), 8)
LARGE = LargeDecoder(Shape.of(615_000_000), "615 million, 128 x 128 tokens", 128)
SEVEN_BILLION = Shape(width=4096, inner=11264, layers=32, vocabulary=32000)
RECORDED = SHARD
"""Pictures in each of the two shards that are recorded: fewer would have rows so few that sums take far longer each."""
GRAPHS: dict[str, dict[str, Any]] = {
    "resnet50": {
        "model": "resnet50", "shard": RECORDED, "whole": SHARD, "batch": 8, "inputs": PICTURES, "options": RESNET,
    },
    "decoder": {
        "model": "decoder", "shape": dataclasses.asdict(DECODER.shape), "shard": DECODER.shard, "batch": 2,
        "whole": SHARD_OF_TOKENS,
        "inputs": SEQUENCES, "options": {"sparsity": 0.5, "values": "float32", "pack": False},
    },
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Validated:
    """What sleeps on real workers: a part of the graph of the small decoder, with more sequences.

    Attributes:
        shard: sequences in a shard.
        tasks: first ones of the graph.
        seconds: that they take together.
        size: share of their bytes.
    """

    shard: int
    tasks: int
    seconds: float
    size: float


VALIDATED = Validated(SEQUENCES // 8, 160, 120.0, 0.02)


@dataclasses.dataclass(frozen=True)
class Scenario:
    """Runs that are simulated.

    Attributes:
        name: as the table has it.
        graph: that is measured.
        shards: of a measured graph.
        larger: how many times as many inputs as in the recorded ones are in a shard.
        shape: of a decoder on paper.
        inputs: of it.
        shard: sequences in a shard of it.
        workers: numbers of them.
        bandwidths: of links, bytes a second.
        cores: how many times as fast as one core a worker is.
        threads: cores that it has.
        is_bound: whether it must reach SPEED_UP.
    """

    name: str
    graph: str
    shards: int = 0
    larger: float = 1.0
    shape: Shape | None = None
    inputs: int = 0
    shard: int = 0
    workers: tuple[int, ...] = (1, 4, 16, 64, 256)
    bandwidths: tuple[float, ...] = (GIGABIT, 10 * GIGABIT, 100 * GIGABIT)
    cores: float = 1.0
    threads: int = 1
    is_bound: bool = False

    def cluster(self, workers: int, bandwidth: float, costs: Costs) -> Cluster:
        """So many workers; the main process has as many cores as one of them."""
        return Cluster(workers, bandwidth, LATENCY, self.cores, self.cores, costs)


CORES_OF_SIXTEEN = 12.0
"""How many times as fast as one core sixteen are taken to be: not measured here, where there are two."""
FEW_WORKERS = (1, 16, 64)
SCENARIOS = (
    Scenario(
        "ResNet-50's shape, 10,000 pictures", "resnet50", shards=-(-PICTURES // SHARD), larger=SHARD / RECORDED,
        is_bound=True,
    ),
    Scenario("615 M decoder, 4,096 sequences", "decoder", shape=LARGE.shape, inputs=SEQUENCES, shard=SHARD_OF_TOKENS),
    Scenario(
        "7 B decoder, 4,096 sequences, workers of 16 cores", "decoder", shape=SEVEN_BILLION, inputs=SEQUENCES,
        shard=SHARD_OF_TOKENS, workers=FEW_WORKERS, cores=CORES_OF_SIXTEEN, threads=16,
    ),
)  # fmt: skip
