"""A run folder gives back what was saved: settings, the network with its masks multiplied in, and real inputs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from netsurgeon.models.networks.presets import built
from netsurgeon.models.runs import (
    RUN,
    Run,
    load_network,
    load_run,
    load_samples,
    load_weights,
    plain_state,
    save_samples,
)
from netsurgeon.models.surgery import Surgery, SurgeryPlan, bake
from netsurgeon.models.training import CHECKPOINT, save_checkpoint

RUN_OF_LENET = Run("lenet300", 10, {"seed": 3, "settings": None}, {"allocation": "lamp", "errors": [0.5, 0.25]})
IMAGE = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def keep(network: nn.Module, folder: Path) -> None:
    RUN_OF_LENET.save(folder)
    save_checkpoint(folder / CHECKPOINT, {"network": network.state_dict(), "optimizer": {}}, {"step": 5})


def operated() -> nn.Module:
    """A network under surgery, whose pruned weights have values of their own."""
    network = built("lenet300", 10, seed=1)
    surgery = Surgery(network, SurgeryPlan(c={"*": 1.0}))
    surgery.update(0)
    assert 0 < surgery.kept < surgery.size
    return network.eval()


def test_what_was_asked_for_and_found_comes_back(tmp_path: Path) -> None:
    RUN_OF_LENET.save(tmp_path)
    assert load_run(tmp_path) == RUN_OF_LENET
    assert [path.name for path in tmp_path.iterdir()] == [RUN]


@pytest.mark.parametrize("text", [None, "{", "[]", '{"network": "lenet300"}', json.dumps({"speed": 3})])
def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / RUN).write_text(text)
    with pytest.raises(ValueError, match=r"is not the folder of a run, which `train --out` makes"):
        load_run(tmp_path)


def test_a_run_that_has_trained_nothing_yet_has_no_network(tmp_path: Path) -> None:
    RUN_OF_LENET.save(tmp_path)
    with pytest.raises(ValueError, match="nothing has been trained yet, run `train` again"):
        load_network(tmp_path)


def test_a_network_comes_back_in_evaluation_mode(tmp_path: Path) -> None:
    network = built("lenet300", 10, seed=1)
    keep(network, tmp_path)
    run, loaded = load_network(tmp_path)
    assert run == RUN_OF_LENET
    assert not loaded.training
    assert torch.equal(loaded(IMAGE), network.eval()(IMAGE))


def test_masks_are_multiplied_in(tmp_path: Path) -> None:
    network = operated()
    state = plain_state(network.state_dict())
    keep(network, tmp_path)
    expected = network(IMAGE)
    bake(network)
    assert state.keys() == network.state_dict().keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    assert torch.equal(load_network(tmp_path)[1](IMAGE), expected)


def test_the_state_of_a_network_without_masks_is_plain_already() -> None:
    state = built("lenet300", 10, seed=1).state_dict()
    plain = plain_state(state)
    assert plain.keys() == state.keys()
    assert all(plain[name] is tensor for name, tensor in state.items())


def test_a_trimmed_network_comes_back_with_its_widths(tmp_path: Path) -> None:
    network = built("lenet300", 10, seed=1)
    state = network.state_dict()
    narrow = {**state, "ip1.weight": state["ip1.weight"][:40], "ip1.bias": state["ip1.bias"][:40]}
    narrow["ip2.weight"] = state["ip2.weight"][:, :40]
    RUN_OF_LENET.save(tmp_path)
    save_checkpoint(tmp_path / CHECKPOINT, {"network": narrow}, {"step": 5})
    _, loaded = load_network(tmp_path)
    shapes = {name: parameter.shape for name, parameter in loaded.named_parameters()}
    assert shapes == {name: tensor.shape for name, tensor in narrow.items()}
    masked = {**state, "ip2.weight": state["ip2.weight"].clone()}
    masked["ip2.weight"][:, 40:] = 0.0
    network.load_state_dict(masked)
    torch.testing.assert_close(loaded(IMAGE), network.eval()(IMAGE))


@pytest.mark.parametrize(("name", "classes"), [("lenet5", 10), ("lenet300", 7), ("lenet300", 11)])
def test_the_checkpoint_of_another_network_is_refused(tmp_path: Path, name: str, classes: int) -> None:
    keep(built(name, classes, seed=0), tmp_path)
    with pytest.raises(ValueError, match="holds another network"):
        load_weights(built("lenet300", 10, seed=0), tmp_path / CHECKPOINT)


def test_real_inputs_come_back(tmp_path: Path) -> None:
    inputs = np.random.default_rng(0).random((5, 1, 28, 28), np.float32)
    save_samples(tmp_path, inputs)
    np.testing.assert_array_equal(load_samples(tmp_path).numpy(), inputs)
