"""Accuracy and equality on inputs that calibration never saw."""

from netsurgeon.pipeline.verification.confidence import (
    DropEstimate,
    Measure,
    expected_drop,
    has_enough_samples,
    least_inputs,
    paired_proportion_ci,
    pool_folds,
)
from netsurgeon.pipeline.verification.drop_evaluator import DropEvaluator
from netsurgeon.pipeline.verification.equivalence import EquivalenceCheck, check_equivalence
from netsurgeon.pipeline.verification.fidelity import Agreement
from netsurgeon.pipeline.verification.inputs import Inputs, open_by_options, open_inputs
from netsurgeon.pipeline.verification.plausibility import examine_dense_model
from netsurgeon.pipeline.verification.promise import Promise
from netsurgeon.pipeline.verification.score_outputs import ClassOutputs, find_class_outputs
from netsurgeon.pipeline.verification.scoring import Answers, load_metric
from netsurgeon.pipeline.verification.validation import (
    Validation,
    check_finite,
    check_labels,
    counted_drop,
    validate,
    validate_folds,
    withhold_promise,
)

__all__ = [
    "Agreement",
    "Answers",
    "ClassOutputs",
    "DropEstimate",
    "DropEvaluator",
    "EquivalenceCheck",
    "Inputs",
    "Measure",
    "Promise",
    "Validation",
    "check_equivalence",
    "check_finite",
    "check_labels",
    "counted_drop",
    "examine_dense_model",
    "expected_drop",
    "find_class_outputs",
    "has_enough_samples",
    "least_inputs",
    "load_metric",
    "open_by_options",
    "open_inputs",
    "paired_proportion_ci",
    "pool_folds",
    "validate",
    "validate_folds",
    "withhold_promise",
]
