"""The loop: its steps are those of the optimizer, its log is exact, and a run that was stopped ends the same."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from labelled_points import Points, clouds, labels_of, perceptron
from torch import nn
from torch.nn import functional

from netsurgeon.models.surgery import Surgery, SurgeryPlan
from netsurgeon.models.training import loop
from netsurgeon.models.training.checkpoints import load_checkpoint
from netsurgeon.models.training.datasets import rows_of_step
from netsurgeon.models.training.distributed import Process
from netsurgeon.models.training.loop import Entry, Job, classification, error_of, outputs_of, read_rows, write_rows
from netsurgeon.models.training.recipes import Recipe

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
DATA = clouds(40)
RECIPE = Recipe(steps=12, batch_size=8, learning_rate=0.1, schedule="cosine", log_every=5)
SURGERY = SurgeryPlan(c={"*": 0.3}, gamma=0.0, stop=9)


def job(network: nn.Module, recipe: Recipe = RECIPE, **options: Any) -> Job:
    return Job(network, DATA, classification(labels_of(DATA), CPU), recipe, **options)


def trained(seed: int) -> dict[str, torch.Tensor]:
    network = perceptron()
    job(network, seed=seed).run()
    return network.state_dict()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# ------------------------------------------------------------------------------------------------ steps
def test_weights_are_a_function_of_the_seed() -> None:
    first = trained(seed=0)
    torch.rand(7)  # what else is drawn between two runs does not matter
    assert same(first, trained(seed=0))
    assert not same(first, trained(seed=1))


@pytest.mark.parametrize("clip", [None, 0.2])
def test_a_step_is_gradient_descent_with_momentum_and_weight_decay(clip: float | None) -> None:
    recipe = dataclasses.replace(RECIPE, steps=4, momentum=0.7, weight_decay=0.01, clip=clip, warm_up=2)
    torch.manual_seed(0)
    network = nn.Linear(3, 2)
    weight = torch.cat([network.weight.detach(), network.bias.detach()[:, None]], 1).double()
    velocity = torch.zeros_like(weight)
    points = torch.cat([torch.from_numpy(DATA.array), torch.ones(DATA.count, 1)], 1).double()
    for step in range(recipe.steps):
        rows = rows_of_step(DATA.count, recipe.batch_size, 3, step)
        x, labels = points[rows], torch.from_numpy(labels_of(DATA)[rows])
        error = (x @ weight.T).softmax(1) - functional.one_hot(labels, 2)
        gradient = error.T @ x / len(rows)
        if clip is not None:
            gradient = gradient * min(1.0, clip / float(gradient.norm()))
        velocity = recipe.momentum * velocity + gradient + recipe.weight_decay * weight
        weight = weight - recipe.rate(step) * velocity
    job(network, recipe, seed=3).run()
    torch.testing.assert_close(network.weight.detach().double(), weight[:, :3], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network.bias.detach().double(), weight[:, 3], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_parameters_have_as_many_times_the_learning_rate_as_the_network_says(optimizer: str) -> None:
    recipe = Recipe(steps=1, batch_size=10, learning_rate=1e-3, weight_decay=0.0, optimizer=optimizer)

    def moved(rates: dict[str, float]) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        network = perceptron()
        before = {name: value.detach().clone() for name, value in network.named_parameters()}
        network.rates = rates  # type: ignore[assignment]
        job(network, recipe).run()
        return {name: value.detach() - before[name] for name, value in network.named_parameters()}

    usual = moved({})
    first, *others = usual
    changed = moved({first: 3.0, others[0]: 0.0})
    assert usual[first].abs().max() > 0.0
    torch.testing.assert_close(changed[first], 3.0 * usual[first], rtol=1e-2, atol=1e-6)
    assert not changed[others[0]].any()
    for name in others[1:]:
        torch.testing.assert_close(changed[name], usual[name])


def test_training_learns_and_ends_in_evaluation_mode() -> None:
    network = perceptron()
    before = error_of(network, DATA, Process())
    told: list[tuple[int, int]] = []
    job(network, dataclasses.replace(RECIPE, steps=60), report=lambda done, count: told.append((done, count))).run()
    assert error_of(network, DATA, Process()) < min(before, 0.15)
    assert not network.training
    assert told == [(done, 60) for done in range(1, 61)]


# ------------------------------------------------------------------------------------------------ log
def losses_of(network: nn.Module, steps: range) -> list[float]:
    """The loss of the batch of every step, at weights that do not change."""
    losses = []
    for step in steps:
        rows = rows_of_step(DATA.count, RECIPE.batch_size, 0, step)
        outputs = network(torch.from_numpy(DATA.array[rows])).detach()
        losses.append(float(functional.cross_entropy(outputs, torch.from_numpy(labels_of(DATA)[rows]))))
    return losses


def test_a_row_of_the_log_is_the_mean_since_the_row_before() -> None:
    torch.manual_seed(0)
    network = nn.Linear(3, 2)
    recipe = dataclasses.replace(RECIPE, learning_rate=1e-30)
    run = job(network, recipe, validation=clouds(30, seed=1))
    run.run()
    losses = losses_of(network, range(12))
    means = [np.mean(losses[:5]), np.mean(losses[5:10]), np.mean(losses[10:])]
    assert [entry.step for entry in run.log] == [5, 10, 12]
    assert [entry.loss for entry in run.log] == pytest.approx(means, rel=1e-5)
    assert [entry.learning_rate for entry in run.log] == [recipe.rate(4), recipe.rate(9), recipe.rate(11)]
    assert {entry.error for entry in run.log} == {error_of(network, clouds(30, seed=1), Process())}


def test_a_row_after_an_end_that_was_put_off_is_the_mean_since_then(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Linear(3, 2)
    recipe = dataclasses.replace(RECIPE, learning_rate=1e-30)
    job(network, recipe, folder=tmp_path).run()
    longer = job(network, dataclasses.replace(recipe, steps=17), folder=tmp_path)
    longer.run()
    losses = losses_of(network, range(17))
    assert [entry.step for entry in longer.log] == [5, 10, 12, 15, 17]
    assert [entry.loss for entry in longer.log[3:]] == pytest.approx([np.mean(losses[12:15]), np.mean(losses[15:])])


@pytest.mark.parametrize("validation", [None, Points(DATA.array, None)], ids=["no examples", "no labels"])
def test_an_error_that_cannot_be_measured_is_left_out(validation: Points | None) -> None:
    run = job(perceptron(), validation=validation)
    run.run()
    assert [entry.error for entry in run.log] == [None] * 3


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, learning_rate=1e30)
    with pytest.raises(
        ValueError, match=r"the loss is \S+ after 5 steps: a smaller learning rate than 1e\+30 may help"
    ):
        job(perceptron(), recipe, folder=tmp_path).run()
    assert not list(tmp_path.iterdir())


def test_rows_come_back_from_their_file(tmp_path: Path) -> None:
    rows = [Entry(10, 0.1 + 0.2, 1e-30, None), Entry(20, float("inf"), 0.0, 1 / 3)]
    write_rows(tmp_path / "log.csv", Entry, rows)
    assert read_rows(tmp_path / "log.csv", Entry) == rows
    assert (tmp_path / "log.csv").read_text("utf-8").splitlines()[0] == "step,loss,learning_rate,error"
    write_rows(tmp_path / "log.csv", Entry, [])
    assert read_rows(tmp_path / "log.csv", Entry) == []
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


# ------------------------------------------------------------------------------------------------ resuming
class StoppedError(Exception):
    pass


def run_in(folder: Path, first_weights: int, recipe: Recipe, surgery: bool, stop: int | None = None) -> None:
    def stop_there(done: int, count: int) -> None:
        if done == stop:
            raise StoppedError

    network = perceptron(first_weights)
    operation = Surgery(network, SURGERY) if surgery else None
    job(network, recipe, folder=folder, surgery=operation, validation=DATA, report=stop_there).run()


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("surgery", [False, True])
@pytest.mark.parametrize("stop", [3, 7, 11])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str, surgery: bool, stop: int
) -> None:
    recipe = dataclasses.replace(RECIPE, optimizer=optimizer, learning_rate=0.02)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    whole.mkdir()
    stopped.mkdir()
    run_in(whole, 0, recipe, surgery)
    monkeypatch.setattr(loop, "SAVE_EVERY", -1.0)
    with pytest.raises(StoppedError):
        run_in(stopped, 0, recipe, surgery, stop)
    begun = (stopped / loop.CHECKPOINT).is_file()
    assert begun == (stop > RECIPE.log_every)
    run_in(stopped, int(begun), recipe, surgery)  # first weights do not matter once there is a checkpoint
    (one, step), (other, last) = (load_checkpoint(folder / loop.CHECKPOINT) for folder in (whole, stopped))
    assert step == last == {"step": 12}
    assert one.keys() == other.keys()
    assert all(same(one[group], other[group]) for group in one)
    for name in (loop.LOG, loop.HISTORY) if surgery else (loop.LOG,):
        assert (whole / name).read_bytes() == (stopped / name).read_bytes()


def test_a_run_that_has_ended_is_not_trained_again(tmp_path: Path) -> None:
    run_in(tmp_path, 0, RECIPE, surgery=False)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    network = perceptron(1)
    told: list[int] = []
    again = job(network, folder=tmp_path, report=lambda done, count: told.append(done))
    again.run()
    assert not told
    assert [entry.step for entry in again.log] == [5, 10, 12]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert same(network.state_dict(), load_checkpoint(tmp_path / loop.CHECKPOINT)[0]["network"])


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    run_in(tmp_path, 0, RECIPE, surgery=False)
    with pytest.raises(ValueError, match="holds another network"):
        job(nn.Sequential(nn.Linear(3, 2)), folder=tmp_path).run()


# ------------------------------------------------------------------------------------------------ measuring
@pytest.mark.parametrize("trains", [True, False])
def test_outputs_are_those_of_evaluation_mode_however_many_examples_there_are(trains: bool) -> None:
    network, data = perceptron().train(trains), clouds(2 * loop.BATCH + 3)
    outputs = outputs_of(network, data, Process())
    assert network.training == trains
    assert not outputs.requires_grad
    torch.testing.assert_close(outputs, network.eval()(torch.from_numpy(data.array)).detach())


def test_the_error_is_the_share_of_wrong_classes() -> None:
    data = Points(np.eye(4, dtype=np.float32), np.array([0, 1, 3, 2]))
    assert error_of(nn.Identity(), data, Process()) == 0.5
    with pytest.raises(ValueError, match="the examples have no labels"):
        error_of(nn.Identity(), Points(data.array, None), Process())


def test_classification_looks_the_classes_of_the_rows_up() -> None:
    outputs, rows = torch.tensor([[0.0, 2.0], [1.0, 0.0]]), np.array([2, 0])
    loss = classification(np.array([0, 9, 1]), CPU)(outputs, torch.zeros(1), rows)
    assert float(loss) == pytest.approx(float(np.mean([np.log(1 + np.exp(-2.0)), np.log(1 + np.exp(-1.0))])))
