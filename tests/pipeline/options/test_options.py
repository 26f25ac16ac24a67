"""All options together: their ranges, what excludes what, what stands for what was left out, and how they are told."""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from netsurgeon.passes.pruning import LayerPattern, SharePattern, TilePattern
from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.data.images import PictureOptions
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.options.options import Options
from netsurgeon.pipeline.runtime import Runtime
from netsurgeon.pipeline.runtime.providers import channel_block


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sparsity": 1}, "sparsity is 1.0, expected at least 0 and less than 1"),
        ({"sparsity": -0.1}, "sparsity is -0.1"),
        ({"sparsity": float("nan")}, "sparsity is nan"),
        ({"layers": {"first": 0.5, "last": 1.5}}, "sparsity of layer 'last' is 1.5"),
        ({"trim": 0}, "trim is 0, expected a share above 0 and below 1, or up-to:30%"),
        ({"trim": 1.0}, "trim is 1.0"),
        ({"trim": "up-to:1.5"}, "trim is 'up-to:1.5'"),
        ({"trim": "up-to:"}, "trim is 'up-to:', expected a share such as 30% or 0.3"),
        ({"trim": "most"}, "trim is 'most', expected a share such as 30% or 0.3"),
        ({"trim": float("nan")}, "trim is nan"),
        ({"importance": "size"}, "importance is 'size', expected one of obs, apoz, magnitude"),
        ({"save": "bytes"}, "save is 'bytes', expected one of parameters, macs"),
        ({"round_to": 0}, "round-to is 0, expected 1 or more"),
        ({"method": "guess"}, "method is 'guess', expected one of"),
        ({"augment": "auto,flip"}, "augment is 'auto,flip', expected auto, none, or some of shift,flip,crop,noise,len"),
        ({"augment": ""}, "augment is '', expected auto, none, or some of"),
        ({"augment": "shift, cop"}, "with commas between; 'cop' is none of these"),
        ({"values": "int8"}, "values is 'int8', expected one of float32, float16, codebook"),
        ({"damping": 0.0}, "damping is 0.0, expected a number above 0 and up to 10"),
        ({"damping": float("inf")}, "damping is inf"),
        ({"batch_size": 0}, "batch size is 0, expected 1 or more"),
        ({"limit": 0}, "limit is 0"),
        ({"threads": 0}, "threads is 0"),
        ({"timed_batch": -1}, "timed-batch is -1"),
        *(
            ({"pattern": text}, "expected N:M with 0 < N < M")
            for text in ("", "half", "4:2", "2:2", "0:4", "2:4:8", "k:32", "K:64", "tile:16")
        ),
    ],
)
def test_values_out_of_range(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Options(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pattern": "2:4", "sparsity": 0.5}, "decides how many weights go: leave out sparsity"),
        ({"pattern": "2:4", "layers": {"first": 0.5}}, "leaves no sparsities to give to layers"),
        ({"pattern": "k:64", "trim": 0.3}, "trim first, then give the trimmed model the pattern"),
        ({"pattern": "k:64", "speedup": 2}, "a pattern of k:64 holds weights in their places"),
        ({"pattern": "k:64", "keep_zeros": True}, "the zeros are those of the model"),
        ({"pattern": "2:4", "max_drop": "1%"}, "--max-drop 1% decides how many weights go"),
        ({"pattern": "2:4", "trim": 0.3}, "trim first, then give the trimmed model the pattern"),
        ({"keep_zeros": True, "sparsity": 0.5}, "the zeros are those of the model"),
        ({"keep_zeros": True, "pattern": "2:4"}, "the zeros are those of the model"),
        ({"keep_zeros": True, "layers": {"first": 0.5}}, "the zeros are those of the model"),
        ({"keep_zeros": True, "method": "magnitude"}, "the zeros are those of the model"),
        ({"max_drop": "1%", "sparsity": 0.5}, "--max-drop 1% decides how many weights go"),
        ({"max_size": "1MB", "keep_zeros": True}, "decides how many weights go"),
        ({"max_size": "1MB", "layers": {"first": 0.5}}, "decides how many weights go"),
        ({"speedup": 2, "trim": 0.3}, "--speedup 2 decides which units go: leave out trim"),
        ({"max_macs": "1M", "trim": 0.3}, "decides which units go"),
    ],
)
def test_choices_that_exclude_each_other(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Options(**values)


@pytest.mark.parametrize(
    ("values", "share"),
    [
        ({"sparsity": 0.9}, 0.9),
        ({"sparsity": 0.0}, 0.0),
        ({}, 0.5),
        ({"layers": {"first": 0.8}}, 0.5),
        ({"trim": 0.3}, 0.0),
        ({"trim": 0.3, "sparsity": 0.8}, 0.8),
        ({"keep_zeros": True}, 0.0),
        ({"pattern": "1:4"}, 0.75),
        ({"pattern": "1:4", "quantize": "int8"}, 0.75),
        ({"pattern": "k:64"}, 0.5),
        ({"pattern": "k:64", "sparsity": 0.8}, 0.8),
        ({"pattern": "k:64", "quantize": "int8"}, 0.5),
        ({"pattern": "k:64", "quantize": "int8", "sparsity": 0.0}, 0.0),
    ],
)
def test_the_share_of_weights_that_goes(values: dict[str, Any], share: float) -> None:
    assert Options(**values).pruned_share == share


def test_units_are_left_in_multiples_of_what_the_provider_takes_at_a_time() -> None:
    assert Options(round_to=3).multiple == 3
    for provider in ("cpu", "cuda"):
        assert Options(provider=provider).multiple == channel_block(provider)


@pytest.mark.parametrize("mode", ["int8", "w4a8"])
def test_units_are_left_in_multiples_of_what_integer_kernels_take_at_a_time(mode: str) -> None:
    assert Options(quantize=mode).multiple == 8
    assert Options(quantize=mode, round_to=3).multiple == 3
    assert Options(quantize="none").multiple == channel_block("cpu")


def test_units_stay_by_choice_or_for_a_pattern() -> None:
    assert not Options().keep_dangling_units
    assert Options(keep_unread=True).keep_dangling_units
    assert Options(pattern="2:4").keep_dangling_units


@pytest.mark.parametrize(
    ("trim", "goal", "best_effort"),
    [(0.3, 0.3, False), ("0.3", 0.3, False), ("up-to:0.3", 0.3, True), (None, 0.0, False)],
)
def test_the_share_that_is_trimmed(trim: float | str | None, goal: float, best_effort: bool) -> None:
    options = Options(trim=trim)
    assert (options.trim_goal, options.trim_best_effort) == (goal, best_effort)
    assert options.only_trims_best_effort == best_effort


@pytest.mark.parametrize(
    "more", [{"sparsity": 0.5}, {"layers": {"first": 0.5}}, {"keep_zeros": True}, {"max_drop": 0.1}]
)
def test_more_may_be_wanted_than_to_trim_as_much_as_can_be(more: dict[str, Any]) -> None:
    assert not Options(trim="up-to:0.3", **more).only_trims_best_effort


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("2:4", SharePattern(2, 4)),
        ("1:16", SharePattern(1, 16)),
        ("k:64", TilePattern(64)),
        ("tile:16x16", TilePattern(16)),
        (None, None),
    ],
)
def test_patterns(text: str | None, pattern: LayerPattern | None) -> None:
    assert Options(pattern=text).layer_pattern == pattern


