"""Whose fault it is when a model cannot run: the inputs', or ours."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import onnx_ir as ir

from netsurgeon.pipeline.data import Samples
from netsurgeon.pipeline.errors import InputError, RunError
from netsurgeon.pipeline.runtime.session import Runtime, first_line


@contextlib.contextmanager
def attribute_to_inputs(original: ir.Model, runtime: Runtime, *inputs: Samples) -> Iterator[None]:
    """Where a model fails to run, look whether the user's own one fails on these inputs, too.

    Looked up only after a failure: a run that succeeds pays nothing.

    Raises:
        InputError: it does; the first such batch is named.
        RunError: it does not.
    """
    try:
        yield
    except RunError:
        session = runtime.session(original)
        for samples in inputs:
            for number, feed in enumerate(samples.batches()):
                try:
                    session.run(feed)
                except RunError as error:
                    raise InputError(
                        f"the model as given cannot run on {samples.batch_name(number)}: "
                        f"{first_line(error.__cause__ or error)}: check the values of the inputs, and the model itself"
                    ) from error
        raise
