"""Checkpoints give back tensors and facts, and other files are refused."""

from pathlib import Path

import pytest
import torch
from torch import nn

from netsurgeon.models.training.checkpoints import load_checkpoint, load_state, save_checkpoint


def test_tensors_come_back_in_their_groups_with_the_facts(tmp_path: Path) -> None:
    groups = {
        "network": {"a/weight": torch.rand(3, 2).T, "bias": torch.tensor([1, 2])},
        "masks": {"a/weight": torch.tensor([True, False])},
    }
    facts = {"step": 7, "rate": 0.25, "names": ["x"]}
    save_checkpoint(tmp_path / "run.safetensors", groups, facts)
    tensors, told = load_checkpoint(tmp_path / "run.safetensors")
    assert told == facts
    assert {group: set(members) for group, members in tensors.items()} == {g: set(m) for g, m in groups.items()}
    for group, members in groups.items():
        for name, tensor in members.items():
            torch.testing.assert_close(tensors[group][name], tensor, rtol=0, atol=0)


def test_a_save_that_fails_leaves_the_last_checkpoint_alone(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    save_checkpoint(path, {"network": {"w": torch.ones(2)}}, {"step": 1})
    before = path.read_bytes()
    with pytest.raises(TypeError):
        save_checkpoint(path, {"network": {"w": torch.zeros(2)}}, {"step": object()})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="is not a checkpoint of netsurgeon"):
        load_checkpoint(path)
    with pytest.raises(ValueError, match="is not a checkpoint of netsurgeon"):
        load_checkpoint(tmp_path / "missing.safetensors")


def test_the_state_of_another_network_is_refused(tmp_path: Path) -> None:
    source, goal = nn.Linear(3, 2), nn.Linear(3, 2)
    load_state(goal, source.state_dict(), tmp_path)
    assert torch.equal(goal.weight, source.weight)
    with pytest.raises(ValueError, match=r"holds another network: .*weight"):
        load_state(nn.Linear(4, 2), source.state_dict(), tmp_path)