@pytest.mark.parametrize(
    ("values", "pattern"),
    [
        ({"sparsity": 0.8}, TilePattern(64)),
        ({"max_drop": "1%"}, TilePattern(64)),
        ({"sparsity": 0.8, "pattern": "tile:16x16"}, TilePattern(16)),
        ({"pattern": "2:4"}, SharePattern(2, 4)),
        ({"trim": 0.3}, None),
        ({"keep_zeros": True}, None),
        ({"speedup": 2}, None),
    ],
)
def test_a_target_with_sparse_kernels_wants_tiles_where_weights_keep_their_places(
    values: dict[str, Any], pattern: LayerPattern | None
) -> None:
    options = Options(target="cpu-sparse", **values)
    assert options.layer_pattern == pattern
    assert options.keep_dangling_units == (pattern is not None)
    assert Options(target="cpu", **values).layer_pattern == (pattern if "pattern" in values else None)


def test_a_target_alone_removes_no_weight() -> None:
    assert Options(target="cpu-sparse", quantize="int8").pruned_share == 0.0
    assert Options(pattern="k:64", quantize="int8").pruned_share == 0.5


@pytest.mark.parametrize(
    ("values", "goes"),
    [
        ({}, True),
        ({"quantize": "int8", "max_drop": "1%"}, True),
        ({"quantize": "int8", "max_drop": "1%", "provider": "cuda"}, False),
        ({"pattern": "k:64", "max_drop": "1%"}, True),
        ({"target": "cpu"}, False),
        ({"quantize": "int8"}, False),
        ({"quantize": "w4a8", "max_drop": "1%"}, False),
        ({"values": "float16", "max_drop": "1%"}, False),
        ({"max_drop": "1%", "max_size": "1MB"}, False),
        ({"max_drop": "1%", "speedup": 2}, False),
        ({"max_drop": "1%", "prefer": "size"}, False),
    ],
)
def test_a_drop_alone_is_reached_by_the_times_of_sparse_kernels(values: dict[str, Any], goes: bool) -> None:
    assert Options(**{"target": "cpu-sparse", **values}).goes_by_sparse_times == goes


