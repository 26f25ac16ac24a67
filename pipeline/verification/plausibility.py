"""Whether the inputs can show that a model got worse, and whether the dense model does on them what it should."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from netsurgeon.pipeline.data import Samples
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.notation import MeasureName, counted
from netsurgeon.pipeline.options import DEFAULT_DROP, Goals
from netsurgeon.pipeline.progress import Ticks, no_ticks, ticking
from netsurgeon.pipeline.runtime import Session
from netsurgeon.pipeline.verification.judging import Judging
from netsurgeon.pipeline.verification.measures import (
    F1,
    Answers,
    Measure,
    Perplexity,
    batches_of,
    class_scores,
    vocabulary_output,
)
from netsurgeon.pipeline.verification.measures.texts import LARGEST_EXPONENT

EXAMINED: tuple[MeasureName, ...] = ("top-1", "agreement", "f1", "cosine", "outputs")
"""Measures of answers, and of outputs beside the dense model's: a model that always answers the same may do well."""

MOST_EXAMINED = 1024
"""Inputs that are looked at, at most, unless the answers on all are needed anyway: a look before long work."""
FEWEST_FOR_CHANCE = 32
"""Labels below which nothing is said of chance; of a language model so many inputs mostly tell, each of many tokens."""
SURE = 3.0
"""Standard errors by which a perplexity must be worse than that of guessing for a goal by it to be refused: that of a
model of four letters, 3.92 on all inputs, was above 4 on 32 of them in one draw of twenty."""
LEAST_FACTOR, LEAST_FACTOR_WITHOUT_LABELS = 1.0, 5.0
"""How many times the goal a model that always answered the same would have to lose. Without labels it is more, because
answers that hardly vary are then the only sign of inputs that were not prepared as the model wants them."""
ENOUGH = 0.25
"""Loss of such a model that is enough for every goal below it."""
_PREPARE = "check how the inputs are prepared (--scale, --mean, --std, --channels, --layout)"


def examine_dense_model(
    dense: Session,
    samples: Samples,
    *,
    judging: Judging,
    goals: Goals | None,
    most: int = MOST_EXAMINED,
    ticks: Ticks = no_ticks,
) -> tuple[Message, ...]:
    """Look at the dense model's answers before anything is judged by them.

    Agreement with a model that gives one and the same answer to all inputs is kept by any model that does, too: such
    inputs prove nothing. The yardstick is therefore what a model would lose that always gave the dense model's most
    common answer (its mean output, where there are no class scores).

    Args:
        dense: the dense model.
        samples: the inputs that decide.
        judging: how models are judged; of measures other than EXAMINED and perplexity nothing is said.
        goals: what is wanted; None where nothing depends on the drop.
        most: inputs that are looked at.
        ticks: called for every batch.

    Returns:
        A warning where the answers hardly vary, or tokens are better guessed, and no goal depends on them.

    Raises:
        InputError: a goal depends on such answers, or they are no better than chance.
    """
    if judging.name == "perplexity":
        return _check_against_guessing(dense, samples.subset(most, np.random.default_rng(0)), goals, ticks)
    if judging.name not in EXAMINED:
        return ()
    samples = samples.subset(most, np.random.default_rng(0))
    measure = judging.measure(samples)
    answers, varying_share = _answers(dense, samples, measure, judging, ticks)
    if answers is not None and answers.labels is not None:
        _check_against_chance(answers)
    if answers is None:
        loss, factor = varying_share, LEAST_FACTOR_WITHOUT_LABELS
        what = f"only {varying_share:.2%} of the energy of the dense model's outputs varies from input to input"
    else:
        count, most_common = len(answers.classes), int(np.bincount(answers.classes).max())
        what = f"the dense model gives one and the same class to {most_common:,} of {count:,} inputs"
        factor = LEAST_FACTOR_WITHOUT_LABELS if answers.labels is None else LEAST_FACTOR
        loss = _lost_by_one_answer(measure, answers)
    limit = DEFAULT_DROP if goals is None or goals.max_drop is None else goals.max_drop
    if loss >= min(factor * limit, max(limit, ENOUGH)) or not math.isfinite(loss):
        return ()
    if goals is not None and goals.max_drop is not None:
        raise InputError(
            f"{what}: a model that always answered the same would pass for one that keeps to {goals}; {_PREPARE}, give "
            "inputs of all kinds, or --sparsity or --trim in place of a goal"
        )
    text = f"{what}: how well the compressed model agrees with it on such inputs says little; {_PREPARE}"
    return (Message(text, "answers-alike", loss=loss, samples=samples.count),)


def _lost_by_one_answer(measure: Measure, answers: Answers) -> float:
    """What a model would lose that gave the dense model's most common answer to all inputs."""
    one_answer = np.full(len(answers.classes), np.bincount(answers.classes).argmax())
    if answers.labels is None:
        return 1.0 - Answers(one_answer, None).agreement(answers)
    if isinstance(measure, F1):
        rows = [np.stack([classes, answers.labels], axis=1) for classes in (answers.classes, one_answer)]
        return float(-np.diff(measure.figure(np.stack(rows)))[0])
    return (answers.top1 or 0.0) - (Answers(one_answer, answers.labels).top1 or 0.0)


