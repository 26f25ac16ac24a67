"""The list of steps, and the driver that plans, applies, verifies and undoes them."""

from netsurgeon.pipeline.compression.driver import AppliedPlan, apply_plan, apply_steps, check_steps, plan_steps
from netsurgeon.pipeline.compression.repair_weights import RepairIntegers, RepairWeights
from netsurgeon.pipeline.compression.step import (
    KeepsPlan,
    Step,
    StepContext,
    StepDefaults,
    StepRecord,
    StepResult,
    Steps,
)
from netsurgeon.pipeline.compression.steps import (
    STEPS,
    ConvolveSliceAndPad,
    PackWeightsOnDisk,
    PruneLayers,
    QuantizeLayers,
    ShortenTables,
    StoreTablesOnDisk,
)
from netsurgeon.pipeline.compression.trim_units import ChooseUnits, trimmed_selection

__all__ = [
    "STEPS",
    "AppliedPlan",
    "ChooseUnits",
    "ConvolveSliceAndPad",
    "KeepsPlan",
    "PackWeightsOnDisk",
    "PruneLayers",
    "QuantizeLayers",
    "RepairIntegers",
    "RepairWeights",
    "ShortenTables",
    "Step",
    "StepContext",
    "StepDefaults",
    "StepRecord",
    "StepResult",
    "Steps",
    "StoreTablesOnDisk",
    "apply_plan",
    "apply_steps",
    "check_steps",
    "plan_steps",
    "trimmed_selection",
]
