"""Open the inputs of a model by the user's options: the one door for every command."""

from __future__ import annotations

from netsurgeon.pipeline.data import DataSource, Samples, open_samples
from netsurgeon.pipeline.model_files import LoadedModel, input_specs
from netsurgeon.pipeline.options import Options


def open_by_options(source: LoadedModel, data: DataSource, options: Options, limit: int | None = None) -> Samples:
    """Open inputs for a model as the options say; at most `limit` of them, drawn at random."""
    return open_samples(
        data,
        input_specs(source.original),
        pictures=options.pictures,
        classes=options.classes,
        batch_size=options.batch_size,
        limit=limit,
        seed=options.seed,
    )
