"""Where inputs come from: arrays, files, images, functions."""

from netsurgeon.pipeline.data.images import SUFFIXES, PictureOptions, files_in
from netsurgeon.pipeline.data.input_spec import InputSpec, plain_name
from netsurgeon.pipeline.data.limits import check_path, open_regular, read_text, read_toml
from netsurgeon.pipeline.data.matching import is_float
from netsurgeon.pipeline.data.named_functions import NAMED_FUNCTION, import_function, module_files
from netsurgeon.pipeline.data.objects import Dataset, rereadable
from netsurgeon.pipeline.data.opened import DataSource
from netsurgeon.pipeline.data.opening import open_samples, random_samples
from netsurgeon.pipeline.data.position_mask import PositionMask, counted_entries
from netsurgeon.pipeline.data.samples import Samples
from netsurgeon.pipeline.data.training_data import Arrays, Examples, open_training_data

__all__ = [
    "NAMED_FUNCTION",
    "SUFFIXES",
    "Arrays",
    "DataSource",
    "Dataset",
    "Examples",
    "InputSpec",
    "PictureOptions",
    "PositionMask",
    "Samples",
    "check_path",
    "counted_entries",
    "files_in",
    "import_function",
    "is_float",
    "module_files",
    "open_regular",
    "open_samples",
    "open_training_data",
    "plain_name",
    "random_samples",
    "read_text",
    "read_toml",
    "rereadable",
]
