"""What statistics come from in a run, and where they are made."""

from __future__ import annotations

import dataclasses

import onnx_ir as ir

from netsurgeon.pipeline.calibration import Calibration
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.execution import SENT_FOLDER, Executor, open_executor
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.runtime import Runtime, is_large
from netsurgeon.pipeline.verification import Inputs

NUMBERS_FAST = 0.2
"""Share of the numbers that are drawn for a layer, for a first look: its few inputs have many positions each, which are
alike. Rows for each column are as many as else."""


def run_executor(model: ir.Model, options: Options) -> Executor:
    """Where calibration runs.

    Raises:
        InputError: the cluster cannot be used, or there is nothing that a model as large as this could travel through.
    """
    store = options.cluster_store
    if store is None and options.cluster is not None and is_large(model):
        if options.work is None:
            raise InputError(
                f"cluster is {options.cluster!r}, and weights of more than 1.5 GB travel through files: give work, a "
                "folder that all workers see, or cluster-store, such a folder or an object store"
            )
        store = options.work / SENT_FOLDER
    return open_executor(options.cluster, store)


def run_calibration(inputs: Inputs, runtime: Runtime, options: Options, executor: Executor) -> Calibration:
    """What statistics come from; for a first look of fewer rows."""
    calibration = Calibration(inputs.calibration, runtime, options.seed, executor=executor)
    fewer = round(NUMBERS_FAST * calibration.max_elements)
    return dataclasses.replace(calibration, max_elements=fewer) if options.is_hasty else calibration
