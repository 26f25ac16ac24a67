"""Train a network on pictures: plainly, or with dynamic network surgery; resumable, in a folder of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from netsurgeon.passes.unpack_weights import UnpackWeights
from netsurgeon.pipeline._types import check_types
from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.options import Progress
from netsurgeon.pipeline.pictures import PictureOptions
from netsurgeon.pipeline.runtime import Runtime
from netsurgeon.pipeline.source import TOLERANCE, read_model, relative_difference
from netsurgeon.pipeline.training_data import Examples, TrainingData, open_training_data

VALIDATION = 1 / 12
"""Share of the training data that is held out: 5,000 of MNIST's 60,000."""
SURGERY_SHARE = 0.7
"""Share of the steps after which surgery ends where the number of steps was given."""
PARITY_INPUTS = 64


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """Options of `train`; None leaves what the network's preset says.

    Attributes:
        surgery: prune and splice while training.
        surgery_ratio: parameters per parameter kept; finds c by itself.
        settings: TOML file with any constant: tables ``recipe`` and ``surgery``, named as in `models`.
        steps: updates of the weights.
        batch_size: examples a step.
        learning_rate: of the first step.
        bfloat16: compute in bfloat16.
        device: auto, cpu, cuda or cuda:0.
        validation: share of the training data held out for choices.
        seed: of everything random.
        pictures: how pixels become inputs.
    """

    surgery: bool = False
    surgery_ratio: float | None = None
    settings: Path | None = None
    steps: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    bfloat16: bool = False
    device: str = "auto"
    validation: float = VALIDATION
    seed: int = 0
    pictures: PictureOptions | None = None

    def __post_init__(self) -> None:
        check_types(self)
        if not 0.0 < self.validation < 1.0:
            raise InputError(f"validation is {self.validation}, expected a share above 0 and below 1")
        if self.seed < 0:
            raise InputError(f"seed is {self.seed}, expected 0 or more")


@dataclasses.dataclass(frozen=True)
class LayerCount:
    """Parameters of a layer under surgery, and how many of them are kept."""

    name: str
    size: int
    kept: int
    c: float


@dataclasses.dataclass(frozen=True)
class Training:
    """What came out of `train`.

    Attributes:
        folder: of the run.
        network: its name.
        steps: trained.
        parameters: of the network.
        nonzero: parameters that are not zero.
        layers: under surgery; empty without.
        found: what the run has found by itself.
        validation_error: share of the validation split that is classified wrongly.
        test_error: of the test split; None where the data has none.
    """

    folder: Path
    network: str
    steps: int
    parameters: int
    nonzero: int
    layers: tuple[LayerCount, ...]
    found: Mapping[str, Any]
    validation_error: float
    test_error: float | None


