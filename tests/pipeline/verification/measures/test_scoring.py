"""Answers against labels and against each other, counted by hand."""

import numpy as np
import pytest

from netsurgeon.pipeline.verification.measures.base import Batch
from netsurgeon.pipeline.verification.measures.scoring import Answers, class_scores, hits_in_top

LABELS = np.array([0, 1, 2, 3, 0, 1])
DENSE = Answers(np.array([0, 1, 2, 0, 0, 2]), LABELS)
OTHER = Answers(np.array([0, 1, 0, 3, 1, 2]), LABELS)


def test_right_and_wrong_answers_are_shares_of_the_samples() -> None:
    assert (DENSE.top1, DENSE.error) == (4 / 6, 2 / 6)
    assert (OTHER.top1, OTHER.error) == (3 / 6, 3 / 6)
    unlabelled = Answers(DENSE.classes, None)
    assert (unlabelled.top1, unlabelled.error) == (None, None)


def test_what_only_one_of_two_models_gets_right() -> None:
    assert (DENSE.only_right(OTHER), OTHER.only_right(DENSE)) == (2, 1)
    assert DENSE.agreement(OTHER) == OTHER.agreement(DENSE) == 3 / 6


def test_the_drop_counts_lost_against_gained_answers_where_there_are_labels() -> None:
    estimate = OTHER.drop_from(DENSE)
    assert (estimate.measure, estimate.samples, estimate.dense) == ("top-1", 6, 4 / 6)
    assert estimate.drop == pytest.approx(1 / 6)
    alone = Answers(OTHER.classes, None).drop_from(Answers(DENSE.classes, None))
    assert (alone.measure, alone.dense) == ("agreement", 1.0)
    assert alone.drop == pytest.approx(3 / 6)


def test_a_label_may_be_anywhere_among_the_largest_scores() -> None:
    scores = np.array([[3.0, 2.0, 1.0, 0.0], [0.0, 1.0, 2.0, 3.0], [1.0, 1.0, 1.0, 1.0]])
    labels = np.array([1, 0, 3])
    assert [hits_in_top(count, scores, labels) for count in (1, 2, 4)] == [0, 1, 3]


def test_scores_are_the_first_named_output_with_a_vector_a_sample() -> None:
    batch = Batch({"x": np.zeros((4, 2), np.float32)}, 4, True, None, np.arange(4))
    outputs = {
        "integers": np.zeros((4, 3), np.int64),
        "map": np.zeros((4, 3, 2, 2), np.float32),
        "single": np.zeros((4, 1), np.float32),
        "first": np.ones((4, 3, 1, 1), np.float32),
        "second": np.full((4, 5), 2.0, np.float32),
    }
    scores = class_scores(outputs, batch)
    assert scores is not None
    assert scores.shape == (4, 3)
    named = class_scores(outputs, batch, ("second",))
    assert named is not None
    assert named.shape == (4, 5)
    assert class_scores(outputs, batch, ()) is None
