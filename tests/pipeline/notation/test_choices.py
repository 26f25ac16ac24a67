"""Names that the command line offers are those that the engine knows."""

import typing

import pytest

from netsurgeon.passes import solvers
from netsurgeon.passes.quantization import scale
from netsurgeon.pipeline import quantization
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.notation import choices
from netsurgeon.pipeline.runtime import session


def test_methods_are_those_of_the_solvers() -> None:
    assert choices.METHODS == solvers.METHODS


def test_levels_of_optimisation_are_those_of_sessions() -> None:
    assert tuple(session.OPTIMISATIONS) == choices.OPTIMISATIONS


def test_targets_are_those_of_quantization() -> None:
    assert tuple(quantization.TARGETS) == choices.TARGETS


def test_ranges_are_those_of_the_scales() -> None:
    assert typing.get_args(scale.RangeMethod) == choices.RANGES


def test_changes_of_inputs_are_named_once_and_auto_and_none_stand_alone() -> None:
    for text, kinds in (("auto", "auto"), (" none ", "none"), ("crop, shift,crop", "crop,shift")):
        assert choices.augmentations(text) == kinds
    for text, why in (
        ("auto,crop", "auto and none stand alone"),
        ("none, auto", "auto and none stand alone"),
        ("crop,turn", "'turn' is none of these"),
        ("auto,turn", "'turn' is none of these"),
        ("", "'' is none of these"),
    ):
        with pytest.raises(InputError, match=f"^augment is {text!r}, expected auto, none, or some of .*; {why}$"):
            choices.augmentations(text)
