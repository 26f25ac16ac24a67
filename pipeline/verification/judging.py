"""By what models are judged: as the user names it, or as labels and outputs suggest."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.pipeline.data import Samples
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.notation import MEASURES, MeasureName, counted
from netsurgeon.pipeline.options import Metric
from netsurgeon.pipeline.runtime import Session
from netsurgeon.pipeline.verification.measures import (
    F1,
    Auc,
    Batch,
    Cosine,
    Measure,
    OutputEnergy,
    OwnMetric,
    Perplexity,
    Psnr,
    Spearman,
    SquaredDifference,
    TokenAgreement,
    Top1,
    TopAgreement,
    batches_of,
    class_scores,
    counted_positions,
    ends_of,
    load_metric,
    peak_of,
    vocabulary_output,
)
from netsurgeon.pipeline.verification.measures.base import Outputs
from netsurgeon.pipeline.verification.score_evidence import speaks_of_scores, why_no_scores
from netsurgeon.pipeline.verification.score_outputs import (
    ClassOutputs,
    find_class_outputs,
    find_embeddings,
    outputs_by_graph,
)

MOST_UNSEEN, WIDEST_SEEN = 2, 1_000
"""How many times as many scores as tokens that are fed a model of language may have, whatever its numbers look like:
beyond it, as with letters or amino acids, they may be hidden states that are wider than the vocabulary. Where there are
more numbers than the second figure they need only be more than the tokens: few texts have half the words of a language,
and of 32,000 numbers with one that stands out the skewness is as small as that of an embedding."""


@dataclasses.dataclass(frozen=True)
class Judging:
    """How models are judged on inputs of one kind.

    Attributes:
        name: of the measure.
        class_outputs: names of the outputs that are judged by their largest number; None = all.
        class_count: how many scores there are for each input, where the user has named a measure of classes; else 0.
        embedding_outputs: names of the outputs that are embeddings.
        label_offset: added to the label of a class to give its index in the outputs.
        own: the user's metric, if that is the measure.
        peak: the largest value of the targets, for PSNR.
        is_named: whether the user has named the measure.
        notes: what the user may want to know of the choice.
        warnings: what was left out.
    """

    name: MeasureName
    class_outputs: tuple[str, ...] | None = None
    class_count: int = 0
    embedding_outputs: tuple[str, ...] = ()
    label_offset: int = 0
    own: OwnMetric | None = None
    peak: float = 1.0
    is_named: bool = False
    notes: tuple[Message, ...] = ()
    warnings: tuple[Message, ...] = ()

    def measure(self, samples: Samples) -> Measure:
        """The measure on these inputs: of top classes by their labels, where they have some.

        Raises:
            InputError: what it needs does not stand beside them.
        """
        name = self.name
        if name in ("top-1", "agreement") and not self.is_named:
            name = "agreement" if samples.classes is None else "top-1"
        measure = self._makers(samples)[name]()
        measure.check_labels(samples)
        return measure

    def _makers(self, samples: Samples) -> Mapping[MeasureName, Callable[[], Measure]]:
        classes, offset = self.class_outputs, self.label_offset
        embeddings, is_paired = self.embedding_outputs, samples.is_paired

        def own() -> Measure:
            assert self.own is not None
            return self.own

        return {
            "top-1": lambda: Top1(classes, offset),
            "agreement": lambda: TopAgreement(classes, offset),
            "f1": lambda: F1(self.class_count, classes, offset),
            "auc": lambda: Auc(
                is_paired=is_paired,
                embedding_outputs=embeddings,
                class_outputs=classes,
                class_count=self.class_count,
                label_offset=offset,
            ),
            "spearman": lambda: Spearman(is_paired=is_paired, embedding_outputs=embeddings),
            "cosine": lambda: Cosine(embeddings),
            "outputs": OutputEnergy,
            "perplexity": Perplexity,
            "token-agreement": TokenAgreement,
            "mse": SquaredDifference,
            "psnr": lambda: Psnr(self.peak),
            "metric": own,
        }


def choose_measure(
    model: ir.Model,
    dense: Session,
    samples: Samples,
    *,
    metric: Metric | None = None,
    label_offset: int = 0,
    labelled: bool | None = None,
) -> Judging:
    """By what models are judged: what the user names, or what labels and outputs suggest.

    Where nothing is named: top-1 where there are labels of classes, and class scores; without labels the agreement of
    the top class; of logits over a vocabulary that of the next token; of embeddings the cosine; else the error of the
    outputs.

    Args:
        model: the dense model.
        dense: its session.
        samples: inputs that decide.
        metric: as the user names it; None = nothing.
        label_offset: added to the label of a class.
        labelled: whether any inputs have labels of classes; None = as these.

    Raises:
        InputError: the metric cannot be found, or not be used with these inputs and outputs.
    """
    labelled = samples.classes is not None if labelled is None else labelled
    classes = find_class_outputs(model, dense, samples, labelled=labelled)
    judging = Judging(name="metric", class_outputs=classes.names, label_offset=label_offset)
    if metric is not None and not _is_built_in(metric):
        own = OwnMetric(load_metric(metric), label_offset)
        return dataclasses.replace(judging, own=own, is_named=True)
    default = _default(judging, classes, model, dense, samples)
    if metric is None:
        return default
    name = next(name for name in MEASURES if name == metric)
    if name == default.name:  # what is said of it is the same whether the user names it or not
        return dataclasses.replace(default, is_named=True)
    return _named(judging, name, model, dense, samples)


def labels_only_measure(judging: Judging, guide: Samples, held: Samples) -> tuple[Message, ...]:
    """A warning where labels of classes stand beside the inputs of the final measurement only, so that none guide.

    Args:
        judging: how models are judged.
        guide: inputs that guide a search.
        held: inputs of the final measurement.
    """
    if judging.name != "agreement" or judging.is_named or guide.classes is not None or held.classes is None:
        return ()
    text = (
        "only the test inputs have labels, which measure and decide nothing: the search kept to agreement with the "
        "dense model, not to top-1 accuracy; for a goal of top-1, put labels beside the inputs of --data as well"
    )
    return (Message(text, "labels-only-measure", guiding=guide.count, labelled=held.count),)


def _default(judging: Judging, classes: ClassOutputs, model: ir.Model, dense: Session, samples: Samples) -> Judging:
    """By what models are judged where the user names nothing."""
    looks = _looks(dense, samples)
    name: MeasureName = "outputs"
    embeddings: tuple[str, ...] = ()
    if _count_classes(looks, classes.names):
        name = "top-1" if samples.classes is not None else "agreement"
    elif _are_logits(model, looks):
        name = "token-agreement"
    elif embeddings := find_embeddings(model, dense, samples):
        name = "cosine"
    return dataclasses.replace(
        judging,
        name=name,
        embedding_outputs=embeddings,
        notes=_as_embeddings(classes) if name == "cosine" else classes.notes,
        warnings=_left_out(samples, name),
    )


def check_metric(metric: Metric | None) -> None:
    """Check that a metric can be found, before long work.

    Raises:
        InputError: it cannot.
    """
    if metric is not None and not _is_built_in(metric):
        load_metric(metric)


def _is_built_in(metric: Metric) -> bool:
    return isinstance(metric, str) and metric in MEASURES


def _named(judging: Judging, name: MeasureName, model: ir.Model, dense: Session, samples: Samples) -> Judging:
    """A measure that is named in place of the default: outputs are for it what it needs them to be."""
    looks = _looks(dense, samples)
    is_of_classes = name in ("top-1", "agreement", "f1", "auc")
    is_of_vectors = name == "cosine" or (name in ("spearman", "auc") and samples.is_paired)
    judging = dataclasses.replace(
        judging,
        name=name,
        class_outputs=None if is_of_classes else judging.class_outputs,
        class_count=_count_classes(looks, None) if is_of_classes else 0,
        embedding_outputs=find_embeddings(model, dense, samples, is_sure=True) if is_of_vectors else (),
        peak=peak_of(samples.labels) if name == "psnr" and samples.labels is not None else 1.0,
        is_named=True,
    )
    if is_of_classes and name != "auc" and not judging.class_count:
        raise InputError(f"the metric {name} needs class scores, and no output is a vector of them for each input")
    measure = judging.measure(samples)
    for outputs, batch in looks:
        measure.reading().add(outputs, batch, outputs)
    return judging


def _looks(dense: Session, samples: Samples) -> list[tuple[Outputs, Batch]]:
    """Outputs of batches of other sizes and shapes: what is as long as one batch may not be as long as another."""
    single = samples.subset(1, np.random.default_rng(0))
    return [(dense.run(batch.feed), batch) for batch in (*ends_of(samples), next(batches_of(single)))]


def _count_classes(looks: Iterable[tuple[Outputs, Batch]], names: Collection[str] | None) -> int:
    """How many class scores there are for each input; 0 where there are none, or not as many for all."""
    scores = [class_scores(outputs, batch, names) for outputs, batch in looks]
    widths = {0 if of_batch is None else of_batch.shape[1] for of_batch in scores}
    return widths.pop() if len(widths) == 1 else 0


def _are_logits(model: ir.Model, looks: Sequence[tuple[Outputs, Batch]]) -> bool:
    """Whether an output has a score of every token, or of every label, at each position: hidden states have not."""
    possible, are_sure = outputs_by_graph(model)
    names = {vocabulary_output(outputs, batch) for outputs, batch in looks}
    name = names.pop() if len(names) == 1 else None
    if name is None or name not in possible:
        return False
    if are_sure or speaks_of_scores(name):
        return True
    token = max(_largest_integer(outputs[name], batch) for outputs, batch in looks)
    if token <= 1:  # masks, and what else is zeros and ones, tell of positions and of no vocabulary
        return False
    widths = {outputs[name].shape[2] for outputs, _ in looks}
    if all(token < width and (width > WIDEST_SEEN or width <= MOST_UNSEEN * (token + 1)) for width in widths):
        return True
    rows = [outputs[name][counted_positions(batch, outputs[name].shape[1])] for outputs, batch in looks]
    return why_no_scores(np.concatenate(rows), name) is None


def _largest_integer(scores: npt.NDArray[np.floating], batch: Batch) -> int:
    """The largest of the integers that are fed for each position of scores (samples, positions, scores)."""
    integers = [array for array in batch.feed.values() if array.dtype.kind in "iu" and array.shape == scores.shape[:2]]
    return max((int(array.max(initial=0)) for array in integers), default=0)


def _as_embeddings(classes: ClassOutputs) -> tuple[Message, ...]:
    """The notes on numbers that are no scores, in words that say what counts in their place."""
    return tuple(
        note.with_text(note.replace("Their error counts", "The cosine to the dense model's counts"))
        for note in classes.notes
    )


def _left_out(samples: Samples, name: MeasureName) -> tuple[Message, ...]:
    """A note where what stands beside the inputs decides nothing."""
    labels = samples.labels
    if labels is None or name == "top-1":
        return ()
    what = "one for two inputs" if samples.is_paired else f"of {counted(labels.ndim, 'axis', 'axes')}"
    text = (
        f"the labels ({labels.dtype}, {what}) are no classes of scores that the model gives: they are left out, and "
        "models are compared with the dense one; --metric spearman, auc, mse, psnr, perplexity or a function of your "
        "own uses them"
    )
    return (Message(text, "targets-left-out", dtype=str(labels.dtype)),)
