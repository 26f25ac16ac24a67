"""Integers side by side in bytes: all come back, whatever their width, in about the bytes that they are."""

import numpy as np
import pytest

from netsurgeon.passes.packing.packed_integers import integer_bytes, pack_integers


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("count", [1, 7, 8, 1000])
def test_fields_of_bytes_are_the_integers(bits: int, count: int) -> None:
    integers = np.random.default_rng(bits).integers(0, 2**bits, count).astype(np.uint8)
    packed = pack_integers(integers, bits)
    total = np.zeros(-(-count // 8) * 8, np.int64)
    for part in packed.parts:
        fields = (part.data[:, None] >> np.arange(0, 8, part.bits)) % 2**part.bits
        total += fields.reshape(-1).astype(np.int64) << part.shift
    np.testing.assert_array_equal(total[:count], integers)
    assert not total[count:].any()
    assert packed.is_padded == (count % 8 != 0)
    stored = sum(part.data.nbytes for part in packed.parts)
    assert stored == -(-count // 8) * bits
    assert stored < integer_bytes(bits, count) < stored + 500
