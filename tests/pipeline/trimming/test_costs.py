"""What removing units saves: parameters or multiply-adds."""

import numpy as np
import onnx.helper
import onnx_ir as ir
import pytest
from trimmable_models import FAST, network_of, normal, pictures, residual_network, trimmed

from netsurgeon.passes.dependencies.analysis import Dependencies, analyse
from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.runtime.observations import observe
from netsurgeon.pipeline.runtime.session import Runtime
from netsurgeon.pipeline.trimming.costs import (
    candidate_work,
    multiply_adds,
    rounding_step,
    saved_share,
    unit_axes,
    unit_costs,
)


def test_multiply_adds_can_be_what_is_saved() -> None:
    result = compress(residual_network(), {"x": pictures()}, trim=0.3, save="macs", round_to=1, **FAST)
    trim = trimmed(result)
    assert 1 - trim.macs / trim.macs_dense == pytest.approx(trim.saved)
    assert trim.saved >= 0.3


@pytest.fixture(scope="module")
def analysed() -> tuple[ir.Model, Dependencies]:
    model = ir.from_proto(residual_network())
    return model, analyse(model, observe(model, {"x": pictures(2)}, Runtime()))


def sizes(stem: int = 12, first: int = 16, second: int = 16) -> tuple[int, int]:
    """Parameters and multiply-adds of the residual network with so many channels, by hand."""
    parameters = 27 * stem + sum(2 * 9 * stem * inside + 12 for inside in (first, second)) + 5 * stem
    macs = 36 * (27 * stem + sum(2 * 9 * stem * inside for inside in (first, second))) + 5 * stem
    return parameters - 2 * (12 - stem), macs


def removed(dependencies: Dependencies, **counts: int) -> np.ndarray:
    mask = np.zeros(len(dependencies.units), bool)
    for group in dependencies.groups:
        mask[list(group.units)[: counts.get(group.node, 0)]] = True
    return mask


@pytest.mark.parametrize("counts", [{}, {"a1": 3}, {"a1": 3, "a2": 15}, {"stem": 5}, {"stem": 5, "a1": 7, "a2": 1}])
def test_costs_are_those_that_one_counts_by_hand(
    counts: dict[str, int], analysed: tuple[ir.Model, Dependencies]
) -> None:
    """Units that cross in one weight save what lies where they cross only once."""
    model, dependencies = analysed
    removed_slices = removed(dependencies, **counts)
    assert removed_slices.sum() == sum(counts.values())
    parameters, macs = sizes(12 - counts.get("stem", 0), 16 - counts.get("a1", 0), 16 - counts.get("a2", 0))
    assert multiply_adds(dependencies).total(~removed_slices) == pytest.approx(macs)
    for save, left, whole in (("parameters", parameters, sizes()[0]), ("macs", macs, sizes()[1])):
        costs, total = unit_costs(model, dependencies, np.arange(len(removed_slices)), save)
        assert total == whole
        assert costs.total(~removed_slices) == pytest.approx(left)
        assert saved_share(model, dependencies, removed_slices, save) == pytest.approx(1.0 - left / whole)


def test_of_some_candidates_the_other_units_count_as_what_stays(analysed: tuple[ir.Model, Dependencies]) -> None:
    _, dependencies = analysed
    candidates = np.flatnonzero(removed(dependencies, a1=16))
    work = candidate_work(dependencies, candidates)
    assert work.total(np.ones(16, bool)) == pytest.approx(sizes()[1])
    assert work.total(np.arange(16) < 6) == pytest.approx(sizes(first=6)[1])


def test_a_grouped_convolution_reads_only_its_group() -> None:
    """A channel that goes takes the columns of one group along, and nothing of the other."""
    node = onnx.helper.make_node
    nodes = [
        node("Conv", ["x", "w"], ["h"], "first"),
        node("Relu", ["h"], ["r"]),
        node("Conv", ["r", "v"], ["g"], "grouped", group=2),
        node("GlobalAveragePool", ["g"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "u"], ["y"], "head"),
    ]
    weights = {"w": normal(8, 3, 1, 1), "v": normal(6, 4, 3, 3), "u": normal(6, 5)}
    model = ir.from_proto(network_of(nodes, weights, ["N", 3, 6, 6]))
    dependencies = analyse(model, observe(model, {"x": pictures(2)}, Runtime()))
    macs, everything = multiply_adds(dependencies), np.ones(len(dependencies.units), bool)
    assert macs.total(everything) == pytest.approx(36 * 3 * 8 + 16 * 6 * 4 * 9 + 6 * 5)
    unit = next(unit for unit in dependencies.units if dependencies.groups[unit.group].node == "grouped")
    count = sum(len(part.indices) for part in unit.parts if part.node == "grouped")
    left = everything & (np.arange(len(everything)) != unit.number)
    assert macs.total(left) == pytest.approx(36 * 3 * 8 + 16 * (6 - count) * 4 * 9 + (6 - count) * 5)


def test_work_can_be_counted_at_a_rate_for_each_node(analysed: tuple[ir.Model, Dependencies]) -> None:
    _, dependencies = analysed
    rates = {work.node: 0.0 for work in dependencies.tracks.work} | {"head": 2.0}
    everything = np.arange(len(dependencies.units))
    assert candidate_work(dependencies, everything, rates).total(np.ones(len(everything), bool)) == 2.0 * 12 * 5


@pytest.mark.parametrize(
    ("size", "round_to", "step"),
    [
        (64, 8, 8),
        (16, 8, 8),
        (15, 8, 4),
        (12, 8, 4),
        (7, 8, 2),
        (3, 8, 1),
        (2, 8, 1),
        (1, 8, 1),
        (64, 1, 1),
        (100, 48, 48),
        (90, 48, 32),
    ],
)
def test_narrow_axes_are_rounded_to_smaller_powers_of_two(size: int, round_to: int, step: int) -> None:
    assert rounding_step(size, round_to) == step


def test_units_that_may_not_go_are_what_an_axis_keeps(analysed: tuple[ir.Model, Dependencies]) -> None:
    _, dependencies = analysed
    candidates = np.flatnonzero(removed(dependencies, a1=10, stem=12))
    axes = unit_axes(dependencies, candidates, 8)
    by_node = {group.node: number for number, group in enumerate(dependencies.groups)}
    assert [axes.fixed[by_node[node]] for node in ("stem", "a1", "a2")] == [0, 6, 16]
    assert [axes.step[by_node[node]] for node in ("stem", "a1", "a2")] == [4, 8, 8]
    assert np.bincount(axes.of, minlength=3)[by_node["a1"]] == 10
