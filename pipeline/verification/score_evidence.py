"""Whether numbers look like class scores: by how they vary over the inputs, and by what the output is called."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import numpy.typing as npt

FREE = 0.5
"""Freedom of the mean from which numbers are no scores that compete. Of classifiers trained with cross-entropy it is at
most 0.45 on 64 inputs, of boxes, points and angles 0.8 and more; of scores trained one by one, and of a thousand
classes, it may be as large, so that it decides alone only for few numbers."""
ORDERED = 0.5
"""Order from which it is that of the entries and not of the inputs. Of landmarks it is 0.59 to 0.99, of classifiers on
inputs of all classes at most 0.25."""
STANDS_OUT = 0.5
"""Skewness from which one number stands out of the others, as the score of the right class does. On inputs of a single
class classifiers have as much order as landmarks, and skewness tells them apart: 0.5 to 1.8 against at most 0.1."""
FEW = 4
"""Numbers of which a mean that is free is sign enough: scores of so few classes, also those trained one by one, share
what one of them gains (freedom up to 0.2), and boxes need not be ordered."""
WIDE = 32
"""Numbers from which their skewness tells an embedding, and below which there is none."""
LEVEL = 0.2
"""Skewness up to which none of so many numbers stands out. Of sentence embeddings, as they are or projected to 32 to
1,000 numbers, it is at most 0.08; of classifiers, and of any 32 of their classes, at least 0.38."""
SMOOTH = 0.3
"""Correlation of neighbours from which numbers are those of a signal: the order of an embedding's says nothing."""
UNIT = 1e-3
"""How far norms may be from 1."""
CONSTANT = 1e-12
"""Numbers whose variance is no more than this share of their mean square are the same for every input."""
FEWEST_INPUTS = 32
"""Inputs below which the numbers themselves say nothing."""
SCORE_WORDS = {
    *("logit", "prob", "proba", "probability", "probabilities", "softmax", "score", "conf", "confidence"),
    *("class", "cls", "label", "category", "categories"),
}
OTHER_WORDS = {
    *(
        "box",
        "bbox",
        "landmark",
        "keypoint",
        "kps",
        "point",
        "coord",
        "coordinate",
        "loc",
        "location",
        "offset",
        "delta",
    ),
    *("pose", "angle", "reg", "regression", "embedding", "embed", "feature", "reconstruction", "depth"),
}
EMBEDDING_WORDS = {"embedding", "embed", "feature", "pooled", "pooler"}
"""Words in an output's name, in the singular."""


@dataclasses.dataclass(frozen=True)
class ScoreFigures:
    """How the numbers of an output vary.

    Attributes:
        freedom: variance of a sample's mean over that of as many independent numbers: 1 for independent ones, as many
            as there are where all rise and fall together. The gradient of cross-entropy adds up to 0 over the classes,
            so that training leaves the mean of the scores alone: hardly above 0.
        order: share of the entries' variance within a sample that is the same in every sample. The x of the left ear is
            always less than that of the right one; which class is on top differs from input to input.
        skewness: of the numbers of a sample, on average: above 0 where one of them stands out.
    """

    freedom: float
    order: float
    skewness: float


def score_figures(values: npt.NDArray[np.floating]) -> ScoreFigures | None:
    """The figures of an output's numbers (samples, entries); None where they do not vary or are not finite."""
    wide = values.astype(np.float64)
    if not np.isfinite(wide).all():
        return None
    varying = float(np.mean(np.var(wide, axis=0)))
    centred = wide - wide.mean(axis=1, keepdims=True)
    pattern, rest = float(np.var(centred.mean(axis=0))), float(np.mean(np.var(centred, axis=0)))
    least = CONSTANT * float(np.mean(wide**2))
    if varying <= least or pattern + rest <= least:
        return None
    scales = np.maximum(centred.std(axis=1, keepdims=True), np.finfo(float).tiny)
    return ScoreFigures(
        freedom=wide.shape[1] * float(np.var(wide.mean(axis=1))) / varying,
        order=pattern / (pattern + rest),
        skewness=float(np.mean((centred / scales) ** 3)),
    )


def why_no_scores(values: npt.NDArray[np.floating], name: str) -> str | None:
    """Why the largest of an output's numbers is no answer; None where it may be one.

    When in doubt it may: there must be a mean that is free, and order that is not that of one class on top, or so few
    numbers that the mean alone tells, or so many that one of them would stand out. A name that speaks of scores
    outweighs all of it; with one that speaks of something else either sign is enough, and none is needed where the
    inputs are too few to show any.

    Args:
        values: what the model gives, (samples, entries).
        name: of the output.
    """
    if speaks_of_scores(name):
        return None
    named = sorted(_words(name) & OTHER_WORDS)
    if len(values) < FEWEST_INPUTS:
        return f"its name speaks of {named[0]!r}" if named else None
    figures = score_figures(values)
    if figures is None:
        return None
    free = "they do not compete as scores do: the larger one is, the smaller the others need not be"
    ordered = "they come in much the same order for every input"
    if values.shape[1] >= WIDE and abs(figures.skewness) < LEVEL:
        return "none of them stands out as the score of the right class does"
    is_free = figures.freedom >= FREE
    is_ordered = figures.order >= ORDERED and figures.skewness < STANDS_OUT
    if is_free and is_ordered:
        return f"{free}, and {ordered}"
    if is_free and (named or values.shape[1] <= FEW):
        return free
    return f"its name speaks of {named[0]!r}, and {ordered}" if is_ordered and named else None


def speaks_of_scores(name: str) -> bool:
    """Whether an output is called what scores are called, such as `logits` or `class_probabilities`."""
    return bool(_words(name) & SCORE_WORDS)


def looks_like_embedding(values: npt.NDArray[np.floating], name: str) -> bool:
    """Whether numbers that are no scores are an embedding, of which the direction counts.

    By its name, by norms of 1, or because none of many numbers stands out, neighbours have nothing to do with each
    other, and their order differs from input to input.

    Args:
        values: what the model gives, (samples, entries).
        name: of the output.
    """
    if values.shape[1] < WIDE:
        return False
    wide = values.astype(np.float64)
    if _words(name) & EMBEDDING_WORDS or np.allclose(np.linalg.norm(wide, axis=1), 1.0, atol=UNIT):
        return True
    figures = score_figures(wide) if len(wide) >= FEWEST_INPUTS else None
    if figures is None or figures.order >= ORDERED:
        return False
    return abs(figures.skewness) < LEVEL and abs(_correlation_of_neighbours(wide)) < SMOOTH


def _correlation_of_neighbours(values: npt.NDArray[np.float64]) -> float:
    """Of an entry with the next one, over all entries and samples (samples, entries)."""
    centred = values - values.mean(axis=1, keepdims=True)
    return float(np.sum(centred[:, 1:] * centred[:, :-1]) / max(np.sum(centred**2), np.finfo(float).tiny))


def _words(name: str) -> set[str]:
    """Words in a name, small, and in the singular as well."""
    words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}
    return words | {word.removesuffix(end) for word in words for end in ("s", "es")}
