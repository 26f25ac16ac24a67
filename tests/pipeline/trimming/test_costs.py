"""What removing units saves: parameters or multiply-adds."""

import pytest
from trimmable_models import FAST, pictures, residual_network, trimmed

from netsurgeon.pipeline.compress import compress


def test_multiply_adds_can_be_what_is_saved() -> None:
    result = compress(residual_network(), {"x": pictures()}, trim=0.3, save="macs", round_to=1, **FAST)
    trim = trimmed(result)
    assert 1 - trim.macs / trim.macs_dense == pytest.approx(trim.saved)
    assert trim.saved >= 0.3
