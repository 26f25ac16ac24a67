"""The training loop: seeded, resumable, on one process or several.

Everything random in a step is a function of the seed, the step and the rank, so a run that was killed and started
again ends with the same weights, to the last bit, as one that was not (on the same machine and libraries).
"""

from __future__ import annotations

import csv
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from netsurgeon.models.atomic_write import replaced
from netsurgeon.models.surgery import Count, Surgery
from netsurgeon.models.training.checkpoints import load_checkpoint, load_state, save_checkpoint
from netsurgeon.models.training.datasets import Examples, Rows, augment, rows_of_step, seed_of_step
from netsurgeon.models.training.distributed import Process
from netsurgeon.models.training.recipes import Recipe

CHECKPOINT = "checkpoint.safetensors"
LOG = "log.csv"
HISTORY = "surgery.csv"
SAVE_EVERY = 30.0
"""Seconds between two checkpoints, which are written at rows of the log only."""
BATCH = 500
"""Examples at once when nothing is trained."""

Objective = Callable[[Tensor, Tensor, Rows], Tensor]
"""The loss of a batch: from outputs, inputs and rows."""
Report = Callable[[int, int], None]
"""Called with the steps done and the steps in all."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One row of the log: means over the steps since the row before; the error is a share of the validation split."""

    step: int
    loss: float
    learning_rate: float
    error: float | None


@dataclasses.dataclass
class Job:
    """One training run.

    Attributes:
        network: what is trained, on the process's device. Where it has `rates`, these are how many times the learning
            rate its parameters have, by name.
        data: what it is trained on.
        objective: the loss.
        recipe: the constants.
        seed: of everything random.
        folder: where checkpoints and logs go; None = nowhere.
        surgery: what chooses masks, if anything.
        validation: what the error in the log is measured on.
        process: who we are.
        report: called after each step.
        log: what has happened.
        history: what surgery has done.
    """

    network: nn.Module
    data: Examples
    objective: Objective
    recipe: Recipe
    seed: int = 0
    folder: Path | None = None
    surgery: Surgery | None = None
    validation: Examples | None = None
    process: Process = dataclasses.field(default_factory=Process)
    report: Report = lambda done, count: None
    log: list[Entry] = dataclasses.field(default_factory=list)
    history: list[Count] = dataclasses.field(default_factory=list)

    def run(self) -> None:
        """Train to the last step, from the checkpoint in the folder if there is one.

        Raises:
            ValueError: the checkpoint is of another network, the data are too few, or the loss is not finite.
        """
        recipe = self.recipe
        parameters = dict(self.network.named_parameters())
        optimizer = _optimizer(parameters, getattr(self.network, "rates", {}), recipe)
        started = self._resume(optimizer, parameters)
        called = self.process.wrapped(self.network)
        total, recorded, saved = torch.zeros((), device=self.process.device), started, time.monotonic()
        for step in range(started, recipe.steps):
            for group in optimizer.param_groups:
                group["lr"] = group["times"] * recipe.rate(step)
            self.network.train()
            total += self._step(called, optimizer, step)
            self.report(step + 1, recipe.steps)
            last = step + 1 == recipe.steps
            if (step + 1) % recipe.log_every and not last:
                continue
            self._record(step + 1, total.item() / (step + 1 - recorded))
            total.zero_()
            recorded = step + 1
            if last or time.monotonic() - saved > SAVE_EVERY:
                self._save(step + 1, optimizer, parameters)
                saved = time.monotonic()
        self.network.eval()
        self.process.wait()

    def _step(self, called: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> Tensor:
        recipe, process = self.recipe, self.process
        if self.surgery is not None:
            self.surgery.update(step)
        rows = rows_of_step(self.data.count, recipe.batch_size, self.seed, step)[process.rank :: process.world]
        seed = seed_of_step(self.seed, step, process.rank)
        torch.manual_seed(seed)
        inputs = torch.from_numpy(self.data.inputs(rows))
        if recipe.shift or recipe.flip:
            inputs = augment(inputs, recipe.shift, recipe.flip, torch.Generator().manual_seed(seed))
        inputs = inputs.to(process.device)
        with torch.autocast(process.device.type, torch.bfloat16, enabled=recipe.bfloat16):
            outputs = called(inputs)
        loss = self.objective(outputs.float(), inputs, rows)
        optimizer.zero_grad()
        loss.backward()
        if self.surgery is not None:
            self.surgery.feel()
        if recipe.clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip)
        optimizer.step()
        return loss.detach()

    def _record(self, step: int, loss: float) -> None:
        if not torch.isfinite(torch.tensor(loss)):
            raise ValueError(
                f"the loss is {loss} after {step} steps: a smaller learning rate than "
                f"{self.recipe.learning_rate:g} may help"
            )
        measured = self.validation is not None and self.validation.labels is not None
        error = error_of(self.network, self.validation, self.process) if measured and self.validation else None
        self.log.append(Entry(step, loss, self.recipe.rate(step - 1), error))
        if self.surgery is not None:
            self.history += self.surgery.record(step)

    def _save(self, step: int, optimizer: torch.optim.Optimizer, parameters: dict[str, nn.Parameter]) -> None:
        if self.folder is None or not self.process.is_main_process:
            return
        moments = {
            f"{name}/{key}": value
            for name, parameter in parameters.items()
            for key, value in optimizer.state[parameter].items()
            if isinstance(value, Tensor)
        }
        groups = {"network": self.network.state_dict(), "optimizer": moments}
        if self.surgery is not None:
            groups["surgery"] = self.surgery.state()
        write_rows(self.folder / LOG, Entry, self.log)
        if self.surgery is not None:
            write_rows(self.folder / HISTORY, Count, self.history)
        save_checkpoint(self.folder / CHECKPOINT, groups, {"step": step})

    def _resume(self, optimizer: torch.optim.Optimizer, parameters: dict[str, nn.Parameter]) -> int:
        """The step to go on with."""
        if self.folder is None or not (self.folder / CHECKPOINT).is_file():
            return 0
        path = self.folder / CHECKPOINT
        groups, facts = load_checkpoint(path)
        step = int(facts["step"])
        load_state(self.network, groups["network"], path)
        for place, moment in groups.get("optimizer", {}).items():
            name, _, key = place.rpartition("/")
            optimizer.state[parameters[name]][key] = moment if moment.ndim == 0 else moment.to(self.process.device)
        if self.surgery is not None:
            self.surgery.load_state(groups["surgery"])
            self.history = [row for row in read_rows(self.folder / HISTORY, Count) if row.step <= step]
        self.log = [row for row in read_rows(self.folder / LOG, Entry) if row.step <= step]
        return step


