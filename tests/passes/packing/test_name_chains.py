"""Nodes that unpack a weight are named after it, and nothing else changes."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from packed_models import assert_same, model_of, plain, run, sparse

from netsurgeon.passes.packing import NameChains, PackWeights, UnpackWeights, name_bytes, packed_weights
from netsurgeon.passes.packing.name_chains import chain_names

COUNT = 6


def with_streams() -> ir.Model:
    """A large weight, and small vectors that share a stream, which a Split cuts."""
    model = model_of(sparse((60, 50), 0.9), "Gemm")
    rng = np.random.default_rng(0)
    (end,) = model.graph.outputs
    last = end
    for number in range(COUNT):
        bias = ir.val(f"layer{number}.bias", const_value=ir.tensor(
            rng.standard_normal(50).astype(np.float16).astype(np.float32), name=f"layer{number}.bias"))  # fmt: skip
        model.graph.register_initializer(bias)
        node = ir.node(
            "Add", [last, bias], outputs=[ir.val(f"h{number}", ir.DataType.FLOAT, [3, 50])], name=f"a{number}"
        )
        model.graph.append(node)
        last = node.outputs[0]
    model.graph.outputs[:] = [last]
    return model


def packed() -> ir.Model:
    model = with_streams()
    PackWeights()(model)
    return model


def test_every_node_of_a_chain_stands_under_its_weight() -> None:
    model = packed()
    names = {node.name for node in model.graph}
    assert NameChains()(model).modified
    named = [node for node in model.graph if node.name not in names]
    assert all(node.name for node in model.graph)
    ends = {"w/unpack", "layer0.bias/unpack"}
    assert ends <= {node.name for node in named}
    for node in named:
        scope, _, rest = str(node.name).partition("/unpack")
        assert scope in ("w", "layer0.bias") or str(node.name).startswith("unpack/")
        assert rest == "" or rest.startswith(f"/{node.op_type}") or scope == str(node.name)
    assert len({node.name for node in model.graph}) == len(list(model.graph))


def test_named_chains_are_still_known_and_unpack_to_the_same_bits(tmp_path: Path) -> None:
    model = packed()
    before = packed_weights(model)
    NameChains()(model)
    ir.save(model, tmp_path / "named.onnx")
    loaded = ir.load(tmp_path / "named.onnx")
    assert packed_weights(loaded) == before
    assert len(before) == 1 + COUNT
    assert_same(with_streams(), loaded)
    assert UnpackWeights()(loaded).modified
    assert plain(loaded) == plain(with_streams())


def test_naming_twice_gives_the_same_names() -> None:
    model = packed()
    NameChains()(model)
    names = [node.name for node in model.graph]
    NameChains()(model)
    assert [node.name for node in model.graph] == names


def test_names_that_are_taken_get_a_number() -> None:
    model = packed()
    model.graph[-1].name, model.graph[-2].name = "w/unpack", "w/unpack_2"
    NameChains()(model)
    assert "w" in packed_weights(model)
    assert "w/unpack_3" in {node.name for node in model.graph}
    assert [node.name for node in model.graph][-2:] == ["w/unpack_2", "w/unpack"]


def test_a_model_without_chains_stays() -> None:
    model = with_streams()
    assert not NameChains()(model).modified
    assert chain_names(model.graph) == {}


@pytest.mark.parametrize("name", ["w", "é" * 70, "w" * 200])
def test_bytes_of_names_are_those_of_the_file(name: str) -> None:
    """All of them are counted; what else grows are lengths of what holds them."""
    model = packed()
    weight = next(value for node in model.graph for value in node.outputs if value.name == "w")
    weight.name = name
    short = name_bytes(model), len(ir.to_proto(model).SerializeToString())
    named = packed()
    next(value for node in named.graph for value in node.outputs if value.name == "w").name = name
    NameChains()(named)
    more, grown = name_bytes(named) - short[0], len(ir.to_proto(named).SerializeToString()) - short[1]
    assert more <= grown <= more + 2 * len(list(named.graph))


def test_onnx_runtime_and_the_checker_take_the_names() -> None:
    model = packed()
    want = run(model)
    NameChains()(model)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    assert run(model).tobytes() == want.tobytes()
