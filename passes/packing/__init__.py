"""Store sparse weights packed in plain ONNX operators, and unpack them."""

from netsurgeon.passes.packing.pack_weights import PackWeights, plan_packing
from netsurgeon.passes.packing.shared_streams import Packing
from netsurgeon.passes.packing.unpack_weights import UnpackWeights, packed_weights

__all__ = [
    "PackWeights",
    "Packing",
    "UnpackWeights",
    "packed_weights",
    "plan_packing",
]