def _answers(
    dense: Session, samples: Samples, measure: Measure, judging: Judging, ticks: Ticks
) -> tuple[Answers | None, float]:
    """The dense model's answers; without class scores the share of its float outputs' energy that is not their mean."""
    classes, has_scores = [], judging.name in ("top-1", "agreement", "f1")
    count, sums, squares = 0, dict[str, np.ndarray](), dict[str, float]()
    for batch in ticking(batches_of(samples), ticks, samples.batch_count):
        outputs = dense.run(batch.feed)
        scores = class_scores(outputs, batch, judging.class_outputs)
        has_scores = has_scores and scores is not None
        classes += [] if scores is None else [scores.argmax(axis=1)]
        rows = batch.count
        count += rows
        for name, value in outputs.items():
            if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.size:
                per_sample = value.shape[:1] == (rows,)
                wide = np.nan_to_num(value.astype(np.float64), posinf=0.0, neginf=0.0).reshape(
                    rows if per_sample else 1, -1
                )
                total = wide.sum(axis=0)
                fits = name not in sums or sums[name].shape == total.shape
                sums[name] = sums[name] + total if name in sums and fits else total
                squares[name] = squares.get(name, 0.0) + float(np.sum(wide**2)) if fits else math.inf
    if has_scores and classes:
        labels = samples.classes if measure.needs_labels else None
        labels = None if labels is None else labels + judging.label_offset
        return Answers(np.concatenate(classes), labels), math.nan
    shares = [
        1.0 - float(np.sum(sums[name] ** 2)) / count / energy
        for name, energy in squares.items()
        if 0.0 < energy < math.inf
    ]
    return None, max(float(np.mean(shares)), 0.0) if shares and count > 1 else math.nan


def _check_against_guessing(dense: Session, samples: Samples, goals: Goals | None, ticks: Ticks) -> tuple[Message, ...]:
    """A warning where the dense model's perplexity is above that of equal odds for all tokens, their number.

    Only where a few inputs do not tell that it is below are the others looked at.

    Raises:
        InputError: it is by `SURE` standard errors, and a goal depends on it.
    """
    for part in (samples.subset(FEWEST_FOR_CHANCE, np.random.default_rng(0)), samples):
        nats, vocabulary = _nats(dense, part, ticks)
        mean, error = _ratio(nats)
        if mean + SURE * error < math.log(vocabulary):
            return ()
    if not mean > math.log(1.001 * vocabulary):  # guesses are not rounded alike
        return ()
    perplexity = float(np.exp(min(mean, LARGEST_EXPONENT)))
    what = (
        f"the dense model's perplexity is {perplexity:.4g} on {counted(samples.count, 'input')}, and guessing would "
        f"reach that of its vocabulary, {vocabulary:,}"
    )
    check = "check the tokenizer, the labels (the token that follows each position), and that it is a language model"
    is_doubtful = mean - SURE * error <= math.log(vocabulary)  # NaN, of a token with a probability of 0, is not
    if goals is not None and goals.max_drop is not None and not is_doubtful:
        raise InputError(f"{what}: to keep to {goals} would prove nothing; {check}")
    text = f"{what}: what the compressed model's is says little; {check}"
    return (Message(text, "worse-than-chance", perplexity=perplexity, vocabulary=vocabulary, samples=samples.count),)


def _nats(dense: Session, samples: Samples, ticks: Ticks) -> tuple[npt.NDArray[np.float64], int]:
    """Negative log-likelihood and number of tokens of each input, (inputs, 2), and how many tokens there are."""
    reading, vocabulary = Perplexity().reading(), 0
    for batch in ticking(batches_of(samples), ticks, samples.batch_count):
        outputs = dense.run(batch.feed)
        reading.add(outputs, batch)
        vocabulary = outputs[vocabulary_output(outputs, batch) or ""].shape[2]  # read, so that there is one
    return reading.rows, vocabulary


def _ratio(rows: npt.NDArray[np.float64]) -> tuple[float, float]:
    """The sum of the first column as a share of the second's, and its standard error over the rows.

    But for terms of higher order the error is that of the mean of what each row has beyond the ratio (Cochran, Sampling
    Techniques, 1977, section 6).
    """
    numbers, counts = rows.T
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = numbers.sum() / counts.sum()
        beyond = (numbers - ratio * counts) / counts.mean()
        error = beyond.std(ddof=1) / math.sqrt(len(rows)) if len(rows) > 1 else math.inf
    return float(ratio), float(error)


def _check_against_chance(answers: Answers) -> None:
    """Check that answers and labels have to do with each other.

    Were they independent, sum over classes of share of answers x share of labels would be right by chance.

    Raises:
        InputError: no more are right than that, within two standard deviations.
    """
    assert answers.labels is not None
    count = len(answers.classes)
    size = int(max(answers.classes.max(), answers.labels.max())) + 1
    shares = [np.bincount(side, minlength=size) / count for side in (answers.classes, answers.labels)]
    chance = float(shares[0] @ shares[1])
    right = round((answers.top1 or 0.0) * count)
    if count < FEWEST_FOR_CHANCE or chance > 0.9:  # where nearly all labels are alike chance is right, too
        return
    if right <= count * chance + 2.0 * math.sqrt(count * chance * (1.0 - chance)):
        raise InputError(
            f"the dense model gives the label's class to {right:,} of {count:,} inputs, no more than chance "
            f"({count * chance:,.0f}): {_PREPARE}, the order of the classes (--classes) and --label-offset"
        )
