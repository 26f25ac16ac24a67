"""Times that steer a search: each measured once, kept, and read back."""

from pathlib import Path

import pytest
from plain_models import DIGITS

import netsurgeon
from netsurgeon.pipeline.errors import InputError


def test_a_table_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "table.json").write_text("{}", "utf-8")
    with pytest.raises(InputError, match=r"table\.json holds no timing table"):
        netsurgeon.compress(
            DIGITS / "digits.onnx", DIGITS / "calibration.npz", timings=tmp_path / "table.json", speedup=2
        )
