"""Where a model fails to run, the user's own model and inputs are looked at, and only then."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.opening import open_samples
from netsurgeon.pipeline.data.samples import Samples
from netsurgeon.pipeline.errors import CheckFailedError, InputError, RunError
from netsurgeon.pipeline.runtime.failures import attribute_to_inputs
from netsurgeon.pipeline.runtime.session import Runtime

RUNTIME = Runtime()
SPECS = (InputSpec("x", np.dtype(np.int64), (None,)),)


def looks_up(rows: int) -> ir.Model:
    """It fails on a number of no row."""
    table = ", ".join(map(str, range(rows)))
    return ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 17]> lookup (int64[N] x) => (float[N] y) '
        f"<float[{rows}] table = {{{table}}}> {{ y = Gather(table, x) }}"
    )


def numbered(*numbers: int) -> Samples:
    return open_samples(np.array(numbers), SPECS, batch_size=2)


def fail() -> None:
    RUNTIME.session(looks_up(3)).run({"x": np.array([8])})


def test_the_first_batch_that_the_model_as_given_fails_on_is_named() -> None:
    inputs = numbered(0, 1, 2, 7, 9, 0)
    with (
        pytest.raises(InputError, match=r"the model as given cannot run on batch 1 .*check the values") as error,
        attribute_to_inputs(looks_up(3), RUNTIME, inputs),
    ):
        fail()
    assert inputs.batch_name(1) in str(error.value)
    assert "\n" not in str(error.value)


def test_every_set_of_inputs_is_looked_at() -> None:
    with (
        pytest.raises(InputError, match="batch 0"),
        attribute_to_inputs(looks_up(3), RUNTIME, numbered(0, 1, 2), numbered(4, 0)),
    ):
        fail()


def test_where_the_model_as_given_runs_the_failure_is_ours() -> None:
    with pytest.raises(RunError) as error, attribute_to_inputs(looks_up(3), RUNTIME, numbered(0, 1, 2)):
        fail()
    assert not isinstance(error.value, InputError)
    assert error.value.exit_code == 1


@pytest.mark.parametrize("failure", [CheckFailedError("not equal"), InputError("no labels"), KeyError("x")])
def test_other_failures_pass_through(failure: Exception) -> None:
    with pytest.raises(type(failure)) as error, attribute_to_inputs(looks_up(3), RUNTIME, numbered(7, 7)):
        raise failure
    assert error.value is failure


def test_a_run_that_succeeds_reads_no_inputs() -> None:
    reads = []

    def feeds() -> Iterator[dict[str, Any]]:
        reads.append(1)
        yield {"x": np.array([7])}

    inputs = open_samples(feeds, SPECS)
    reads.clear()
    with attribute_to_inputs(looks_up(3), RUNTIME, inputs):
        RUNTIME.session(looks_up(3)).run({"x": np.array([2])})
    assert reads == []
