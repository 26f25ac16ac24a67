"""Models on disk: open, check, identify and save them."""

from netsurgeon.pipeline.model_files.fingerprint import (
    DataFacts,
    ModelFacts,
    bytes_on_disk,
    data_facts,
    model_digest,
    model_facts,
    model_size,
    versions,
)
from netsurgeon.pipeline.model_files.integer_weights import IntegerWeights, weights_to_floats, weights_to_integers
from netsurgeon.pipeline.model_files.loading import (
    LoadedModel,
    ModelLike,
    check_loads,
    input_specs,
    open_model,
    read_model,
    verified,
    with_float_weights,
)
from netsurgeon.pipeline.model_files.opset import changed_interface, raised_opset
from netsurgeon.pipeline.model_files.paths import check_outputs, files_behind, path_of
from netsurgeon.pipeline.model_files.save import forget_inferred, save_model, text_bytes, write_text

__all__ = [
    "DataFacts",
    "IntegerWeights",
    "LoadedModel",
    "ModelFacts",
    "ModelLike",
    "bytes_on_disk",
    "changed_interface",
    "check_loads",
    "check_outputs",
    "data_facts",
    "files_behind",
    "forget_inferred",
    "input_specs",
    "model_digest",
    "model_facts",
    "model_size",
    "open_model",
    "path_of",
    "raised_opset",
    "read_model",
    "save_model",
    "text_bytes",
    "verified",
    "versions",
    "weights_to_floats",
    "weights_to_integers",
    "with_float_weights",
    "write_text",
]
