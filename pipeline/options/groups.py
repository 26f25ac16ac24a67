"""The groups of options, each beside what it is about; `Options` joins and checks them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypedDict

from netsurgeon.pipeline.data import PictureOptions
from netsurgeon.pipeline.options.row_numbers import RowNumbers

Metric = str | Callable[..., float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class GoalOptions:
    """What the result must reach: a search decides how.

    Attributes:
        max_drop: goal: how much of the task's metric may be lost, such as "1%"; see `Goals`. Where neither a goal nor
            sparsity, trim, pattern, keep_zeros or layers are given, "1%".
        speedup: goal: how many times as fast, such as 2.
        latency: goal: time of a run with its unit, such as "5ms".
        max_size: goal: size of the file with its unit, such as "500KB".
        max_macs: goal: multiply-adds of a sample, such as "40M".
    """

    max_drop: str | float | None = None
    speedup: str | float | None = None
    latency: str | float | None = None
    max_size: str | float | None = None
    max_macs: str | float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrimOptions:
    """Which units go.

    Attributes:
        trim: share of the parameters that units have which is removed with units, in (0, 1); "up-to:30%" = or as much
            as can be.
        importance: what decides which units go: "obs" (what their consumers lose after correction), "apoz" or
            "magnitude".
        save: what `trim` is a share of: "parameters" or "macs", the multiply-adds.
        round_to: numbers of units left are multiples of this; of narrow layers, of a smaller power of two; None = of as
            many channels as the provider's convolutions take at a time.
        keep_unread: leave units in place that nothing reads after pruning, so that every tensor keeps its shape.
    """

    trim: float | str | None = None
    importance: str = "obs"
    save: str = "parameters"
    round_to: int | None = None
    keep_unread: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class PruneOptions:
    """Which weights go, and how the rest is corrected.

    Attributes:
        sparsity: share of all prunable weights that is removed, in [0, 1), after trimming; None = what a goal leaves,
            0 where units are trimmed or zeros are kept, else 0.5. Shares may also be text: "90%" is 0.9.
        method: solver, one of `notation.METHODS`.
        pattern: that the weights which stay keep to: N:M such as "2:4" in place of `sparsity`, or tiles of a sparse
            kernel, "k:64" or "tile:16x16", of the share that `sparsity` or a goal says.
        keep_zeros: remove no weight that is not zero, keep every zero, and remove units that nobody reads.
        uniform: the same sparsity in every layer instead of a global budget.
        layers: sparsity of layers by name or glob, in place of the budget's.
        exclude: names or globs of layers that are left as they are.
        damping: λ relative to the mean diagonal of the Hessian; None = chosen per layer on held-out rows.
        effort: "full", or "fast" for a first look: fewer rows and quicker solvers, and a search tries less, for a
            somewhat larger model sooner; None = full, but fast where layers are very wide.
    """

    sparsity: float | str | None = None
    method: str = "auto"
    pattern: str | None = None
    keep_zeros: bool = False
    uniform: bool = False
    layers: Mapping[str, float | str] = dataclasses.field(default_factory=dict)
    exclude: tuple[str, ...] = ()
    damping: float | None = None
    effort: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class RepairOptions:
    """Whether gradient descent goes on where closed forms end.

    Attributes:
        repair: tune the weights that are left, without labels, until the model gives the dense model's outputs and
            values inside again, and integers behind their rounding; needs PyTorch.
        augment: what is done to the inputs meanwhile: "auto" moves pictures and mirrors those in colour, "shift"
            mirrors none, "none" leaves all as they are.
        device: where PyTorch runs: "cpu", "cuda", or "auto" for CUDA where there is any.
    """

    repair: bool = False
    augment: str = "auto"
    device: str = "auto"


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizeOptions:
    """What runs on integers.

    Attributes:
        quantize: "int8" = weights and activations of 8 bits, "w4a8" = weights of 4 bits and activations of 8;
            "dynamic" = both of 8, ranges measured while the model runs, in matrix products and LSTMs; "w8", "w4" =
            weights of 8 or 4 bits, in matrix products alone; "none" = all stays on floats; None = what a goal finds to
            be faster, else "none".
        target: where the model will run: "cpu", "cpu-vnni" where every processor has VNNI, which takes weights of 8
            bits in place of 7, "cpu-sparse" = as on "cpu", with the provider of netsurgeon-sparse, for which the
            weights that pruning leaves lie in tiles ("k:64"), "onnx" = as on "cpu", but in operators of the ONNX
            standard alone, or "cuda", "tensorrt", "openvino" or "qnn", for which nothing is timed.
        ranges: how the ends of an activation's range are chosen: by "error", "percentile" or "min-max".
        prefer: what a goal of `max_drop` makes as good as can be first: "speed" or "size".
    """

    quantize: str | None = None
    target: str = "cpu"
    ranges: str = "error"
    prefer: str = "speed"


@dataclasses.dataclass(frozen=True, kw_only=True)
class StorageOptions:
    """How the result is stored.

    Attributes:
        values: type the weights are stored in; None = "codebook" with a goal, else "float16".
        tables: form of tables that rows are looked up in, such as the embeddings of a vocabulary: "int8" or "int4",
            integers with a scale a row, "float16" or "float32"; "auto" = the shortest that costs the outputs little.
        drop_rows: rows of tables that no input will look up, by name of the table or of a node that looks up: integers,
            text such as "5,10-20", or the path of a text file of these or of an .npy of integers. They become one row.
        pack: store sparse weights packed.
        names: "readable": nodes that unpack a weight are named after it; "short": they have no names, and values of a
            model on integers short ones; "auto": readable where that takes at most a hundredth of the file.
    """

    values: str | None = None
    tables: str = "auto"
    drop_rows: Mapping[str, RowNumbers] = dataclasses.field(default_factory=dict)
    pack: bool = True
    names: str = "auto"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataOptions:
    """How inputs are read and judged.

    Attributes:
        batch_size: inputs run at once, where the model's batch is free; None = 32, or fewer where they are large.
        limit: most calibration inputs used, drawn at random; None = all.
        seed: of every random choice.
        pictures: how pictures become inputs.
        classes: file with one class name a line, for pictures in class folders.
        label_offset: added to every label to give the index of its class in the model's output.
        metric: what models are judged by: the name of a measure, such as "spearman" (docs/goals.md has them all),
            "module:function" or a function(outputs, labels) -> float, higher is better; None = what suits the data.
        mask: input that says which positions of the others are there, such as "attention_mask": what it excludes counts
            nowhere; None = those called so, "none" = no input.
    """

    batch_size: int | None = None
    limit: int | None = None
    seed: int = 0
    pictures: PictureOptions | None = None
    classes: Path | None = None
    label_offset: int = 0
    metric: Metric | None = None
    mask: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class RuntimeOptions:
    """How ONNX Runtime runs the models.

    Attributes:
        custom_ops: shared libraries with the user's operators.
        provider: execution provider that runs the model: "cpu", "cuda", …; what must be equal to the last bit is
            compared on the CPU.
    """

    custom_ops: tuple[str, ...] = ()
    provider: str = "cpu"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """What is measured and kept beside the result.

    Attributes:
        profile: time both models in turn for the report; takes from some seconds up to a minute, for large models more.
        threads: of one operator on the CPU while models are timed; None = one a core.
        timed_batch: samples in a run that is timed; None = the model's own batch, or 1.
        timings: report (JSON) or timing table whose times stand in for those of this machine.
        work: folder that keeps what has been done, so that a run that was stopped goes on.
        cluster: Dask workers that calibration runs on: "local:N" processes here, a scheduler's "tcp://host:8786", or
            "module:function" that gives a `distributed.Client`; None = this process, which gives the same bytes.
    """

    profile: bool = False
    threads: int | None = None
    timed_batch: int | None = None
    timings: Path | None = None
    work: Path | None = None
    cluster: str | None = None


class OptionValues(TypedDict, total=False):
    """All options as keyword arguments: a test holds that they are those of the groups."""

    max_drop: str | float | None
    speedup: str | float | None
    latency: str | float | None
    max_size: str | float | None
    max_macs: str | float | None
    sparsity: float | str | None
    trim: float | str | None
    importance: str
    save: str
    round_to: int | None
    keep_unread: bool
    method: str
    pattern: str | None
    keep_zeros: bool
    uniform: bool
    layers: Mapping[str, float | str]
    exclude: tuple[str, ...]
    damping: float | None
    effort: str | None
    repair: bool
    augment: str
    device: str
    quantize: str | None
    target: str
    ranges: str
    prefer: str
    values: str | None
    tables: str
    drop_rows: Mapping[str, RowNumbers]
    names: str
    pack: bool
    batch_size: int | None
    limit: int | None
    seed: int
    pictures: PictureOptions | None
    classes: Path | None
    label_offset: int
    metric: Metric | None
    mask: str | None
    custom_ops: tuple[str, ...]
    provider: str
    profile: bool
    threads: int | None
    timed_batch: int | None
    timings: Path | None
    work: Path | None
    cluster: str | None
