"""How fast the processor is: measured, kept, read, and what the provider makes of it and tells of it."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from _sparse_models import Network
from onnx import helper
from sparse_kernels import library
from sparse_sessions import explained, inputs, package, session


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where rates are kept."""
    path = tmp_path / "cache" / "rates.json"
    monkeypatch.setenv("NETSURGEON_SPARSE_RATES", str(path))
    package()
    from netsurgeon_sparse import rates

    monkeypatch.setattr(rates, "_measured", {})
    return path


def document(rates: dict[str, float], **other: str) -> str:
    """What is kept of rates that were measured here, or elsewhere."""
    package()
    from netsurgeon_sparse.rates import measured_on

    processor, isa = measured_on()
    assert processor
    assert isa in library().isas
    return json.dumps({"processor": processor, "isa": isa, "rates": rates, **other})


def write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, "utf-8")


def convolutions() -> onnx.ModelProto:
    """One convolution with many zeros, one without, and one in groups."""
    network = Network(0.9)
    value = network.convolution(network.quantize("x", 0.02, 120), (64, 64), 3, step=0.02)
    value = network.convolution(value, (64, 64), 3, step=4 / 255, dense=True)
    model = network.model({"x": [1, 64, 14, 14]}, value, [None] * 4)
    for node, name in zip((n for n in model.graph.node if n.op_type == "Conv"), ("sparse", "dense"), strict=True):
        node.name = name
    return model


def test_it_is_said_what_is_taken_and_why_the_rest_is_not(tmp_path: Path) -> None:
    said = explained(convolutions(), tmp_path / "explanation")
    assert said["sparse"][0] == "taken"
    assert said["sparse"][1].startswith("NetsurgeonSparse")
    what, reason = said["dense"]
    assert what == "left"
    assert reason.startswith("it gains too little: ")


def test_a_layer_in_another_form_has_its_reason(tmp_path: Path) -> None:
    model = convolutions()
    dense = next(node for node in model.graph.node if node.name == "dense")
    weight = next(node for node in model.graph.node if node.output[0] == dense.input[1]).input[0]
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == weight)
    tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor)[:, :1].copy(), weight))
    dense.attribute.append(helper.make_attribute("group", 64))
    assert explained(model, tmp_path / "explanation")["dense"] == ("left", "its channels are in groups")


def test_rates_decide_what_gains(tmp_path: Path) -> None:
    model = convolutions()
    quick, slow = (explained(model, tmp_path / rate, rates=f"dense={rate} slots=250") for rate in ("1", "99999"))
    assert (quick["sparse"][0], slow["sparse"][0]) == ("taken", "left")


def test_gathering_counts_where_windows_do_not_lie_in_the_image_as_they_are(tmp_path: Path) -> None:
    """The same layer of 56 channels and of 64, whose windows are whole, where gathering takes no time and for ever."""
    decisions = []
    for channels in (56, 64):
        network = Network(0.9)
        value = network.convolution(network.quantize("x", 0.02, 120), (channels, 64), 3, step=0.02)
        model = network.model({"x": [1, channels, 14, 14]}, value, [None] * 4)
        for rate in ("1e9", "1e-3"):
            said = explained(model, tmp_path / f"{channels} {rate}", rates=f"slots=250 dense=460 pieces={rate}")
            decisions += [what for what, _ in said.values()]
    assert decisions == ["taken", "left", "taken", "taken"]


def test_a_part_that_is_not_seen_is_free_and_one_of_no_layer_is_left_out() -> None:
    package()
    from netsurgeon_sparse.rates import FREE, _Fit

    fit = _Fit(("slots", "finished", "calls", "lines"))
    for slots, outputs in ((1.0, 5.0), (2.0, 1.0), (4.0, 3.0), (8.0, 2.0)):
        fit.add((slots, outputs, 1.0, 0.0), 0.5 * slots - 0.01 * outputs + 2.0)
    rates = fit.rates()
    assert (rates["slots"], rates["calls"]) == pytest.approx((2.0, 0.5), rel=0.05)
    assert rates["finished"] == FREE
    assert "lines" not in rates

    backwards = _Fit(("slots", "calls"))
    for slots in (1.0, 2.0, 4.0):
        backwards.add((slots, 1.0), 8.0 - slots)
    assert set(backwards.rates()) == {"calls"}, "nothing is decided by a part that says more work takes less time"


