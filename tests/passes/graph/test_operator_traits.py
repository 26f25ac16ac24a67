"""The table of traits: keys, versions, domains."""

import onnx
import onnx_ir as ir
import pytest

from netsurgeon.passes.graph import TRAITS, find_traits, operator_key, traits_of
from netsurgeon.passes.graph.operator_traits import NO_TRAITS, OperatorTraits, Table, register_traits


def first_versions() -> dict[str, int]:
    """Of every standard operator, the version in which ONNX brought it."""
    versions: dict[str, int] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if not schema.domain:
            versions[schema.name] = min(schema.since_version, versions.get(schema.name, schema.since_version))
    return versions


def test_the_standard_domain_has_two_names() -> None:
    assert find_traits("ai.onnx", "TopK", 11) is find_traits("", "TopK", 11)
    assert find_traits("", "TopK", 11).is_discrete
    assert operator_key("ai.onnx", "TopK") == operator_key("", "TopK") == "TopK"


def test_another_domain_has_traits_of_its_own() -> None:
    assert find_traits("com.microsoft", "FusedMatMul", 1).score_role == "projects"
    assert find_traits("", "FusedMatMul", 1) is NO_TRAITS
    assert find_traits("com.microsoft", "TopK", 1) is NO_TRAITS
    assert operator_key("com.microsoft", "FusedMatMul") == "com.microsoft.FusedMatMul"


def test_the_newest_entry_up_to_the_version_holds() -> None:
    table: Table = {}
    early, late = OperatorTraits(sized_by=(0,)), OperatorTraits(sized_by=(1,))
    register_traits(table, late, "Grow", since_version=13)
    register_traits(table, early, "Grow", since_version=5)
    versions = (4, 5, 12, 13, 20, None)
    assert [find_traits("", "Grow", version, table) for version in versions] == [
        NO_TRAITS, early, early, late, late, late,
    ]  # fmt: skip


@pytest.mark.parametrize("domain", ["", "ai.onnx"])
def test_a_second_entry_of_the_same_version_is_refused(domain: str) -> None:
    table: Table = {}
    register_traits(table, OperatorTraits(), "Grow")
    with pytest.raises(ValueError, match="Grow has traits since version 1 already"):
        register_traits(table, OperatorTraits(is_view=True), "Grow", domain=domain)
    register_traits(table, OperatorTraits(), "Grow", domain="com.microsoft")


def test_a_node_has_the_traits_of_the_version_that_its_graph_imports() -> None:
    inputs = [ir.val("x"), ir.val("boxes")]
    node = ir.node("NonMaxSuppression", inputs)
    ir.Graph(inputs, node.outputs, nodes=[node], opset_imports={"": 9})
    assert not traits_of(node).is_discrete
    assert node.graph is not None
    node.graph.opset_imports[""] = 10
    assert traits_of(node).is_discrete


def test_standard_entries_begin_where_onnx_has_the_operator_first() -> None:
    versions = first_versions()
    wrong = [key for key in TRAITS if not key[0] and versions.get(key[1]) != key[2]]
    assert not wrong


def test_inputs_that_size_an_operator_exist() -> None:
    for (domain, operator, _), traits in TRAITS.items():
        if not domain and traits.sized_by:
            assert max(traits.sized_by) < onnx.defs.get_schema(operator).max_input, operator
