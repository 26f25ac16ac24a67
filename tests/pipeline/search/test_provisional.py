"""How many inputs candidates are corrected on that are not delivered."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netsurgeon.passes.layers import positions_of
from netsurgeon.pipeline.calibration import select
from netsurgeon.pipeline.model_files import open_model
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.runtime import Runtime
from netsurgeon.pipeline.search.provisional import FEWEST, provisional_inputs
from netsurgeon.pipeline.verification import open_inputs


def provisional(network: Path, count: int, **options: Any) -> tuple[list[int | None], int]:
    """How many inputs each fold has for its candidates, and how many the delivered model is corrected on."""
    chosen, source = Options(**options), open_model(network, Runtime())
    data = {"x": np.random.default_rng(0).normal(size=(count, 24)).astype(np.float32)}
    inputs = open_inputs(source, data, data, chosen)
    layers = select(source.model, chosen).layers
    samples = provisional_inputs(inputs, chosen, layers, positions_of(source.model))
    return [None if one is None else one.fed for one in samples], inputs.calibration.fed


def test_candidates_of_many_inputs_get_ten_rows_a_column(network: Path) -> None:
    """Its widest layer has 48 columns."""
    assert provisional(network, 6000, max_drop=0.01) == ([480], 2048)


@pytest.mark.parametrize("options", [{"max_size": "2KB"}, {"max_drop": 0.01, "effort": "fast"}])
def test_what_has_no_limit_or_few_candidates_has_none_that_are_not_delivered(network: Path, options: Any) -> None:
    assert provisional(network, 6000, **options)[0] == [None]


def test_few_inputs_are_not_worth_making_a_model_once_more(network: Path) -> None:
    assert provisional(network, 1600, max_drop=0.1) == ([None], 800)


def test_halves_that_take_turns_are_judged_only(network: Path) -> None:
    assert provisional(network, 400, max_drop=0.01) == ([200, 200], 400)
    assert provisional(network, 1400, max_drop=0.01) == ([480, 480], 1400)
    assert FEWEST < 480
