"""Figures and kinds of inputs as people read them."""

from __future__ import annotations

from collections.abc import Iterator

from netsurgeon.pipeline.model_files import ModelFacts
from netsurgeon.pipeline.profiling import Profile, speedup
from netsurgeon.pipeline.verification import Validation

Row = tuple[str, str, str, str]


def inputs_measured(validation: Validation) -> str:
    """What kind of inputs the figures are of, in words."""
    if validation.folds > 1:
        return "inputs, each half by a model corrected on the other half; the delivered model is corrected on both"
    return "inputs that calibration never saw" if validation.held_out else "calibration inputs: none were held out"


def comparison_rows(
    dense: ModelFacts,
    compressed: ModelFacts,
    validation: Validation,
    *,
    latency: Profile | None = None,
    macs: tuple[float, float] | None = None,
) -> Iterator[Row]:
    """Dense against compressed: what, before, after, how they compare.

    Args:
        dense: the model that came in.
        compressed: the one that goes out.
        validation: both on the same samples.
        latency: both timed in turn; None where that was not asked for.
        macs: multiply-adds of a sample before and after; None where no units went. Of work in bodies none are known.
    """
    before, after = validation.dense, validation.compressed
    for name, old, new in (("top-1", before.top1, after.top1), ("top-5", before.top5, after.top5)):
        if old is not None and new is not None:
            yield name, f"{old:.2%}", f"{new:.2%}", f"{100 * (new - old):+.2f} points"
    if before.metric is not None and after.metric is not None:
        scale = validation.scale
        figures = scale.text(before.metric), scale.text(after.metric)
        yield scale.title, *figures, scale.change(before.metric, after.metric)
    if validation.agreement is not None:
        yield "same top class", "", f"{validation.agreement:.2%}", ""
    for timing in latency.timings if latency else ():
        if timing.other and timing.speedup:
            batch = "" if timing.batch is None else f", batch {timing.batch}"
            times = f"{timing.model.median:.3g} ms", f"{timing.other.median:.3g} ms"
            yield (f"latency{batch}", *times, speedup(timing.speedup))
    for name, was, now in (
        ("file, bytes", dense.bytes, compressed.bytes),
        ("file after gzip, bytes", dense.gzip_bytes, compressed.gzip_bytes),
        ("parameters", dense.parameters, compressed.parameters),
        ("parameters not zero", dense.nonzero, compressed.nonzero),
        *((("multiply-adds", round(macs[0]), round(macs[1])),) if macs and macs[0] else ()),
    ):
        if was is None or now is None:  # gzip of a file of gigabytes
            continue
        yield name, f"{was:,}", f"{now:,}", f"÷ {was / max(now, 1):.2f}"
    yield "opset", str(dense.opset), str(compressed.opset), ""
