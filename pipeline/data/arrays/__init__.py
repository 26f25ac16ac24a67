"""Arrays by input name as a source: in memory, made up, or in files."""

from netsurgeon.pipeline.data.arrays.files import array_files, open_files
from netsurgeon.pipeline.data.arrays.in_memory import open_arrays, open_random
from netsurgeon.pipeline.data.arrays.rows import read_headers

__all__ = ["array_files", "open_arrays", "open_files", "open_random", "read_headers"]