def _optimizer(
    parameters: Mapping[str, nn.Parameter], rates: Mapping[str, float], recipe: Recipe
) -> torch.optim.Optimizer:
    """One group for all parameters that have as many `times` the recipe's learning rate: once where none is given."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        groups.setdefault(rates.get(name, 1.0), []).append(parameter)
    grouped = [{"params": members, "times": times} for times, members in groups.items()]
    common: dict[str, Any] = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay}
    if recipe.optimizer == "adam":
        return torch.optim.AdamW(grouped, **common)
    return torch.optim.SGD(grouped, momentum=recipe.momentum, **common)


def classification(labels: Any, device: torch.device) -> Objective:
    """Cross entropy of the classes of all examples, (count,)."""
    targets = torch.from_numpy(labels).to(device)

    def loss(outputs: Tensor, inputs: Tensor, rows: Rows) -> Tensor:
        del inputs
        return functional.cross_entropy(outputs, targets[torch.from_numpy(rows).to(device)])

    return loss


@torch.no_grad()
def outputs_of(network: nn.Module, examples: Examples, process: Process) -> Tensor:
    """The network's outputs in evaluation mode, (count, …) float32 on the CPU."""
    trains = network.training
    network.eval()
    rows = torch.arange(examples.count).split(BATCH)
    outputs = [
        network(torch.from_numpy(examples.inputs(part.numpy())).to(process.device)).float().cpu() for part in rows
    ]
    network.train(trains)
    return torch.cat(outputs)


def error_of(network: nn.Module, examples: Examples, process: Process) -> float:
    """Share of labelled examples whose class is not the one with the largest output."""
    if examples.labels is None:
        raise ValueError("the examples have no labels: an error cannot be measured")
    wrong = outputs_of(network, examples, process).argmax(1).numpy() != examples.labels
    return float(wrong.mean())


def write_rows(path: Path, kind: type, rows: Sequence[Any]) -> None:
    """Write dataclass instances as CSV, beside the goal and rename."""
    with replaced(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(kind)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(dataclasses.asdict(row) for row in rows)


def read_rows(path: Path, kind: type) -> list[Any]:
    """Dataclass instances from CSV; an empty cell is None."""
    makers: dict[str, Callable[[str], Any]] = {
        "int": int,
        "float": float,
        "str": str,
        "float | None": lambda cell: float(cell) if cell else None,
    }
    with path.open(newline="", encoding="utf-8") as file:
        return [
            kind(**{field.name: makers[str(field.type)](row[field.name]) for field in dataclasses.fields(kind)})
            for row in csv.DictReader(file)
        ]
