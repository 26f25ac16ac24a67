"""Goals as they are given, and what they exclude."""

from typing import Any

import pytest

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.options.goals import Goals
from netsurgeon.pipeline.options.options import Options


@pytest.mark.parametrize(
    ("given", "goals"),
    [
        ({"max_drop": "1%"}, Goals(max_drop=0.01)),
        ({"max_drop": 0.02}, Goals(max_drop=0.02)),
        ({"max_drop": " .5 % "}, Goals(max_drop=0.005)),
        ({"speedup": 2}, Goals(speedup=2.0)),
        ({"speedup": "1.5x"}, Goals(speedup=1.5)),
        ({"latency": "5ms"}, Goals(latency=5.0)),
        ({"latency": "800us"}, Goals(latency=0.8)),
        ({"latency": "0.01 s"}, Goals(latency=10.0)),
        ({"max_size": "500KB"}, Goals(max_size=500_000)),
        ({"max_size": "2MiB"}, Goals(max_size=2 * 2**20)),
        ({"max_size": "12345 B"}, Goals(max_size=12345)),
        ({"max_macs": "1.5G"}, Goals(max_macs=1_500_000_000)),
        ({"max_drop": "2%", "speedup": 1.5}, Goals(max_drop=0.02, speedup=1.5)),
        ({}, Goals(max_drop=0.01)),
        ({"uniform": True, "seed": 3}, Goals(max_drop=0.01)),
        ({"sparsity": 0.5}, None),
        ({"trim": 0.3}, None),
        ({"pattern": "2:4"}, None),
        ({"pattern": "k:64"}, None),
        ({"pattern": "k:64", "max_drop": "1%"}, Goals(max_drop=0.01)),
        ({"keep_zeros": True}, None),
        ({"layers": {"a": 0.5}}, None),
        ({"trim": 0.3, "max_drop": "1%"}, Goals(max_drop=0.01)),
    ],
)
def test_what_is_given_and_the_default(given: dict[str, Any], goals: Goals | None) -> None:
    options = Options(**given)
    assert options.goals == goals
    assert options.stored_values == ("codebook" if goals else "float16")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"max_drop": "1"}, "max-drop is 1, expected more than 0 and less than 100%"),
        ({"max_drop": "a point"}, "max-drop is 'a point', expected a share such as 90% or 0.9"),
        ({"max_drop": "0%"}, "max-drop is 0%, expected more than 0"),
        ({"speedup": 1}, "speedup is 1, expected more than 1"),
        ({"speedup": "-2"}, "speedup is '-2', expected a number such as 2 or 2x"),
        ({"latency": "5 parsecs"}, "latency is '5 parsecs', expected a time with its unit, such as 5ms"),
        ({"max_size": "big"}, "max-size is 'big', expected a size with its unit, such as 500KB"),
        ({"max_size": 12345}, "max-size is 12345, expected a size with its unit"),
        ({"latency": 5}, "latency is 5, expected a time with its unit, such as 5ms"),
        ({"max_macs": "many"}, "max-macs is 'many', expected a whole number above 0, such as 500, 10k or 40M"),
        ({"max_drop": "1%", "sparsity": 0.5}, "--max-drop 1% decides how many weights go: leave out sparsity"),
        ({"max_size": "1MB", "pattern": "2:4"}, "decides how many weights go"),
        ({"speedup": 2, "keep_zeros": True}, "decides how many weights go"),
        ({"latency": "5ms", "trim": 0.3}, "--latency 5ms decides which units go: leave out trim"),
        ({"threads": 0}, "threads is 0, expected 1 or more"),
        ({"timed_batch": 0}, "timed-batch is 0, expected 1 or more"),
    ],
)
def test_what_cannot_be_meant(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        Options(**given)


def test_goals_in_words_are_those_of_the_command_line() -> None:
    goals = Goals(max_drop=0.01, speedup=1.5, latency=5.0, max_size=500_000, max_macs=40_000_000)
    assert str(goals) == "--max-drop 1% --speedup 1.5 --latency 5ms --max-size 500000B --max-macs 40000000"
