"""Train a network on pictures: plainly, with surgery or with trimming; resumable, in a folder of its own."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from netsurgeon.passes.packing import UnpackWeights
from netsurgeon.pipeline.data import Examples, PictureOptions, open_training_data
from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.model_files import read_model
from netsurgeon.pipeline.progress import Progress, ProgressLike, following, silent
from netsurgeon.pipeline.repair import require_torch, value_errors_as_input_errors
from netsurgeon.pipeline.runtime import TOLERANCE, Runtime
from netsurgeon.pipeline.training.network_trimming import Width, trim_and_retrain
from netsurgeon.pipeline.training.torch_parity import torch_difference
from netsurgeon.pipeline.training.training_options import Constants, TrainOptions, constants

PARITY_INPUTS = 64


TRIMMING = "trimming.csv"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerCount:
    """Parameters of a layer under surgery, and how many of them are kept."""

    name: str
    size: int
    kept: int
    c: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """What came out of `train`.

    Attributes:
        folder: of the run.
        network: its name.
        steps: trained.
        parameters: of the network.
        nonzero: parameters that are not zero.
        layers: under surgery; empty without.
        widths: of all layers after each round of trimming, the last of which may have been thrown away; empty without.
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
    widths: tuple[Width, ...]
    found: Mapping[str, Any]
    validation_error: float
    test_error: float | None


def train(
    network: str,
    data: str | Path,
    out: str | Path,
    *,
    init: str | Path | None = None,
    progress: ProgressLike = None,
    **options: Any,
) -> Training | None:
    """Train a network; called again with the same arguments it goes on where it was stopped.

    Args:
        network: its name.
        data: see `open_training_data`; the last step's weights are measured once on its test part, if it has one.
        out: folder of the run: ``run.json``, checkpoints, ``log.csv``; with surgery ``surgery.csv`` and
            ``surgery.png``; with trimming ``trimming.csv``, and a folder for the training of each round.
        init: weights to start from: an ONNX file, the folder of another run, or a checkpoint.
        progress: True = shown as suits the terminal, the notebook or the log it runs in; or a function that is called
            with stage, steps done and steps in all.
        **options: fields of `TrainOptions`.

    Returns:
        What came out; None in all processes but the first that ``torchrun`` started.

    Raises:
        InputError: an argument cannot be used, the folder holds another run, or PyTorch is not installed.
        CheckFailedError: the weights of an ONNX file do not give its outputs in the network.
    """
    settings = TrainOptions(**options)
    require_torch()
    with value_errors_as_input_errors(), following(progress) as followed:
        return _train(
            network,
            Path(data),
            Path(out),
            init=None if init is None else Path(init),
            options=settings,
            progress=followed,
        )


def _train(
    name: str, path: Path, out: Path, init: Path | None, options: TrainOptions, progress: Progress
) -> Training | None:
    from netsurgeon.models import runs, training
    from netsurgeon.models.export import INPUT_NAME
    from netsurgeon.models.networks import NETWORKS
    from netsurgeon.models.training import split

    if name not in NETWORKS:
        raise InputError(f"{name!r} is not a network, expected one of {', '.join(NETWORKS)}")
    preset = NETWORKS[name]
    pictures = options.pictures or picture_options(preset)
    data = open_training_data(path, INPUT_NAME, preset.shape, pictures)
    if data.classes is None:
        raise InputError(f"{path} has no labels: give class folders, or labels in the .npz")
    settings = constants(preset, options)
    held_count = max(round(options.validation * data.train.count), 1)
    rows, held_out = split(data.train, held_count, options.seed)
    settings_of_run = {
        "data": data.digest(),
        "init": None if init is None else init.name,
        "seed": options.seed,
        "validation": held_count,
        **settings.described(),
    }
    with training.process_group(options.device) as process:
        work = _Work(
            out=out,
            rows=rows,
            kept=held_out,
            test=data.test,
            constants=settings,
            seed=options.seed,
            process=process,
            report=progress if process.is_main_process else silent,
        )
        module = _start(name, data.classes, options.seed, init, data.train).to(process.device)
        results = _found(out, settings_of_run, lambda: work.rehearsed(module))
        run = runs.Run(name, data.classes, _plain(settings_of_run), results)
        process.wait()  # until all have looked into the folder
        if process.is_main_process:
            out.mkdir(parents=True, exist_ok=True)
            run.save(out)
            runs.save_samples(out, held_out.inputs(np.arange(min(held_count, runs.SAMPLE_COUNT))))
        process.wait()
        if settings.trimming:
            return work.trimmed(module, run, init is not None)
        return work.trained(module, run)


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
    from netsurgeon.models.training import Part, load_arrays

    model = read_model(path)[0].clone()
    UnpackWeights()(model)
    load_arrays(module, _initializers(model))
    probes = Part(data, np.arange(min(PARITY_INPUTS, data.count)))
    session = Runtime().session(model)
    inputs = probes.inputs(np.arange(probes.count))
    difference = torch_difference(session, module, inputs)
    if not difference <= TOLERANCE:
        raise CheckFailedError(
            f"the weights of {path} fit the network, but its outputs differ by {difference:.2g} of their scale: it is "
            f"another network"
        )


