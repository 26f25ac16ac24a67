"""What of transformers is seen, in every form that exporters and optimisers give them: weights and units.

    python benchmarks/_transformer_models/export.py EXPORTS        # with a Python that has transformers
    OMP_NUM_THREADS=1 python benchmarks/transformer_coverage.py EXPORTS --write

Of each model: the share of the weights of its matrices that are layers, the units of each group with their number of
parameters, and whether the model without half of the units of each group is the masked one, in ONNX Runtime.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
from pathlib import Path

import numpy as np
import onnx_ir as ir

from netsurgeon.passes.dependencies import Dependencies, analyse
from netsurgeon.passes.graph import FLOATS
from netsurgeon.passes.layers import find_layers
from netsurgeon.passes.trimming import MaskUnits, TrimNeurons
from netsurgeon.pipeline.model_files import open_model
from netsurgeon.pipeline.runtime import Feed, Runtime, observe
from netsurgeon.pipeline.verification import check_equivalence

RESULTS = Path(__file__).parent / "results" / "transformer_coverage.md"
TABLES = {"Gather": (0,), "EmbedLayerNormalization": (2, 3, 4), "Slice": (0,), "Add": (0, 1), "GatherElements": (0,)}
"""Inputs of operators that are tables, not matrices that multiply."""


@dataclasses.dataclass(frozen=True)
class Row:
    """What is seen of a model: weights of its matrices and how many of them layers have, its units, and the proof."""

    name: str
    matrices: int
    layers: int
    units: str
    proof: str


def matrices_of(graph: ir.Graph) -> int:
    """Numbers in the constants that multiply activations."""
    total = 0
    for value in graph.initializers.values():
        constant = value.const_value
        if constant is None or constant.dtype not in FLOATS or sum(n > 1 for n in constant.shape.numpy()) < 2:
            continue
        if not all(use.idx in TABLES.get(use.node.op_type, ()) for use in value.uses()):
            total += constant.size
    return total


def described(dependencies: Dependencies) -> str:
    """The groups of units: so many of so many parameters, and how often."""
    groups = collections.Counter((len(group.units), group.parameters) for group in dependencies.groups)
    return ", ".join(f"{count} x {units} of {size:,}" for (units, size), count in sorted(groups.items()))


def halved(model: ir.Model, dependencies: Dependencies, feed: Feed, runtime: Runtime) -> str:
    """Whether the model without half of its units is the masked one."""
    rng = np.random.default_rng(0)
    drawn = [rng.permutation(group.units)[: len(group.units) // 2] for group in dependencies.groups]
    units = [dependencies.units[number] for part in drawn for number in part]
    masked = model.clone()
    MaskUnits(units)(masked)
    trimmed = masked.clone()
    TrimNeurons(dependencies, units)(trimmed)
    proof = check_equivalence(masked, trimmed, [feed], runtime)
    return "equal" if proof.holds and proof.is_informative else str(proof)


def row_of(path: Path) -> Row:
    """Look at one model."""
    runtime = Runtime()
    source = open_model(path, runtime)
    feed = dict(np.load(path.with_suffix(".npz")))
    dependencies = analyse(source.model, observe(source.model, feed, runtime))
    layers = sum(layer.size for layer in find_layers(source.model.graph)[0])
    proof = halved(source.model, dependencies, feed, runtime)
    return Row(path.stem, matrices_of(source.given.graph), layers, described(dependencies), proof)


def main() -> None:
    """Print the table, and keep it where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exports", type=Path)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    lines = ["| model | weights seen | units | half removed |", "|---|---:|---|---|"]
    for path in sorted(arguments.exports.glob("*.onnx")):
        row = row_of(path)
        lines.append(f"| {row.name} | {row.layers / row.matrices:.1%} | {row.units} | {row.proof} |")
        print(lines[-1], flush=True)
    if arguments.write:
        head = (
            "# Transformers: what is seen in every form\n\nThis page shows how much of transformers is recognised, "
            "whatever they were exported by. Made by `transformer_coverage.py`, which explains it."
        )
        RESULTS.write_text(f"{head}\n\n" + "\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
