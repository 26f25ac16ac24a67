"""Numbers as people write them: 90% or 0.9, 50KB, 50k or 50 KiB, 5ms, 2x.

The same forms are read on the command line, in recipes and in Python. Where one number can mean several things, a
time in seconds or milliseconds, a size in bytes or kilobytes, it never stands without its unit.
"""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Mapping
from decimal import Decimal

from netsurgeon.pipeline.errors import InputError

_PREFIXES = {"k": 10**3, "m": 10**6, "g": 10**9}
_BINARY_PREFIXES = {"ki": 2**10, "mi": 2**20, "gi": 2**30}
_SHARES = {"": Decimal(1), "%": Decimal("0.01")}
_FACTORS = {"": Decimal(1), "x": Decimal(1), "\N{MULTIPLICATION SIGN}": Decimal(1), "times": Decimal(1)}
_COUNTS = {"": Decimal(1), **{prefix: Decimal(times) for prefix, times in _PREFIXES.items()}}
_BYTES = {
    **dict.fromkeys(("b", "byte", "bytes"), Decimal(1)),
    **{
        f"{prefix}{unit}": Decimal(times)
        for prefix, times in {**_PREFIXES, **_BINARY_PREFIXES}.items()
        for unit in ("", "b")
    },
}
_MILLISECONDS = {"ms": Decimal(1), "us": Decimal("0.001"), "µs": Decimal("0.001"), "s": Decimal(1000)}
_NUMBER = re.compile(r"\s*([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]{1,4})?)\s*([^\s\d]*)\s*")
_MICRO, _MU = "\N{MICRO SIGN}", "\N{GREEK SMALL LETTER MU}"


def read_share(name: str, value: str | float) -> float:
    """A share: 0.9 or 90%.

    Raises:
        InputError: it is none, whatever its size.
    """
    return _read(name, value, _SHARES, "a share such as 90% or 0.9")


def read_factor(name: str, value: str | float) -> float:
    """How many times something is: 2 or 2x.

    Raises:
        InputError: it is not understood, or not above 0.
    """
    return _positive(name, value, _FACTORS, "a number such as 2 or 2x")


def read_count(name: str, value: str | float) -> int:
    """A number of things: 40000000 or 40M.

    Raises:
        InputError: it is not understood, not whole, or not above 0.
    """
    expected = "a whole number above 0, such as 500, 10k or 40M"
    number = _positive(name, value, _COUNTS, expected)
    if not number.is_integer():
        raise InputError(f"{name} is {reprlib.repr(value)}, expected {expected}")
    return int(number)


def read_bytes(name: str, value: str | float) -> int:
    """A size in bytes: 500KB, 500k, 500 KiB or 500000 B.

    Raises:
        InputError: it is not understood, has no unit, or is not above 0.
    """
    return int(_positive(name, value, _BYTES, "a size with its unit, such as 500KB, 500 KiB or 500000B"))


def read_milliseconds(name: str, value: str | float) -> float:
    """A time in milliseconds: 5ms, 0.005s or 800us.

    Raises:
        InputError: it is not understood, has no unit, or is not above 0.
    """
    return _positive(name, value, _MILLISECONDS, "a time with its unit, such as 5ms, 800us or 0.1s")


def _positive(name: str, value: str | float, units: Mapping[str, Decimal], expected: str) -> float:
    number = _read(name, value, units, expected)
    if not 0.0 < number < math.inf:
        raise InputError(f"{name} is {reprlib.repr(value)}, expected {expected}")
    return number


def _read(name: str, value: str | float, units: Mapping[str, Decimal], expected: str) -> float:
    """The number in the smallest unit, rounded once: 7% and 0.07 are the same float."""
    match = _NUMBER.fullmatch(str(value).lower().replace(_MU, _MICRO))
    if not match or match[2] not in units:
        raise InputError(f"{name} is {reprlib.repr(value)}, expected {expected}")
    return float(Decimal(match[1]) * units[match[2]])
