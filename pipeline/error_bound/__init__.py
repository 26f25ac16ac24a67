"""The layer-wise OBS error bound, beside the error that is measured."""

from netsurgeon.pipeline.error_bound.bound import Bound, measure_bound

__all__ = [
    "Bound",
    "measure_bound",
]
