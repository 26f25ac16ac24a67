"""Data as people hold it in Python: tensors, loaders, tables, pictures, inputs with labels."""

from netsurgeon.pipeline.data.objects.adapter import Adapter, is_labelled
from netsurgeon.pipeline.data.objects.feeds import open_feeds
from netsurgeon.pipeline.data.objects.loaders import Dataset, IndexedRows, is_indexed, rereadable
from netsurgeon.pipeline.data.objects.ragged import ragged_samples, without_pair_labels
from netsurgeon.pipeline.data.objects.tables import RowReader, is_column_dataset, is_frame

__all__ = [
    "Adapter",
    "Dataset",
    "IndexedRows",
    "RowReader",
    "is_column_dataset",
    "is_frame",
    "is_indexed",
    "is_labelled",
    "open_feeds",
    "ragged_samples",
    "rereadable",
    "without_pair_labels",
]
