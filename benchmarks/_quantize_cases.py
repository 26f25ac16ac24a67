"""What `quantize.py` measures: models, what is done to them, and what must be reached."""

from __future__ import annotations

import dataclasses
from typing import Any

RESNET50 = "resnet50_shape"
"""The shape of ResNet-50 with seeded He weights: its answers mean nothing, so that only fidelity and time are told."""
RUNS = ("int8", "portable", "w4a8", "joint", "goal", "size", "zoo", "peers")
PORTABLE_ERROR, PORTABLE_AGREEMENT = 1.5, 0.5
"""How many times the logit error, and how many points less agreement, a file for every processor may have."""


@dataclasses.dataclass(frozen=True)
class Must:
    """What a row has to reach; None = only reported.

    Attributes:
        top1: in percent, at least.
        agreement: answers equal to the dense model's, in percent, at least.
        error: mean square of quantized - dense over the variance of the dense outputs, at most.
        latency: quantized over dense at batch 1, at most.
        latency32: the same at batch 32.
        ratio: how many times smaller the file must be, at least.
        stretch: latency at batch 1 that would be better still.
        lost: points of top-1 that may go, at most.
    """

    top1: float | None = None
    agreement: float | None = None
    error: float | None = None
    latency: float | None = None
    latency32: float | None = None
    ratio: float | None = None
    stretch: float | None = None
    lost: float | None = None


@dataclasses.dataclass(frozen=True)
class Case:
    """One row of the product.

    Attributes:
        model: file name without suffix.
        data: mnist, cifar10 or imagenet.
        run: one of RUNS.
        what: what is done, in words.
        options: of `compress`.
        must: what has to be reached.
        limit: calibration inputs with labels, for rows that search; None = inputs without labels.
    """

    model: str
    data: str
    run: str
    what: str
    options: dict[str, Any] = dataclasses.field(hash=False)
    must: Must = Must()
    limit: int | None = None

    @property
    def name(self) -> str:
        """Model and what is done."""
        return f"{self.model}/{self.what}"


INT8: dict[str, Any] = {"quantize": "int8", "target": "cpu-vnni"}
FOR_BATCHES = "int8, --timed-batch 32"
"""Layers are chosen by the time of a run of 32 samples, not of one."""
DATA = {
    "lenet5_dense": "mnist",
    "resnet20_cifar10": "cifar10",
    "resnet56_cifar10": "cifar10",
    "squeezenet1_1_imagenet": "imagenet",
    "mobilenet_v1_025_imagenet": "imagenet",
    "shufflenet_v2_imagenet": "imagenet",
    RESNET50: "imagenet",
}
LABELLED = {"mnist": 6000, "cifar10": 4096, "imagenet": 500}
"""Calibration inputs of rows that search: those of goals.py."""
_INT8 = {
    "lenet5_dense": Must(99.0, 99.9, 0.0002, 0.70, 0.60, 3.7),
    "resnet20_cifar10": Must(80.9, 98.6, 0.0012, 0.52, 0.47, 3.8),
    "resnet56_cifar10": Must(83.0, 98.4, 0.0015, 0.50, 0.42, 3.8),
    "squeezenet1_1_imagenet": Must(58.6, 96.8, 0.0012, 0.45, 0.43, 3.8),
    "mobilenet_v1_025_imagenet": Must(58.0, 95.5, 0.0027, 0.70, 0.63, 3.8),
    "shufflenet_v2_imagenet": Must(83.6, 98.0, 0.007, 0.78, None, 3.7, stretch=0.65),
    RESNET50: Must(latency=0.32, latency32=0.32, ratio=3.9),
}
_W4A8 = {
    "lenet5_dense": Must(),
    "resnet20_cifar10": Must(80.6, 96.5, ratio=7.2),
    "resnet56_cifar10": Must(82.8, 97.2, ratio=7.2),
    "squeezenet1_1_imagenet": Must(57.2, 86.0, ratio=7.0),
    "mobilenet_v1_025_imagenet": Must(57.0, 86.0, ratio=5.5),
    "shufflenet_v2_imagenet": Must(82.0, 92.0, ratio=5.0),
    RESNET50: Must(),
}
_JOINT: tuple[tuple[str, str, dict[str, Any], Must], ...] = (
    ("resnet20_cifar10", "50 % + int8", {**INT8, "sparsity": 0.5}, Must(81.0, latency=0.52, ratio=6.5)),
    ("resnet20_cifar10", "50 % + w4a8", {**INT8, "quantize": "w4a8", "sparsity": 0.5}, Must(80.5, ratio=10.0)),
    ("resnet56_cifar10", "50 % + int8", {**INT8, "sparsity": 0.5}, Must(82.9, None, None, 0.50, 0.42, 6.2)),
    ("resnet56_cifar10", "20 % trimmed + int8", {**INT8, "trim": 0.2}, Must(82.0, latency=0.42)),
    ("squeezenet1_1_imagenet", "50 % + int8", {**INT8, "sparsity": 0.5}, Must(56.0, ratio=6.0)),
)
_GOAL = {
    "lenet5_dense": Must(latency=1 / 2.0, ratio=40.0, lost=1.0),
    "resnet20_cifar10": Must(latency=1 / 1.9, ratio=5.0, lost=1.0),
    "resnet56_cifar10": Must(latency=1 / 1.9, ratio=5.0, lost=1.0),
    "squeezenet1_1_imagenet": Must(latency=1 / 1.9, ratio=5.0, lost=1.0),
    "mobilenet_v1_025_imagenet": Must(latency=1 / 1.35, ratio=4.0, lost=1.0),
    "shufflenet_v2_imagenet": Must(latency=1 / 1.25, ratio=4.0, lost=1.0),
}
_SMALLEST = {
    "lenet5_dense": Must(ratio=83.0, lost=1.0),
    "resnet20_cifar10": Must(ratio=7.2, lost=1.0),
    "resnet56_cifar10": Must(ratio=8.6, lost=1.0),
    "squeezenet1_1_imagenet": Must(ratio=5.9, lost=1.0),
    "mobilenet_v1_025_imagenet": Must(ratio=5.4, lost=1.0),
    "shufflenet_v2_imagenet": Must(ratio=5.2, lost=1.0),
}
"""What zeros alone reach on floats; with bits the aim is 100, 10, 12, 9, 8 and 7."""


