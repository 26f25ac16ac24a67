"""The groups of options, each beside what it is about; `Options` joins and checks them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypedDict

from netsurgeon.pipeline.data import PictureOptions
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.options.row_numbers import RowNumbers

Metric = str | Callable[..., float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class GoalOptions:
    """What the result must reach: a search decides how.

    Attributes:
        max_drop: goal: how much of the task's metric may be lost, such as "1%"; see `Goals`. It is "1%" if neither
            another goal nor sparsity, trim, quantize (other than "none"), pattern, keep_zeros or layers are given.
        speedup: goal: at least how many times as fast, such as 2.
        latency: goal: longest time of a run, with its unit, such as "5ms".
        max_size: goal: largest size of the file, with its unit, such as "500KB".
        max_macs: goal: most multiply-adds of a sample, such as "40M".
    """

    max_drop: str | float | None = None
    speedup: str | float | None = None
    latency: str | float | None = None
    max_size: str | float | None = None
    max_macs: str | float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrimOptions:
    """Which units (neurons and channels, with all that belongs to them) go.

    Attributes:
        trim: share of the units' parameters to remove with whole units, in (0, 1); "up-to:30%" = as much of it as is
            possible.
        importance: what ranks units: "obs" (what the layers that read them lose after correction), "apoz" (how often
            they are zero) or "magnitude".
        save: what `trim` is a share of: "parameters" or "macs", the multiply-adds.
        round_to: the numbers of units left are multiples of this, in narrow layers of a smaller power of two; None = of
            as many channels as the provider's convolutions take at a time.
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
        sparsity: share of all prunable weights to remove, in [0, 1), after trimming; None = what a goal decides, 0 if
            units are trimmed or zeros are kept, else 0.5. Shares may also be text: "90%" is 0.9.
        method: solver, one of `notation.METHODS`.
        pattern: where remaining weights may lie: N:M such as "2:4", which also fixes the share, or tiles for a sparse
            kernel, "k:64" or "tile:16x16", with the share that `sparsity` or a goal says.
        keep_zeros: keep every zero, remove no other weight, and remove units that nothing reads.
        uniform: the same sparsity in every layer instead of a global budget.
        layers: sparsity of layers by name or glob, instead of the budget's.
        exclude: names or globs of layers that are left as they are.
        damping: λ relative to the mean diagonal of the Hessian; None = chosen per layer on held-out rows.
        effort: "full", or "fast" for a first look: fewer inputs, quicker solvers and fewer candidates, for a somewhat
            larger model sooner; None = as "full", but without repair, and with quicker solvers in very wide networks.
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
    """Whether gradient descent continues where closed forms end.

    Attributes:
        repair: tune the remaining weights, without labels, towards the dense model's outputs and values inside, and
            integers behind their rounding; needs PyTorch. None = where a goal is searched for with `effort` "full", if
            PyTorch is there.
        augment: how inputs are varied meanwhile: "auto" moves pictures, mirrors those in colour and adds noise to
            other floats; "none" leaves all as they are; else what is allowed, with commas between: "shift", "flip" and
            "crop" of pictures, "noise" on other floats, and "lengths" of sequences.
        device: where PyTorch runs: "cpu", "cuda", or "auto" for CUDA where there is any.
    """

    repair: bool | None = None
    augment: str = "auto"
    device: str = "auto"


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizeOptions:
    """What runs on integers.

    Attributes:
        quantize: "int8" = weights of 7 or 8 bits (by `target`) and activations of 8; "w4a8" = weights of mostly 4 bits
            and activations of 8; "dynamic" = ranges are measured while the model runs, in matrix products and LSTMs;
            "w8", "w4" = weights of 8 or 4 bits, in matrix products alone; "none" = all stays on floats; None = what a
            goal finds to be faster, else "none".
        target: where the model will run: "cpu"; "cpu-vnni" if every processor has VNNI, with weights of 8 bits instead
            of 7; "cpu-sparse" = as "cpu", with the provider of netsurgeon-sparse, for which the remaining weights lie
            in tiles ("k:64"); "onnx" = as "cpu", but only with operators of the ONNX standard; or "cuda", "tensorrt",
            "openvino" or "qnn", for which nothing is timed.
        ranges: how the ends of an activation's range are chosen: by "error", "percentile" or "min-max".
        prefer: what matters first within `max_drop`: "speed" or "size".
    """

    quantize: str | None = None
    target: str = "cpu"
    ranges: str = "error"
    prefer: str = "speed"

    def check_target(self) -> None:
        """Refuse integers that the target has no operator for, whatever the model.

        Raises:
            InputError: it has none.
        """
        if (self.quantize, self.target) == ("dynamic", "tensorrt"):
            raise InputError(
                "quantize is 'dynamic', and TensorRT has no DynamicQuantizeLinear and no MatMulInteger: for target "
                "tensorrt give int8, w4a8, w8 or w4"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class StorageOptions:
    """How the result is stored.

    Attributes:
        values: type the weights are stored in; None = "codebook" with a goal, else "float16".
        tables: how tables whose rows are looked up, such as embeddings, are stored: "int8" or "int4", integers with a
            scale a row, "float16" or "float32"; "auto" = the smallest that costs the outputs little.
        drop_rows: rows of tables that no input will look up, by name of the table or of a node that looks up: integers,
            text such as "5,10-20", or the path of a text file of these or of an .npy of integers. They become one row.
        pack: store the weights packed.
        names: "readable": nodes that unpack a weight are named after it; "short": they have no names, and values of a
            model on integers have short ones; "auto": readable if that takes at most a hundredth of the file.
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
        batch_size: inputs run at once, where the model's batch is free; None = 32, or fewer if they are large.
        limit: most calibration inputs used, drawn at random; None = all.
        seed: of every random choice.
        pictures: how pictures become inputs.
        classes: file with one class name per line, for pictures in class folders.
        label_offset: added to every label to give the index of its class in the model's output.
        metric: what models are judged by: the name of a measure, such as "spearman" (docs/goals.md has them all),
            "module:function" or a function(outputs, labels) -> float, higher is better; None = what suits the data.
        mask: input that says which positions of the others are real, such as "attention_mask"; what it excludes counts
            nowhere. None = inputs with such a name, "none" = no input.
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
        profile: time both models in turn for the report; takes seconds to a minute, longer for large models.
        threads: of one operator on the CPU while models are timed; None = one per core.
        timed_batch: samples in a run that is timed; None = the model's own batch, or 1.
        timings: report (JSON) or timing table whose times are used instead of measuring on this machine.
        work: folder that keeps finished work, so that a run that was stopped can continue.
        cluster: Dask workers that calibration, error curves and solves run on: "local:N" processes here, a scheduler's
            "tcp://host:8786", or "module:function" that gives a `distributed.Client`; None = this process, which gives
            the same bytes.
        cluster_store: folder that all workers see, or address of an object store ("s3://bucket/folder"), through which
            weights and inputs travel; None = the scheduler, and `work` for models of more than 1.5 GB.
    """

    profile: bool = False
    threads: int | None = None
    timed_batch: int | None = None
    timings: Path | None = None
    work: Path | None = None
    cluster: str | None = None
    cluster_store: str | Path | None = None


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
    repair: bool | None
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
    cluster_store: str | Path | None
