"""What runs on integers and what that brings, in sentences."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Sequence

from netsurgeon.pipeline.notation import counted
from netsurgeon.pipeline.profiling import Profile, Timed
from netsurgeon.pipeline.quantization import IntegerFacts, without_times

BOUND_OF_PRUNING = (
    "The bound and the error beside it are those of pruning alone: integers come after it, and what they change is "
    "part of the relative error of the outputs"
)
MOST_NAMES = 4
"""Layers that a sentence names; the page has all in a table."""


def integer_summary(integers: IntegerFacts | None, latency: Profile | None = None) -> tuple[str, ...]:
    """What runs on integers, how fast that is, as what, what stays on floats and why, and how exact the kernels are.

    Args:
        integers: facts of the delivered model; None where all of it stays on floats, which says nothing.
        latency: both models timed in turn, with an interval; what was timed on the way counts where there is none.
    """
    if integers is None:
        return ()
    first = _count(integers)
    speed = speed_on_integers(integers, latency)
    first += f": {speed}" if speed else ""
    stay = ((layer.name, layer.reason) for layer in integers.layers if layer.reason is not None)
    kernels = (*_kernel_names(integers), *_sparse_sentences(integers))
    return (first, *kernels, *stay_summary(stay), _kernel_sentence(integers.kernel_difference))


def _count(integers: IntegerFacts) -> str:
    """How many layers run on integers, or have weights of integers where the file's activations are floats."""
    bits = weight_bits([layer.bits for layer in integers.layers if layer.bits is not None])
    layers = counted(len(integers.layers), "layer")
    if not integers.values:
        return f"{integers.on_integers} of {layers} have integer weights ({bits}; activations are floats in the file)"
    running = sum(layer.runs_on_integers for layer in integers.layers)
    where = "" if running == integers.on_integers else " on this machine"
    return f"{running} of {layers} run on integers{where} ({bits}, 8-bit activations)"


def _sparse_sentences(integers: IntegerFacts) -> tuple[str, ...]:
    """How many layers sparse kernels run, and in what time; nothing where they run none."""
    sparse = [layer for layer in integers.layers if layer.sparse_ms is not None]
    both = [(layer.integers_ms, layer.sparse_ms) for layer in sparse if layer.integers_ms and layer.sparse_ms]
    if not sparse:
        return ()
    count = f"sparse kernels run {len(sparse)} of them"
    if not both:
        return (count,)
    dense_ms, sparse_ms = (sum(times) for times in zip(*both, strict=True))
    return (f"{count}, in {sparse_ms:.3g} ms where dense ones take {dense_ms:.3g} ms",)


def form_name(form: str | None) -> str:
    """How weights are kept, as people read it: which forms are integers, and which are floats."""
    names = {"int8": "integers", "w4a8": "integers (mixed bits)", "codebook": "floats (codebook)"}
    return names.get(form, f"floats ({form})") if form else "not rounded"


def weight_bits(bits: Sequence[int]) -> str:
    """`7-bit weights`, or `4-bit weights, 7-bit ones in 3 layers`: the most frequent first."""
    counts = collections.Counter(bits).most_common()
    others = (f"{number}-bit ones in {counted(count, 'layer')}" for number, count in counts[1:])
    return ", ".join((*(f"{number}-bit weights" for number, _ in counts[:1]), *others))


def speed_on_integers(integers: IntegerFacts, latency: Profile | None) -> str | None:
    """How fast the delivered model is beside the dense one; None where neither was timed."""
    timing = latency.timings[0] if latency else None
    if timing is None or timing.other is None or timing.speedup is None:
        return compared_speed(integers.timed) if integers.timed else None
    times = f"{timing.model.median:.3g} ms → {timing.other.median:.3g} ms"
    if timing.speedup.low <= 1.0 <= timing.speedup.high:
        return f"no difference in speed from the dense model is shown ({times})"
    return f"{timing.speedup.value:.2f} times as fast as the dense model ({times})"


def compared_speed(timed: Timed) -> str:
    """How fast a model is beside the dense one; nothing is claimed where the interval leaves it undecided."""
    times = f"{timed.dense:.3g} ms → {timed.model:.3g} ms"
    if timed.is_undecided:
        return f"no difference in speed from the dense model is shown ({times}: {timed.faster})"
    return f"{timed.speedup:.2f} times as fast as the dense model ({times})"


def stay_summary(reasons: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Layers that stay on floats, a sentence for each reason; figures of single layers are left to the tables.

    Args:
        reasons: name and reason of each layer.
    """
    groups: dict[str, list[tuple[str, str]]] = {}
    for name, reason in reasons:
        groups.setdefault(without_times(reason), []).append((name, reason))
    sentences = []
    for short, layers in groups.items():
        names = _named([name for name, _ in layers])
        whole = {reason for _, reason in layers}
        reason = next(iter(whole)) if len(whole) == 1 else short
        sentences.append(f"{names} stay{'s' if len(layers) == 1 else ''} on floats: {reason}")
    return tuple(sentences)


def _kernel_names(integers: IntegerFacts) -> tuple[str, ...]:
    """What ONNX Runtime runs the layers as, and those of whose integers it makes floats, as far as there are any."""
    kernels = collections.Counter(layer.kernel for layer in integers.layers if layer.runs_on_integers).most_common()
    run_as = ", ".join(f"{count} as {kernel}" for kernel, count in kernels)
    floats = [layer.name for layer in integers.layers if layer.bits is not None and not layer.runs_on_integers]
    return (
        *([f"On this machine ONNX Runtime runs {run_as}"] if run_as else []),
        *([f"ONNX Runtime makes floats of the integers of {_named(floats)}"] if floats else []),
    )


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"{', '.join(names[:MOST_NAMES])}{more}"


def _kernel_sentence(difference: float) -> str:
    if difference == 0.0:
        return "On this machine integer kernels gave the outputs of the same file in float arithmetic, to the last bit"
    return (
        "On this machine integer kernels changed the outputs of the same file in float arithmetic by "
        f"{difference:.2%} of their size, because they round at other places"
    )
