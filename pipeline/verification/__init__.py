"""Accuracy and equality on inputs that calibration never saw."""

from netsurgeon.pipeline.verification.confidence import Evidence, can_tell, counted, expected_drop, least_inputs, pooled
from netsurgeon.pipeline.verification.equivalence import Proof, prove
from netsurgeon.pipeline.verification.judge import Judge
from netsurgeon.pipeline.verification.splits import Inputs, open_inputs
from netsurgeon.pipeline.verification.validation import Validation, check_labels, load_metric, validate

__all__ = [
    "Evidence",
    "Inputs",
    "Judge",
    "Proof",
    "Validation",
    "can_tell",
    "check_labels",
    "counted",
    "expected_drop",
    "least_inputs",
    "load_metric",
    "open_inputs",
    "pooled",
    "prove",
    "validate",
]