def _portable(must: Must) -> Must:
    """What a file for every processor has to reach."""
    return dataclasses.replace(
        must,
        error=None if must.error is None else PORTABLE_ERROR * must.error,
        agreement=None if must.agreement is None else must.agreement - PORTABLE_AGREEMENT,
    )


def _for_batches(must: Must) -> Must:
    """What a file whose layers were chosen for batches has to reach: no time of a single sample."""
    return dataclasses.replace(must, latency=None, stretch=None)


def _cases() -> list[Case]:
    """All rows, in the order of the models."""
    cases = []
    for model, data in DATA.items():
        cases += [
            Case(model, data, "int8", "int8", INT8, _INT8[model]),
            Case(model, data, "portable", "int8, portable", {**INT8, "target": "cpu"}, _portable(_INT8[model])),
            Case(model, data, "w4a8", "w4a8", {**INT8, "quantize": "w4a8"}, _W4A8[model]),
        ]
        if _INT8[model].latency32 is not None and model != RESNET50:
            options = {**INT8, "timed_batch": 32}
            cases.insert(-2, Case(model, data, "int8", FOR_BATCHES, options, _for_batches(_INT8[model])))
        joint = (entry for entry in _JOINT if entry[0] == model)
        cases += [Case(model, data, "joint", what, options, must) for _, what, options, must in joint]
        limit = LABELLED[data]
        if model == "resnet56_cifar10":
            options = {"speedup": 2.0, "max_drop": "2%", **INT8}
            faster = Must(82.0, latency=0.42)
            cases.append(Case(model, data, "joint", "--speedup 2 --max-drop 2%", options, faster, limit))
        if model in _GOAL:
            cases.append(Case(model, data, "goal", "--max-drop 1%", {"max_drop": "1%"}, _GOAL[model], limit))
            options = {"max_drop": "1%", "prefer": "size"}
            cases.append(Case(model, data, "size", "--max-drop 1% --prefer size", options, _SMALLEST[model], limit))
    return cases


CASES = tuple(_cases())


def shortfalls(figures: dict[str, float | None], must: Must) -> dict[str, str]:
    """What a row misses, in words, by the name of the figure; what was not measured counts as missed.

    Args:
        figures: by the names of the fields of `Must`.
        must: what has to be reached.
    """
    at_least = {"top1": must.top1, "agreement": must.agreement, "ratio": must.ratio}
    at_most = {"error": must.error, "latency": must.latency, "latency32": must.latency32, "lost": must.lost}
    missed = {}
    for name, bound in (*at_least.items(), *at_most.items()):
        figure = figures.get(name)
        if bound is None:
            continue
        if figure is None:
            missed[name] = f"{name} was not measured"
        elif figure < bound - 1e-9 if name in at_least else figure > bound + 1e-9:
            missed[name] = f"{name} {figure:.3g}, must be {'≥' if name in at_least else '≤'} {bound:.3g}"
    return missed
