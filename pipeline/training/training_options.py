"""What a user can choose about training, checked in one place."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from netsurgeon.pipeline.data import PictureOptions, read_toml
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.notation import VALIDATION
from netsurgeon.pipeline.options import check_types

SURGERY_SHARE = 0.7
"""Share of the steps after which surgery ends where the number of steps was given."""
TABLES = ("recipe", "surgery", "trimming")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Options of all that trains.

    Attributes:
        device: auto, cpu, cuda or cuda:0.
        bfloat16: compute in bfloat16.
        validation: share of the training data held out for choices.
        seed: of everything random.
        pictures: how pixels become inputs.
    """

    device: str = "auto"
    bfloat16: bool = False
    validation: float = VALIDATION
    seed: int = 0
    pictures: PictureOptions | None = None

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InputError: one is of the wrong type or out of range.
        """
        check_types(self)
        if not 0.0 < self.validation < 1.0:
            raise InputError(f"validation is {self.validation}, expected a share above 0 and below 1")
        if self.seed < 0:
            raise InputError(f"seed is {self.seed}, expected 0 or more")


@dataclasses.dataclass(frozen=True)
class TrainOptions(TrainingOptions):
    """Options of `train`; None leaves what the network's preset says.

    Attributes:
        surgery: prune and splice while training.
        surgery_ratio: parameters per parameter kept; finds c by itself.
        trimming: remove idle units and retrain, again and again.
        settings: TOML file with any constant: the tables of TABLES, named as in `models`.
        steps: updates of the weights; with trimming, in each round.
        batch_size: examples a step.
        learning_rate: of the first step.
    """

    surgery: bool = False
    surgery_ratio: float | None = None
    trimming: bool = False
    settings: Path | None = None
    steps: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.trimming and (self.surgery or self.surgery_ratio is not None):
            raise InputError("surgery and trimming are two runs: trim first, then give the trimmed run to --init")


@dataclasses.dataclass(frozen=True)
class Constants:
    """What a run is trained with.

    Attributes:
        recipe: a `models.recipes.Recipe`.
        surgery: a `models.surgery.SurgeryPlan`; None without surgery.
        trimming: a `models.trimming.TrimmingPlan`; None without trimming.
    """

    recipe: Any
    surgery: Any
    trimming: Any

    def described(self) -> dict[str, Any]:
        """By table, as JSON values."""
        plans = {table: getattr(self, table) for table in TABLES}
        return {table: dataclasses.asdict(plan) if plan else None for table, plan in plans.items()}


def constants(preset: Any, options: TrainOptions) -> Constants:
    """The preset of a network, then the file, then the options.

    Raises:
        InputError: a constant is unknown or of the wrong type.
        ValueError: one is out of range.
    """
    from netsurgeon.models.trimming import TrimmingPlan

    tables = _tables(options.settings)
    values = {**tables["recipe"], "bfloat16": options.bfloat16}
    for key in ("steps", "batch_size", "learning_rate"):
        if getattr(options, key) is not None:
            values[key] = getattr(options, key)
    recipe = _replaced(preset.recipe, values, "recipe")
    surgery = trimming = None
    if options.surgery or options.surgery_ratio is not None:
        surgery = _surgery(preset.surgery, tables["surgery"], options.surgery_ratio, recipe.steps)
    if options.trimming:
        trimming = _replaced(TrimmingPlan(), tables["trimming"], "trimming")
    return Constants(recipe, surgery, trimming)


def _surgery(preset: Any, table: Mapping[str, Any], ratio: float | None, steps: int) -> Any:
    values = {**table} if ratio is None else {**table, "ratio": ratio}
    if "groups" in values:
        values["groups"] = tuple(tuple(group) for group in values["groups"])
    plan = _replaced(preset, values, "surgery")
    if plan.end <= steps:
        return plan
    if "stop" in values:
        raise InputError(f"surgery would end after {plan.end} steps, but there are {steps}: give more")
    return dataclasses.replace(plan, stop=max(int(SURGERY_SHARE * steps / len(plan.groups)), 1))


def _tables(path: Path | None) -> dict[str, dict[str, Any]]:
    if path is None:
        return {table: {} for table in TABLES}
    try:
        values = read_toml(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as settings in TOML: {error}") from error
    if unknown := sorted(set(values) - set(TABLES)):
        raise InputError(f"{path} holds the unknown table {unknown[0]}, expected {', '.join(TABLES)}")
    return {table: values.get(table, {}) for table in TABLES}


def _replaced(preset: Any, values: Mapping[str, Any], table: str) -> Any:
    field_names = [field.name for field in dataclasses.fields(preset)]
    if unknown := sorted(set(values) - set(field_names)):
        raise InputError(f"{unknown[0]} is not a constant of {table}, expected one of {', '.join(field_names)}")
    try:
        return dataclasses.replace(preset, **values)
    except TypeError as error:
        raise InputError(f"a constant of {table} is of the wrong type: {error}") from error
