"""Accuracy and equality on inputs that calibration never saw."""

from netsurgeon.pipeline.verification.drop_evaluator import DropEvaluator
from netsurgeon.pipeline.verification.equivalence import TOLERANCE_HALF, EquivalenceCheck, check_equivalence
from netsurgeon.pipeline.verification.fidelity import Agreement
from netsurgeon.pipeline.verification.inputs import Inputs, open_by_options, open_inputs
from netsurgeon.pipeline.verification.judging import Judging, check_metric, choose_measure, labels_only_measure
from netsurgeon.pipeline.verification.measures import (
    COUNTED,
    SCALES,
    Answers,
    DropEstimate,
    Scale,
    check_dense,
    expected_drop,
    float_outputs,
    least_inputs,
    lost_share,
    output_divergence,
    output_loss,
    output_losses,
    paired_proportion_ci,
    pool_folds,
    score_divergence,
)
from netsurgeon.pipeline.verification.padding import mask_inputs
from netsurgeon.pipeline.verification.plausibility import MOST_EXAMINED, examine_dense_model
from netsurgeon.pipeline.verification.promise import Promise
from netsurgeon.pipeline.verification.validation import (
    Validation,
    bounded_drop,
    check_finite,
    check_labels,
    validate,
    validate_folds,
    withhold_promise,
)

__all__ = [
    "COUNTED",
    "MOST_EXAMINED",
    "SCALES",
    "TOLERANCE_HALF",
    "Agreement",
    "Answers",
    "DropEstimate",
    "DropEvaluator",
    "EquivalenceCheck",
    "Inputs",
    "Judging",
    "Promise",
    "Scale",
    "Validation",
    "bounded_drop",
    "check_dense",
    "check_equivalence",
    "check_finite",
    "check_labels",
    "check_metric",
    "choose_measure",
    "examine_dense_model",
    "expected_drop",
    "float_outputs",
    "labels_only_measure",
    "least_inputs",
    "lost_share",
    "mask_inputs",
    "open_by_options",
    "open_inputs",
    "output_divergence",
    "output_loss",
    "output_losses",
    "paired_proportion_ci",
    "pool_folds",
    "score_divergence",
    "validate",
    "validate_folds",
    "withhold_promise",
]