def train(
    network: str,
    data: str | Path,
    out: str | Path,
    *,
    init: str | Path | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Training | None:
    """Train a network; called again with the same arguments it goes on where it was stopped.

    Args:
        network: its name.
        data: see `open_training_data`; the last step's weights are measured once on its test part, if it has one.
        out: folder of the run: ``run.json``, checkpoints, ``log.csv``, and ``surgery.csv`` and ``surgery.png``.
        init: weights to start from: an ONNX file, the folder of another run, or a checkpoint.
        progress: called with stage, steps done and steps in all.
        **options: fields of `TrainOptions`.

    Returns:
        What came out; None in all processes but the first that ``torchrun`` started.

    Raises:
        InputError: an argument cannot be used, the folder holds another run, or PyTorch is not installed.
        CheckFailedError: the weights of an ONNX file do not give its outputs in the network.
    """
    chosen = TrainOptions(**options)
    require_torch()
    with speaking():
        return _train(network, Path(data), Path(out), None if init is None else Path(init), chosen, progress or _silent)


def require_torch() -> None:
    """Check that PyTorch is there.

    Raises:
        InputError: it is not.
    """
    for name in ("torch", "safetensors", "matplotlib"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise InputError(
                f"training needs {name}, which is not installed: run `pip install 'netsurgeon[torch]'`"
            ) from error


@contextlib.contextmanager
def speaking() -> Iterator[None]:
    """What `models` refuses, in the user's words."""
    try:
        yield
    except ValueError as error:
        raise InputError(str(error)) from error


def _silent(stage: str, done: int, count: int) -> None:
    del stage, done, count


def _train(
    name: str, path: Path, out: Path, init: Path | None, options: TrainOptions, progress: Progress
) -> Training | None:
    from netsurgeon.models import distributed, runs
    from netsurgeon.models.datasets import split
    from netsurgeon.models.export import INPUT_NAME
    from netsurgeon.models.networks import NETWORKS

    if name not in NETWORKS:
        raise InputError(f"{name!r} is no network, expected one of {', '.join(NETWORKS)}")
    preset = NETWORKS[name]
    pictures = options.pictures or picture_options(preset)
    data = open_training_data(path, INPUT_NAME, preset.shape, pictures)
    if data.classes is None:
        raise InputError(f"{path} has no labels: give class folders, or labels in the .npz")
    recipe, plan = _constants(preset, options)
    held = max(round(options.validation * data.train.count), 1)
    rows, kept = split(data.train, held, options.seed)
    asked = {
        "data": data.digest(),
        "init": None if init is None else init.name,
        "seed": options.seed,
        "validation": held,
        "recipe": dataclasses.asdict(recipe),
        "surgery": dataclasses.asdict(plan) if plan else None,
    }
    with distributed.joined(options.device) as process:
        report = progress if process.leads else _silent
        module = _start(name, data.classes, options.seed, init, data.train).to(process.device)
        found = _found(out, asked, lambda: _rehearse(module, rows, kept, recipe, plan, options.seed, process, report))
        run = runs.Run(name, data.classes, _plain(asked), found)
        process.wait()  # until all have looked into the folder
        if process.leads:
            out.mkdir(parents=True, exist_ok=True)
            run.save(out)
            runs.save_samples(out, kept.inputs(np.arange(min(held, runs.SAMPLE_COUNT))))
        process.wait()
        if plan and found:
            plan = dataclasses.replace(plan, allocation=found["allocation"])
        job = _job(module, rows, kept, recipe, plan, options.seed, out, process, report)
        job.run()
        return _result(job, run, data) if process.leads else None


def picture_options(preset: Any) -> PictureOptions:
    """How a network's preset says that pixels become inputs."""
    channels, side, _ = preset.shape
    return PictureOptions(
        resize=preset.resize,
        crop=side,
        channels="grey" if channels == 1 else "RGB",
        scale=preset.scale,
        mean=preset.mean,
        std=preset.std,
    )


def _constants(preset: Any, options: TrainOptions) -> tuple[Any, Any]:
    """The recipe, and the plan of the surgery if there is one: the preset, then the file, then the options."""
    tables = _settings(options.settings)
    recipe_values = {**tables.get("recipe", {}), "bfloat16": options.bfloat16}
    for key in ("steps", "batch_size", "learning_rate"):
        if getattr(options, key) is not None:
            recipe_values[key] = getattr(options, key)
    recipe = _replaced(preset.recipe, recipe_values, "recipe")
    if not options.surgery and options.surgery_ratio is None:
        return recipe, None
    surgery_values = dict(tables.get("surgery", {}))
    if options.surgery_ratio is not None:
        surgery_values["ratio"] = options.surgery_ratio
    if "groups" in surgery_values:
        surgery_values["groups"] = tuple(tuple(group) for group in surgery_values["groups"])
    plan = _replaced(preset.surgery, surgery_values, "surgery")
    if plan.end > recipe.steps:
        if "stop" in surgery_values:
            raise InputError(f"surgery would end after {plan.end} steps, but there are {recipe.steps}: give more")
        stop = max(int(SURGERY_SHARE * recipe.steps / len(plan.groups)), 1)
        plan = dataclasses.replace(plan, stop=stop)
    return recipe, plan


def _settings(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as settings in TOML: {error}") from error
    if unknown := sorted(set(values) - {"recipe", "surgery"}):
        raise InputError(f"{path} holds the unknown table {unknown[0]}, expected recipe and surgery")
    return values


def _replaced(preset: Any, values: Mapping[str, Any], table: str) -> Any:
    known = [field.name for field in dataclasses.fields(preset)]
    if unknown := sorted(set(values) - set(known)):
        raise InputError(f"{unknown[0]} is no constant of {table}, expected one of {', '.join(known)}")
    try:
        return dataclasses.replace(preset, **values)
    except TypeError as error:
        raise InputError(f"a constant of {table} is of the wrong type: {error}") from error


def _start(name: str, classes: int, seed: int, init: Path | None, data: Examples) -> Any:
    """The network with its first weights."""
    from netsurgeon.models import runs
    from netsurgeon.models.networks import built
    from netsurgeon.models.training import CHECKPOINT

    module = built(name, classes, seed)
    if init is None:
        return module
    if not init.exists():
        raise InputError(f"{init} does not exist: give an ONNX file, the folder of a run, or a checkpoint")
    if init.is_dir():
        runs.load_weights(module, init / CHECKPOINT)
    elif init.suffix == ".onnx":
        _load_onnx(module, init, data)
    else:
        runs.load_weights(module, init)
    return module


def _load_onnx(module: Any, path: Path, data: Examples) -> None:
    """Weights of an ONNX file, proven to give its outputs."""
    from netsurgeon.models.datasets import Part
    from netsurgeon.models.distributed import Process
    from netsurgeon.models.training import outputs_of
    from netsurgeon.models.weights import load_arrays

    model = read_model(path)[0].clone()
    UnpackWeights()(model)
    load_arrays(module, _initializers(model))
    few = Part(data, np.arange(min(PARITY_INPUTS, data.count)))
    session = Runtime().session(model)
    inputs = few.inputs(np.arange(few.count))
    (wanted, *_) = session.run({session.inputs[0]: inputs}).values()
    difference = relative_difference(wanted, outputs_of(module, few, Process()).numpy())
    if not difference <= TOLERANCE:
        raise CheckFailedError(
            f"the weights of {path} fit the network, but its outputs differ by {difference:.2g} of their scale: it is "
            f"another network"
        )


def _initializers(model: ir.Model) -> dict[str, Any]:
    found = {}
    for name, value in model.graph.initializers.items():
        if value.const_value is not None:
            found[name] = value.const_value.numpy()
    return found


def _found(out: Path, asked: Mapping[str, Any], search: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What the run in the folder has found; searched for if there is no run yet.

    Raises:
        InputError: the run in the folder was asked for with other settings.
    """
    from netsurgeon.models import runs

    if not (out / runs.RUN).is_file():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(f"{out} is there already and holds no run: give a new folder")
        return search()
    before = runs.load_run(out)
    now = _plain(asked)
    for key in now:
        if before.asked.get(key) != now[key]:
            raise InputError(
                f"{out} holds a run with other settings ({key}: {before.asked.get(key)}, now {now[key]}): give another "
                f"folder, or the same settings to go on with it"
            )
    return dict(before.found)


def _plain(asked: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives it back."""
    plain: dict[str, Any] = json.loads(json.dumps(asked))
    return plain


def _rehearse(
    module: Any, data: Any, validation: Any, recipe: Any, plan: Any, seed: int, process: Any, report: Progress
) -> dict[str, Any]:
    from netsurgeon.models.rehearsal import choose_allocation
    from netsurgeon.models.training import classification

    if plan is None or plan.ratio is None or plan.allocation != "auto":
        return {}
    objective = classification(data.labels, process.device)
    best, errors = choose_allocation(module, data, validation, objective, recipe, plan, seed, process, report)
    return {"allocation": best, "rehearsed errors": errors}


def _job(
    module: Any,
    data: Any,
    validation: Any,
    recipe: Any,
    plan: Any,
    seed: int,
    out: Path,
    process: Any,
    report: Progress,
) -> Any:
    from netsurgeon.models.surgery import Surgery
    from netsurgeon.models.training import Job, classification

    return Job(
        module,
        data,
        classification(data.labels, process.device),
        recipe,
        seed=seed,
        folder=out,
        surgery=Surgery(module, plan, seed) if plan else None,
        validation=validation,
        process=process,
        report=lambda done, count: report("training", done, count),
    )


def _result(job: Any, run: Any, data: TrainingData) -> Training:
    """Measured on the network with its masks multiplied in, which is what `export` delivers."""
    from netsurgeon.models.history import PICTURE, plot_history
    from netsurgeon.models.surgery import bake
    from netsurgeon.models.training import error_of

    layers: tuple[LayerCount, ...] = ()
    if job.surgery is not None:
        plot_history(job.history, job.folder / PICTURE)
        last = {row.layer: row for row in job.history}
        layers = tuple(LayerCount(row.layer, row.size, row.kept, row.c) for row in last.values())
    bake(job.network)
    parameters = list(job.network.parameters())
    return Training(
        job.folder,
        run.network,
        job.recipe.steps,
        sum(parameter.numel() for parameter in parameters),
        sum(int(parameter.count_nonzero()) for parameter in parameters),
        layers,
        run.found,
        error_of(job.network, job.validation, job.process),
        None if data.test is None else error_of(job.network, data.test, job.process),
    )
