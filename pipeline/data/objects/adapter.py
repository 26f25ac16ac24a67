"""From whatever holds a feed or a sample to arrays by input name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Number
from typing import Any

from PIL import Image

from netsurgeon.pipeline.data.images import PictureOptions, check_fits, picture_values
from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.matching import LABELS, Array, dict_to_write, only_input
from netsurgeon.pipeline.data.objects.tables import frame_arrays, is_frame
from netsurgeon.pipeline.data.values import is_array, stack
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.notation import counted


class Adapter:
    """What the user's objects are to a model.

    With one input nothing is ambiguous: an array, a picture or a pair of inputs and labels is enough. With several
    inputs a mapping says which is which.

    Attributes:
        has_pictures: whether any value was a picture.
    """

    def __init__(self, specs: Sequence[InputSpec], pictures: PictureOptions | None = None):
        self.has_pictures = False
        self._specs = specs
        self._pictures = pictures or PictureOptions()

    def mapping(self, item: Any, origin: str) -> dict[str, Any]:
        """Arrays by input name, and perhaps labels.

        Args:
            item: a mapping, a data frame, an array, a picture, or a pair of one of these and its labels.
            origin: what messages call it.

        Raises:
            InputError: it is none of these, or does not say which input is which.
        """
        if is_frame(item):
            item = frame_arrays(item, self._specs, origin)
        if isinstance(item, Mapping):
            return self._decoded(item, origin)
        if is_labelled(item, self._specs):
            inputs, labels = self.mapping(item[0], origin), item[1]
            return inputs if labels is None else {**inputs, LABELS: labels}
        several = item if isinstance(item, tuple | list) and any(map(_is_value_or_mapping, item)) else ()
        if len(several) == 1:  # what a TensorDataset of one tensor gives
            return self.mapping(several[0], origin)
        if several and not _are_pictures(item):
            places = ", ".join(f"{spec.name!r}: batch[{at}]" for at, spec in enumerate(self._specs))
            raise InputError(
                f"{origin} is a {type(item).__name__} of {counted(len(item), 'value')}, which does not say what each "
                f"of them is: give {dict_to_write(self._specs)}, of a loader with netsurgeon.Dataset(loader, lambda "
                f"batch: {{{places}}})"
            )
        if _is_value(item) or isinstance(item, Number | list | tuple):
            return self._decoded({only_input(self._specs, origin): item}, origin)
        raise InputError(
            f"{origin} is of type {type(item).__name__}: expected an array, a picture, a pair of inputs and labels, or "
            f"{dict_to_write(self._specs)}"
        )

    def _decoded(self, values: Mapping[str, Any], origin: str) -> dict[str, Any]:
        """The values with pictures decoded; what names no input is left as it is, to be refused later."""
        arrays = {str(name): value for name, value in values.items()}
        for spec in self._specs:
            value = arrays.get(spec.name)
            if isinstance(value, Image.Image):
                arrays[spec.name] = self._picture(value, spec, origin)
            elif _are_pictures(value):
                arrays[spec.name] = stack([self._picture(one, spec, origin) for one in value or ()], origin)
        return arrays

    def _picture(self, picture: Image.Image, spec: InputSpec, origin: str) -> Array:
        """A picture as one sample, without a batch axis."""
        self.has_pictures = True
        values = picture_values(picture, self._pictures.table(spec.dtype), self._pictures, f"of {origin}")
        if spec.shape is not None:
            check_fits(values.shape, spec.shape[1:], spec.name, self._pictures)
        return values


def is_labelled(item: Any, specs: Sequence[InputSpec]) -> bool:
    """Whether it is a pair of inputs and labels: a tuple of two, or a list of two whose first entry is a value.

    DataLoader makes a list of what a dataset gives as a tuple. A row of plain numbers is a sample.
    """
    if not isinstance(item, tuple | list) or len(item) != 2:
        return False
    if all(isinstance(entry, Number) for entry in item):
        return isinstance(item, tuple) and all(spec.shape is not None and len(spec.shape) == 1 for spec in specs)
    if isinstance(item[1], Mapping | Image.Image) or is_frame(item[1]):
        return False
    is_named = isinstance(item[0], Mapping) or is_frame(item[0])
    if len(specs) > 1:
        return is_named
    return is_named or isinstance(item, tuple) or _is_value(item[0]) or _are_pictures(item[0])


def _are_pictures(value: object) -> bool:
    return isinstance(value, tuple | list) and len(value) > 0 and all(isinstance(one, Image.Image) for one in value)


def _is_value(entry: object) -> bool:
    return isinstance(entry, Image.Image) or is_array(entry)


def _is_value_or_mapping(entry: object) -> bool:
    return _is_value(entry) or isinstance(entry, Mapping)
