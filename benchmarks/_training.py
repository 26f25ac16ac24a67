"""What the benchmarks that train have in common: the command line, the test error, and rows that are kept."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from netsurgeon.models.export import INPUT_NAME
from netsurgeon.models.networks.presets import NETWORKS
from netsurgeon.pipeline.data.training_data import TrainingData, open_training_data
from netsurgeon.pipeline.runtime import onnxruntime
from netsurgeon.pipeline.training.training_run import Training, picture_options, train

RESULTS = Path(__file__).parent / "results"
BATCH = 250
"""Test pictures at once."""
SURGERY = '[recipe]\nschedule = "cosine"\nlearning_rate = {rate}\nlog_every = 500\n'
"""Settings of dynamic network surgery."""
TRIMMING = """[recipe]
schedule = "cosine"
learning_rate = 0.02
shift = 1
log_every = 500
[trimming]
ratio = {ratio}
share = {share}
tolerance = 0.01
"""
"""Settings of network trimming. The authors trained on all pictures: validation errors start too low to end the loop
within a tenth of a point."""
LENET: dict[str, Any] = {"batch_size": 512, "learning_rate": 5e-3, "shift": 1}
"""How the LeNets are lightly retrained."""

Facts = dict[str, Any]


class Named(Protocol):
    """A row of a benchmark."""

    @property
    def name(self) -> str:
        """What --only takes."""


RowT = TypeVar("RowT", bound=Named)


def run_rows(
    benchmark: str,
    about: str | None,
    rows: Sequence[RowT],
    run: Callable[[RowT, argparse.Namespace, Path], Facts],
    page: Callable[[dict[str, Facts]], str],
    steps: int | None = None,
) -> int:
    """Run the rows that the command line asks for; exit code 1 if one misses what it must reach.

    Args:
        benchmark: results go to ``results/BENCHMARK.json`` and ``.md``.
        about: its docstring.
        rows: all there are.
        run: a row, the arguments and the folder that keeps runs -> facts, "reached" among them.
        page: all rows in Markdown.
        steps: default of --steps; None = there is no such option.
    """
    parser = argparse.ArgumentParser(description=(about or "").split("\n")[0])
    parser.add_argument("--shared", type=Path, required=True, help="folder with models and data")
    parser.add_argument("--only", help="names of rows, separated by commas")
    if steps is not None:
        parser.add_argument("--steps", type=int, default=steps, help="of training, or of each round")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, help="keep the run folders here")
    arguments = parser.parse_args()
    requested = [row for row in rows if not arguments.only or row.name in arguments.only.split(",")]
    if not requested:
        parser.error(f"--only takes {', '.join(row.name for row in rows)}")
    missed = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.runs or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for row in requested:
            facts = run(row, arguments, folder)
            _keep_row(benchmark, row.name, facts, page)
            print(json.dumps({"row": row.name, **facts}), flush=True)
            missed += [row.name] if facts["reached"] is False else []
    return int(bool(missed))


def trimmed(
    network: str, init: Path, ratio: float, arguments: argparse.Namespace, out: Path, *, steps: int, share: float = 1.0
) -> Training:
    """A network that trimming has made smaller, in rounds.

    Args:
        network: its name.
        init: the model, run or checkpoint that it starts from.
        ratio: parameters of that per parameter left, at which the loop ends.
        arguments: of the command line.
        out: folder of the run.
        steps: of each round.
        share: share of the layers that lose units in a round: those with the most zeros.
    """
    settings = out.with_name(f"{out.name}.toml")
    settings.write_text(TRIMMING.format(ratio=ratio, share=share), "utf-8")
    return trained(
        network, arguments, out, init=init, trimming=True, settings=settings, steps=steps, seed=arguments.seed
    )


def trained(network: str, arguments: argparse.Namespace, out: Path, **options: Any) -> Training:
    """What `train` makes of MNIST, in one process.

    Args:
        network: its name.
        arguments: of the command line.
        out: folder of the run.
        **options: of `train`.
    """
    result = train(network, arguments.shared / "data" / "mnist", out, **options)
    if result is None:
        raise SystemExit("not for torchrun")
    return result


def open_mnist(shared: Path) -> TrainingData:
    """MNIST as the LeNets take it."""
    network = NETWORKS["lenet5"]
    return open_training_data(shared / "data" / "mnist", INPUT_NAME, network.shape, picture_options(network))


def error_of(model: Path | bytes, data: TrainingData) -> float:
    """Test error in percent, in ONNX Runtime."""
    if data.test is None or data.test.labels is None:
        raise SystemExit("the data has no test part with labels")
    return round(100 * float(np.mean(answers(model, data) != data.test.labels)), 4)


def answers(model: Path | bytes, data: TrainingData) -> npt.NDArray[np.int64]:
    """The class that a model gives each test picture, (pictures,)."""
    assert data.test is not None
    session = onnxruntime().InferenceSession(model, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    parts = np.split(np.arange(data.test.count), range(BATCH, data.test.count, BATCH))
    logits = np.concatenate([session.run(None, {name: data.test.inputs(part)})[0] for part in parts])
    return np.asarray(logits.argmax(1), np.int64)


def _keep_row(name: str, row: str, facts: Facts, page: Callable[[dict[str, Facts]], str]) -> None:
    """Put a row into ``results/NAME.json``, in place of its older self, and write the page of all rows anew."""
    path = RESULTS / f"{name}.json"
    rows = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    rows[row] = facts
    path.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n", "utf-8")
    path.with_suffix(".md").write_text(page(dict(sorted(rows.items()))), "utf-8")


def must(facts: Facts) -> str:
    """What a row has to reach, and whether it does not."""
    if facts["must_reach"] is None:
        return "-"
    return f"{facts['must_reach']:.2f}" + ("" if facts["reached"] else " (missed)")
