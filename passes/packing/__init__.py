"""Store sparse weights packed in plain ONNX operators, and unpack them."""

from netsurgeon.passes.packing.name_chains import NameChains, name_bytes
from netsurgeon.passes.packing.pack_weights import PackWeights, plan_packing
from netsurgeon.passes.packing.shared_streams import Packing
from netsurgeon.passes.packing.store_tables import MergeRows, StoreTables, place_type
from netsurgeon.passes.packing.table_rows import BITS, MOST, RowForm, StoredRows, blocks_of, stored_rows
from netsurgeon.passes.packing.unpack_weights import UnpackWeights, packed_weights
from netsurgeon.passes.packing.write_lean import WriteLean

__all__ = [
    "BITS",
    "MOST",
    "MergeRows",
    "NameChains",
    "PackWeights",
    "Packing",
    "RowForm",
    "StoreTables",
    "StoredRows",
    "UnpackWeights",
    "WriteLean",
    "blocks_of",
    "name_bytes",
    "packed_weights",
    "place_type",
    "plan_packing",
    "stored_rows",
]
