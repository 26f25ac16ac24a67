"""The ladder of structures: nested, in multiples, less work at every level, and each of them a proven model."""

from pathlib import Path

import numpy as np
import pytest

from netsurgeon.pipeline.calibration.selection import select
from netsurgeon.pipeline.calibration.sweep import Calibration
from netsurgeon.pipeline.data.opening import open_samples
from netsurgeon.pipeline.model_files.loading import input_specs, open_model
from netsurgeon.pipeline.options.options import Options
from netsurgeon.pipeline.runtime.session import Runtime
from netsurgeon.pipeline.trimming.structures import Structures, named, order_units

DIGITS = Path(__file__).parent.parent.parent.parent / "models" / "digits"


@pytest.fixture(scope="module")
def ladder() -> tuple[Structures, Calibration]:
    runtime, options = Runtime(), Options(trim=0.5, round_to=8)
    source = open_model(DIGITS / "digits.onnx", runtime)
    samples = open_samples(DIGITS / "calibration.npz", input_specs(source.original), limit=60)
    calibration = Calibration(samples, runtime)
    selection = select(source.model, options)
    return order_units(source.model, selection, calibration, options, lambda *_: None), calibration


def test_levels_are_nested_and_do_ever_less(ladder: tuple[Structures, Calibration]) -> None:
    structures, _ = ladder
    assert structures.top > 5
    before = structures.plan(0).removed
    assert not before.any()
    for level in range(1, structures.top + 1):
        removed = structures.plan(level).removed
        assert (removed | before == removed).all()
        assert structures.macs(level) < structures.macs(level - 1)
        before = removed
    assert structures.macs(structures.top) < 0.3 * structures.macs(0)


def test_every_level_leaves_multiples(ladder: tuple[Structures, Calibration]) -> None:
    structures, _ = ladder
    groups = structures.base.dependencies.groups
    for level in range(structures.top + 1):
        removed = structures.plan(level).removed
        for group in groups:
            removed_count = int(removed[list(group.units)].sum())
            left = len(group.units) - removed_count
            assert left > 0
            step = 8 if len(group.units) >= 16 else max(len(group.units) // 2, 1)
            assert not removed_count or left % step == 0


def test_a_structure_runs_and_is_the_masked_model(ladder: tuple[Structures, Calibration]) -> None:
    structures, calibration = ladder
    model = open_model(DIGITS / "digits.onnx", calibration.runtime).model
    trimmed = structures.trimmed(model, structures.top // 2, calibration)
    assert trimmed.proof is not None
    assert trimmed.proof.holds
    np.testing.assert_array_equal(trimmed.removed, structures.plan(structures.top // 2).removed)


def test_names_tell_structures_apart(ladder: tuple[Structures, Calibration]) -> None:
    structures, _ = ladder
    names = [named(structures.plan(level).removed) for level in range(structures.top + 1)]
    assert len(set(names)) == len(names)
    assert named(np.zeros(8, bool)) != named(np.zeros(9, bool))
