"""What a run is told from others by: a work folder goes on with nothing that another run has kept."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from typing import Any

from netsurgeon.pipeline.compression import Steps
from netsurgeon.pipeline.execution import RunFolder, file_digest, source_digest
from netsurgeon.pipeline.model_files import LoadedModel, model_digest, path_of, versions
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.verification import Inputs

OWN_MODULES = "netsurgeon.pipeline."
"""Code in these is identified by the version."""


def open_run_folder(
    source: LoadedModel,
    inputs: Inputs,
    options: Options,
    steps: Steps,
    step_options: Mapping[str, Mapping[str, Any]],
) -> RunFolder:
    """The folder that keeps what is done, for this very run; one that keeps nothing where the user names none.

    Raises:
        InputError: the folder belongs to another run, or cannot be used.
    """
    if options.work is None:
        return RunFolder(None, {})
    names = ("calibration", "guide", "held") if inputs.guide else ("calibration", "held")
    identity = {
        "model": model_digest(source.given, source.path),
        "options": options.described() | {"round_to": options.multiple},  # which the processor decides by default
        "steps": {step.name: str(step_options.get(step.name, {})) for step in steps},
        "data": {name: samples.digest() for name, samples in zip(names, inputs.all, strict=True)},
        "files": _file_digests(options),
        "sources": _source_digests(options, steps),
        "versions": versions() | ({"torch": importlib.metadata.version("torch")} if options.repair else {}),
    }
    return RunFolder(options.work, identity)


def are_own(steps: Steps) -> bool:
    """Whether all steps are netsurgeon's, none the user's."""
    return all(type(step).__module__.startswith(OWN_MODULES) for step in steps)


def _file_digests(options: Options) -> dict[str, str]:
    """Of the files that options name, and that decide what is done."""
    # libraries in two folders may go by one name
    libraries = enumerate(map(path_of, options.custom_ops), start=1)
    named = {f"custom-ops {number} {path.name}": path for number, path in libraries if path is not None}
    timings = path_of(options.timings)
    named |= {} if timings is None else {"timings": timings}
    return {name: file_digest(file) for name, file in named.items() if file.is_file()}


def _source_digests(options: Options, steps: Steps) -> dict[str, str]:
    """Of the user's own code: of a function that gives the inputs, all that counts is the inputs."""
    own_steps = {f"step {step.name}": type(step) for step in steps if not are_own((step,))}
    functions = {**({} if options.metric is None else {"metric": options.metric}), **own_steps}
    return {name: source_digest(function) for name, function in functions.items()}
