"""The exceptions that speak to the user: which is which, and the exit code of each."""

import pytest

from netsurgeon.pipeline.errors import (
    CheckFailedError,
    ClusterError,
    InputError,
    NetsurgeonError,
    NoWorkersError,
    RunError,
)


@pytest.mark.parametrize(
    ("kind", "exit_code"),
    [
        (NetsurgeonError, 2),
        (InputError, 2),
        (CheckFailedError, 1),
        (RunError, 1),
        (ClusterError, 1),
        (NoWorkersError, 2),
    ],
)
def test_every_error_is_a_sentence_with_an_exit_code(kind: type[NetsurgeonError], exit_code: int) -> None:
    with pytest.raises(NetsurgeonError) as error:
        raise kind("sparsity is 2, expected less than 1")
    assert str(error.value) == "sparsity is 2, expected less than 1"
    assert error.value.exit_code == exit_code


def test_a_run_that_fails_is_a_failed_check_but_no_bad_input() -> None:
    assert issubclass(RunError, CheckFailedError)
    assert not issubclass(RunError, InputError)
    assert not issubclass(InputError, CheckFailedError)
