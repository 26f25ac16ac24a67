"""Names that the command line offers are those that the engine knows."""

import typing

from netsurgeon.passes import solvers
from netsurgeon.passes.quantization import scale
from netsurgeon.pipeline import quantization
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