@pytest.mark.parametrize("rates", ["slots", "slots=", "slots=-1", "slots=nan", "speed=1", "slots=1e999"])
def test_rates_that_are_none_are_refused_in_a_sentence(rates: str, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"the option rates has '\w+', expected slots=250 dense=460 and the like"):
        explained(convolutions(), tmp_path / "explanation", rates=rates)


def test_rates_that_are_kept_are_options_of_the_provider(kept: Path) -> None:
    assert package().provider_options() == {"claim": "auto"}
    write(kept, document({"slots": 200.0, "dense": 1.5}))
    assert package().provider_options("all") == {"claim": "all", "rates": "slots=200 dense=1.5"}
    model = convolutions()
    feed = inputs(model)
    np.testing.assert_array_equal(session(model, claim="auto").run(None, feed)[0], session(model).run(None, feed)[0])


@pytest.mark.parametrize("text", ["", "[]", '{"rates": {}}', '{"rates": {"slots": 0}}', '{"rates": {"speed": 1}}'])
def test_a_file_without_rates_is_left_out_with_a_warning(kept: Path, text: str) -> None:
    write(kept, text)
    with pytest.warns(UserWarning, match="holds no rates of netsurgeon-sparse, and is left out: measure again"):
        assert package().provider_options() == {"claim": "auto"}


def test_bytes_that_are_no_text_are_left_out_with_a_warning(kept: Path) -> None:
    write(kept, "")
    kept.write_bytes(b"\xff\xfe{}")
    with pytest.warns(UserWarning, match="holds no rates of netsurgeon-sparse"):
        assert package().provider_options() == {"claim": "auto"}


def test_processors_of_the_same_name_are_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As of two generations that a virtual machine both calls AMD EPYC, and of two ARM processors."""
    package()
    from netsurgeon_sparse import rates

    names = []
    for lines in (
        "model\t\t: 17\nmodel name\t: EPYC",
        "model\t\t: 68\nmodel name\t: EPYC",
        "CPU implementer\t: 0x41\nCPU part\t: 0xd0c",
        "CPU implementer\t: 0x41\nCPU part\t: 0xd40",
    ):
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{lines}\n\nprocessor\t: 1\n")
        monkeypatch.setattr(rates, "CPU_INFO", tmp_path / "cpuinfo")
        rates._processor.cache_clear()
        names.append(rates._processor())
    rates._processor.cache_clear()
    assert names == ["17 EPYC", "68 EPYC", "0x41 0xd0c", "0x41 0xd40"]


@pytest.mark.parametrize("other", [{"processor": "another one"}, {"isa": "avx2-of-old"}])
def test_rates_of_another_processor_or_other_kernels_count_for_nothing(kept: Path, other: dict[str, str]) -> None:
    write(kept, document({"slots": 200.0}, **other))
    assert package().provider_options() == {"claim": "auto"}
    write(kept, json.dumps({"rates": {"slots": 200.0}}))
    assert package().provider_options() == {"claim": "auto"}, "nobody knows of which"


def test_rates_that_cannot_be_kept_count_while_the_process_runs(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package()
    from netsurgeon_sparse import rates

    monkeypatch.setattr(rates, "LAYERS", ((64, 3, 14), (64, 1, 28)))
    for others in ("CALLS", "GATHERED", "LINES"):
        monkeypatch.setattr(rates, others, ())
    monkeypatch.setattr(rates, "_times", lambda channels, kernel, size, steps: (1e3 * steps, 1e4))
    kept.parent.write_text("no folder", "utf-8")
    with pytest.raises(OSError, match="cache"):
        package().measure_rates()
    assert package().read_rates()
    assert "rates" in package().provider_options()


def test_rates_are_measured_and_kept(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package()
    from netsurgeon_sparse import rates

    monkeypatch.setattr(rates, "LAYERS", ((64, 3, 14), (64, 1, 28)))
    monkeypatch.setattr(rates, "GATHERED", ((40, 3, 7),))
    monkeypatch.setattr(rates, "CALLS", ((64, 1, 1),))
    monkeypatch.setattr(rates, "LINES", ((16, 3, 32),))
    measured = package().measure_rates()
    assert set(measured) <= set(rates.NAMES)
    assert {"slots", "dense"} <= set(measured)
    assert package().read_rates() == pytest.approx(measured)
    assert json.loads(kept.read_text("utf-8"))["isa"] == library().isa()
    assert [file.name for file in kept.parent.iterdir()] == ["rates.json"]
