"""Numbers of things in sentences."""

import pytest

from netsurgeon.pipeline.notation import counted


@pytest.mark.parametrize(("count", "text"), [(0, "0 layers"), (1, "1 layer"), (2, "2 layers"), (1200, "1,200 layers")])
def test_one_is_said_in_the_singular(count: int, text: str) -> None:
    assert counted(count, "layer") == text


def test_a_plural_of_its_own_is_taken() -> None:
    assert (counted(1, "axis", "axes"), counted(3, "axis", "axes")) == ("1 axis", "3 axes")