def _initializers(model: ir.Model) -> dict[str, Any]:
    arrays = {}
    for name, value in model.graph.initializers.items():
        if value.const_value is not None:
            arrays[name] = value.const_value.numpy()
    return arrays


def _found(out: Path, settings: Mapping[str, Any], search: Callable[[], dict[str, Any]]) -> dict[str, Any]:
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
    now = _plain(settings)
    for key in now:
        if before.asked.get(key) != now[key]:
            raise InputError(
                f"{out} holds a run with other settings ({key}: {before.asked.get(key)}, now {now[key]}): give another "
                f"folder, or the same settings to go on with it"
            )
    return dict(before.found)


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives it back."""
    plain: dict[str, Any] = json.loads(json.dumps(settings))
    return plain


@dataclasses.dataclass(frozen=True)
class _Work:
    """What a run trains on and with.

    Attributes:
        out: its folder.
        rows: what it trains on.
        kept: what choices are made on.
        test: what is measured at the end.
        constants: the recipe and the plans.
        seed: of everything random.
        process: who we are.
        report: called with the stage, the steps done and the steps in all.
    """

    out: Path
    rows: Any
    kept: Any
    test: Examples | None
    constants: Constants
    seed: int
    process: Any
    report: Progress

    def rehearsed(self, module: Any) -> dict[str, Any]:
        """How a ratio is best spread over the layers, where that was left open."""
        from netsurgeon.models.training import choose_allocation, classification

        plan = self.constants.surgery
        if plan is None or plan.ratio is None or plan.allocation != "auto":
            return {}
        objective = classification(self.rows.labels, self.process.device)
        best, errors = choose_allocation(
            module,
            self.rows,
            self.kept,
            objective=objective,
            recipe=self.constants.recipe,
            plan=plan,
            seed=self.seed,
            process=self.process,
            report=self.report,
        )
        return {"allocation": best, "rehearsed errors": errors}

    def trained(self, module: Any, run: Any) -> Training | None:
        """Train, with surgery if there is a plan."""
        from netsurgeon.models.surgery import PICTURE, Surgery, bake, plot_history

        plan = self.constants.surgery
        if plan and run.found:
            plan = dataclasses.replace(plan, allocation=run.found["allocation"])
        job = self._job(module, self.seed, self.out, "training", Surgery(module, plan, self.seed) if plan else None)
        job.run()
        if not self.process.is_main_process:
            return None
        layers: tuple[LayerCount, ...] = ()
        if job.surgery is not None:
            plot_history(job.history, self.out / PICTURE)
            last = {row.layer: row for row in job.history}
            layers = tuple(LayerCount(name=row.layer, size=row.size, kept=row.kept, c=row.c) for row in last.values())
        bake(module)  # what is measured is what `export` delivers
        return self._result(module, run, job.recipe.steps, layers, ())

    def trimmed(self, module: Any, run: Any, starts_trained: bool) -> Training | None:
        """Trim and retrain in rounds; the first one only measures a network that starts trained.

        A round is a function of the one before, and each goes on where it was stopped: so does the run.
        """
        from netsurgeon.models.runs import load_weights
        from netsurgeon.models.training import CHECKPOINT, error_of, save_checkpoint, seed_of_step, write_rows

        trained = 0

        def train_round(network: Any, number: int) -> float:
            nonlocal trained
            network.to(self.process.device)
            if number or not starts_trained:
                folder = self.out / f"round-{number}"
                folder.mkdir(exist_ok=True)
                job = self._job(network, seed_of_step(self.seed, number, 0), folder, f"round {number}", None)
                job.run()
                load_weights(network, folder / CHECKPOINT)  # the same in all processes
                trained += job.recipe.steps
            error: float = self.process.broadcast_from_main(
                functools.partial(error_of, network, self.kept, self.process)
            )
            return error

        plan = self.constants.trimming
        network, widths = trim_and_retrain(module, plan, self.kept, train_round, self.process)
        if not self.process.is_main_process:
            return None
        write_rows(self.out / TRIMMING, Width, widths)
        save_checkpoint(self.out / CHECKPOINT, {"network": network.state_dict()}, {"step": trained})
        return self._result(network, run, trained, (), tuple(widths))

    def _job(self, module: Any, seed: int, folder: Path, stage: str, surgery: Any) -> Any:
        from netsurgeon.models.training import Job, classification

        return Job(
            module,
            self.rows,
            classification(self.rows.labels, self.process.device),
            self.constants.recipe,
            seed=seed,
            folder=folder,
            surgery=surgery,
            validation=self.kept,
            process=self.process,
            report=functools.partial(self.report, stage),
        )

    def _result(
        self, module: Any, run: Any, steps: int, layers: tuple[LayerCount, ...], widths: tuple[Width, ...]
    ) -> Training:
        from netsurgeon.models.training import error_of

        parameters = list(module.parameters())
        return Training(
            folder=self.out,
            network=run.network,
            steps=steps,
            parameters=sum(parameter.numel() for parameter in parameters),
            nonzero=sum(int(parameter.count_nonzero()) for parameter in parameters),
            layers=layers,
            widths=widths,
            found=run.found,
            validation_error=error_of(module, self.kept, self.process),
            test_error=None if self.test is None else error_of(module, self.test, self.process),
        )