@pytest.mark.parametrize(("target", "first"), [("cpu", "w4a8"), ("cpu-sparse", "int8")])
def test_bits_make_no_sparse_kernel_faster(target: str, first: str) -> None:
    options = Options(max_drop="1%", target=target)
    assert options.forms_to_try(gains_by_integers=True)[0] == first
    assert options.forms_to_try(gains_by_integers=False)[0] == "codebook"


def accuracy(outputs: Any, labels: Any) -> float:
    return float(np.mean(outputs == labels))


def test_options_are_described_as_json_without_folders(tmp_path: Path) -> None:
    options = Options(
        layers={"first": 0.5},
        pictures=PictureOptions(crop=8),
        classes=tmp_path / "classes.txt",
        timings=tmp_path / "timings.json",
        work=tmp_path / "work",
        custom_ops=(str(tmp_path / "library.so"),),
        metric=accuracy,
    )
    values = json.loads(json.dumps(options.described()))
    assert str(tmp_path) not in json.dumps(values)
    assert "work" not in values
    assert (values["classes"], values["timings"], values["custom_ops"]) == (
        "classes.txt",
        "timings.json",
        ["library.so"],
    )
    assert (values["layers"], values["pictures"]["crop"], values["metric"]) == ({"first": 0.5}, 8, "accuracy")
    assert values["round_to"] is None, "as given"
    assert Options(metric=functools.partial(accuracy, labels=1)).described()["metric"] == "partial"
    assert Options(metric="scores:accuracy").described()["metric"] == "scores:accuracy"


@pytest.mark.parametrize(
    ("name", "value"),
    [("sparsity", np.float32(0.5)), ("limit", np.int64(40)), ("pack", np.False_), ("speedup", np.float64(2.0))],
)
def test_numbers_of_numpy_become_those_of_python(name: str, value: Any) -> None:
    stored = getattr(Options(**{name: value}), name)
    assert (type(stored), stored) == (type(value.item()), value.item())


def test_numbers_of_numpy_and_lists_are_taken() -> None:
    model = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N,8] x, float[8,16] v, float[16,4] w) => (float[N,4] y) '
        "{ h = Gemm(x, v) r = Relu(h) y = Gemm(r, w) }"
    )
    rng = np.random.default_rng(0)
    for value, shape in zip(list(model.graph.inputs)[1:], ((8, 16), (16, 4)), strict=True):
        value.const_value = ir.tensor(rng.standard_normal(shape).astype(np.float32), name=value.name)
        model.graph.register_initializer(value)
    del model.graph.inputs[1:]
    for node, name in zip((model.graph[0], model.graph[2]), ("first", "second"), strict=True):
        node.name = name
    options: dict[str, Any] = {
        "sparsity": np.float32(0.5),
        "limit": np.int64(40),
        "layers": {"first": np.float32(0.5)},
        "exclude": ["second"],
    }
    inputs = rng.standard_normal((80, 8)).astype(np.float32)
    result = compress(model, inputs, **options, method="obs", damping=0.01)
    report = json.loads(result.report.to_json())
    assert (report["options"]["sparsity"], report["options"]["layers"]) == (0.5, {"first": 0.5})
    assert report["calibration"]["samples"] == 40
    assert json.loads(result.model.metadata_props["netsurgeon"])["sparsity"] == 0.5


def test_sessions_are_made_as_the_options_say_and_as_in_production_where_they_are_timed() -> None:
    options = Options(provider="cpu", threads=2, custom_ops=("library.so",))
    assert options.runtime() == Runtime(("library.so",), "cpu")
    assert options.runtime(timed=True) == Runtime(("library.so",), "cpu", 2, deployed=True)


def test_a_search_with_full_effort_chooses_repair_where_the_user_has_not() -> None:
    assert Options(effort="full").may_choose_repair, "the goal that stands where nothing is said"
    assert Options(effort="full", max_size="1MB").may_choose_repair
    others: tuple[dict[str, Any], ...] = ({}, {"effort": "fast"}, {"effort": "full", "sparsity": 0.5})
    chosen: tuple[dict[str, Any], ...] = ({"effort": "full", "repair": False}, {"effort": "full", "repair": True})
    assert not any(Options(**options).may_choose_repair for options in (*others, *chosen))


def test_structures_are_judged_after_a_repair_with_full_effort_and_a_drop_alone() -> None:
    assert Options(max_drop="1%", max_macs="1M", repair=True, effort="full").repairs_structures
    for options in ({"effort": None}, {"max_drop": None}, {"repair": False}, {"repair": None}):
        given: dict[str, Any] = {"max_drop": "1%", "max_macs": "1M", "repair": True, "effort": "full", **options}
        assert not Options(**given).repairs_structures
