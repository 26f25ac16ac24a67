"""What a step of a compression is: the protocol, what every step is handed, and what it answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import onnx_ir as ir

from netsurgeon.pipeline.calibration import Calibration, Selection
from netsurgeon.pipeline.execution import RunFolder, Solutions
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.profiling import StructureTimer
from netsurgeon.pipeline.progress import Progress
from netsurgeon.pipeline.quantization import IntegerModel

PRUNE = "prune"
"""Name of the step that corrects the weights, which every list has."""
QUANTIZE = "quantize"
"""Name of the step that puts layers on integers."""


@dataclasses.dataclass(kw_only=True)
class StepContext:
    """What the steps of one compression share.

    Attributes:
        dense: the model in normal form; no step changes it.
        selection: the layers that take part. A step that plans may narrow it for those behind it.
        calibration: inputs for corrections, and how the model is run.
        options: as given.
        step_options: options of steps that are not part of netsurgeon, by step name.
        progress: called with stage, steps done and steps in all.
        run_folder: keeps plans, so that a run that was stopped goes on.
        solutions: solved layers of this very plan; None = nothing is kept.
        timer: times models; None = no step may let times decide.
        measured: by step name, what a step has measured before any planned.
        plans: by step name; None where a step has nothing to do.
        outcomes: by step name, what the steps that were applied did.
        records: what became of each step, in turn.
        notes: what was done to the graph.
        warnings: what the user should know.
        repairs_shortly: whether a repair takes as few steps as tell what a structure is worth.
        masked: the last model with every weight of the dense one still in its place; None until a step is applied.
        integers: as the closed form has rounded them; None where nothing has, or nothing tunes them.
    """

    dense: ir.Model = dataclasses.field(repr=False)
    selection: Selection
    calibration: Calibration
    options: Options
    step_options: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    progress: Progress
    run_folder: RunFolder = dataclasses.field(default_factory=lambda: RunFolder(None, {}))
    solutions: Solutions | None = None
    timer: StructureTimer | None = None
    measured: dict[str, Any] = dataclasses.field(default_factory=dict)
    plans: dict[str, Any] = dataclasses.field(default_factory=dict)
    outcomes: dict[str, Any] = dataclasses.field(default_factory=dict)
    records: list[StepRecord] = dataclasses.field(default_factory=list)
    notes: list[Message] = dataclasses.field(default_factory=list)
    warnings: list[Message] = dataclasses.field(default_factory=list)
    repairs_shortly: bool = False
    masked: ir.Model | None = dataclasses.field(default=None, repr=False)
    integers: IntegerModel | None = dataclasses.field(default=None, repr=False)

    def options_of(self, step: Step) -> Any:
        """A step's group of options: a part of `Options`, or made from what was given for the step by its name.

        Raises:
            InputError: a value is refused by the group.
            TypeError: the group has no such option.
        """
        if isinstance(self.options, step.options_type):
            return self.options
        return step.options_type(**self.step_options.get(step.name, {}))


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepResult:
    """What a step made of the model it was handed.

    Attributes:
        model: the result; may be the model that was handed over.
        outcome: for the steps behind it and for the report.
        notes: what was done to the graph; the driver gives a plain string the code step-note.
        warnings: what the user should know; likewise.
        has_changed: whether the model differs from the one that was handed over.
        revised: outcomes of steps before it that are others now, by step name.
    """

    model: ir.Model = dataclasses.field(repr=False)
    outcome: Any = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    has_changed: bool = True
    revised: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepRecord:
    """What became of a step, for the report.

    Attributes:
        name: of the step.
        applied: whether the model that is delivered has what it did.
        undone: why it was undone: step-undone, with the code of what did not hold as `cause`; None where it was not.
        facts: the step's own section: JSON values.
    """

    name: str
    applied: bool
    undone: Message | None = None
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class Step(Protocol):
    """One thing that is done to a model. Steps hold no state: what one run needs lies in the `StepContext`.

    Attributes:
        name: of its entries in the context, the run folder and the report.
        stage: what progress is called with while it is applied.
        options_type: dataclass of its options: a base class of `Options`, or a class of its own.
        keeps_places: whether every weight of the dense model stays in its place, so that the error bound, which
            compares weights one by one, can follow the step.
        is_storage: whether only the form on disk changes: then it is done to the model that was chosen, not to each
            candidate of a search.
    """

    @property
    def name(self) -> str:
        """See above."""

    @property
    def stage(self) -> str:
        """See above."""

    @property
    def options_type(self) -> type[Any]:
        """See above."""

    @property
    def keeps_places(self) -> bool:
        """See above."""

    @property
    def is_storage(self) -> bool:
        """See above."""

    def measure(self, context: StepContext) -> Any:
        """Measure on the dense model what the plan needs; None = nothing."""

    def plan(self, context: StepContext) -> Any:
        """Decide what to do, after the steps before it have decided; None = nothing.

        Raises:
            CheckFailedError: what was asked for cannot be done.
        """

    def apply(self, model: ir.Model, context: StepContext) -> StepResult | None:
        """Do it to `model`, a clone that is the step's own; None = there was nothing to do.

        Raises:
            CheckFailedError: what was asked for could not be done.
        """

    def verify(self, before: ir.Model, after: ir.Model, context: StepContext) -> str | None:
        """Run both models where they must agree: None, or what is said of the step that is undone now.

        A sentence; code and data of a `Message`, as `verify_same` gives one, are kept.
        """

    def facts(self, context: StepContext) -> Mapping[str, Any]:
        """The step's section of the report, after it was applied: JSON values."""


class KeepsPlan(Protocol):
    """What a step has besides where its plan is kept in the run folder."""

    def keep_plan(self, context: StepContext, plan: Any) -> None:
        """Write the plan to the run folder."""

    def kept_plan(self, context: StepContext) -> Any:
        """The plan that the run folder keeps; None where there is none."""


class StepDefaults:
    """What a step does unless it says otherwise: it measures, plans, proves and reports nothing."""

    keeps_places: bool = True
    is_storage: bool = False

    def __repr__(self) -> str:
        """Its class, for signatures."""
        return f"{type(self).__name__}()"

    def measure(self, context: StepContext) -> Any:
        """Nothing."""
        del context

    def plan(self, context: StepContext) -> Any:
        """Nothing."""
        del context

    def verify(self, before: ir.Model, after: ir.Model, context: StepContext) -> str | None:
        """A change of the outputs that is meant is measured at the end, on inputs of its own."""
        del before, after, context
        return None

    def facts(self, context: StepContext) -> Mapping[str, Any]:
        """Nothing of its own."""
        del context
        return {}


Steps = Sequence[Step]
