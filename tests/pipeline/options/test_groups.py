"""The groups of options: every option in one group, and the same options as keyword arguments."""

import dataclasses
import typing
from typing import Any

import pytest

from netsurgeon.pipeline.options import attribute_texts, groups
from netsurgeon.pipeline.options.groups import OptionValues
from netsurgeon.pipeline.options.options import Options

GROUPS = [
    kind for kind in vars(groups).values() if dataclasses.is_dataclass(kind) and kind.__module__ == groups.__name__
]


def fields_of(kind: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def test_the_keyword_arguments_are_the_options_with_their_types() -> None:
    assert typing.get_type_hints(OptionValues) == {
        name: hint for group in GROUPS for name, hint in typing.get_type_hints(group).items()
    }
    assert OptionValues.__required_keys__ == frozenset()


def test_every_option_is_in_one_group() -> None:
    names = [name for group in GROUPS for name in fields_of(group)]
    assert len(GROUPS) == 9
    assert len(names) == len(set(names))
    assert sorted(names) == sorted(fields_of(Options))


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__)
def test_every_option_is_described_where_it_is_declared(group: Any) -> None:
    assert list(attribute_texts(group)) == fields_of(group)


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__)
def test_options_are_given_by_name_and_stay(group: Any) -> None:
    options = group()
    name = fields_of(group)[0]
    with pytest.raises(TypeError, match="positional"):
        group(1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(options, name, None)
    assert options == group()
