"""Turn a packed model back into one with plain dense weights."""

from __future__ import annotations

import os
from pathlib import Path

from netsurgeon.passes.packing import UnpackWeights, packed_weights
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.model_files import ModelLike, check_loads, check_outputs, read_model, save_model
from netsurgeon.pipeline.options import checks_names
from netsurgeon.pipeline.runtime import Runtime


@checks_names
def unpack(model: ModelLike, output: str | os.PathLike[str], custom_ops: tuple[str, ...] = ()) -> list[str]:
    """Write the unpacked model, whose weights are equal to the packed ones to the last bit.

    Returns:
        Names of the weights that were unpacked.

    Raises:
        InputError: the model cannot be read or loaded or holds no packed weights or damaged ones, or the output cannot
            be written.
        CheckFailedError: ONNX Runtime cannot load the result; nothing was written.
    """
    output = Path(output)
    original, path, _ = read_model(model)
    names = packed_weights(original)
    if not names:
        raise InputError(f"{path or 'the model'} holds no packed weights: it is plain already")
    check_outputs([output], *custom_ops, models=[path])
    runtime = Runtime(custom_ops)
    check_loads(original, path, runtime)
    plain = original.clone()
    UnpackWeights()(plain)
    damaged = packed_weights(plain)
    if damaged:
        raise InputError(
            f"{path or 'the model'} holds the packed weight {damaged[0]!r}, which cannot be unpacked: the file is "
            "damaged, compress the model again"
        )
    save_model(plain, output, runtime.session)
    return names
