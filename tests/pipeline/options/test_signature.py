"""Options in signatures and docstrings: all of a group with meaning, type and default, and names that are misspelt."""

import dataclasses
import inspect
import re
from typing import Any

import pytest

import netsurgeon
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.options import DataOptions, OptionValues, PruneOptions, RuntimeOptions, attribute_texts
from netsurgeon.pipeline.options.options import Options
from netsurgeon.pipeline.options.signature import default_of, takes_options

FUNCTIONS = (
    netsurgeon.compress,
    netsurgeon.compare,
    netsurgeon.compare_all,
    netsurgeon.inspect_sensitivity,
    netsurgeon.inspect_quantization,
)
"""Those that take options in groups."""
OTHERS = (
    (netsurgeon.profile, "round", "rounds"),
    (netsurgeon.profile, "per-operators", "per_operator"),
    (netsurgeon.inspect_model, "custom-ops", "custom_ops"),
    (netsurgeon.unpack, "outputs", "output"),
    (netsurgeon.view, "openbrowser", "open_browser"),
    (netsurgeon.compress_many, "retry", "retries"),
    (netsurgeon.Options, "maxdrop", "max_drop"),
)
"""Those with keywords of their own, a misspelt one, and the one that is meant."""


@dataclasses.dataclass(frozen=True)
class Colors:
    """What it looks like.

    Attributes:
        color: of the `outside`,
            or None: of neither.
        size: in metres.

    More: not an attribute.
    """

    color: str | None = None
    sizes: tuple[int, ...] = dataclasses.field(default_factory=tuple)


def test_every_option_of_compress_is_shown_with_its_type_and_default() -> None:
    parameters = inspect.signature(netsurgeon.compress).parameters
    for field in dataclasses.fields(Options):
        assert parameters[field.name].default == default_of(field)
        assert parameters[field.name].kind is inspect.Parameter.KEYWORD_ONLY
        assert parameters[field.name].annotation is not inspect.Parameter.empty
    assert not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    assert parameters["test"].default is None


def test_the_help_of_compress_says_what_every_option_means() -> None:
    text = " ".join((inspect.getdoc(netsurgeon.compress) or "").split())
    for group in Options.__bases__:
        for name, meaning in attribute_texts(group).items():
            assert f" {name}: {meaning} [" in text
    assert "batch_size: inputs run at once, where the model's batch is free; None = 32, or" in text
    assert "**options" not in text
    assert "Raises: InputError: model, data or options cannot be used." in text


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_what_is_shown_is_taken_and_nothing_shows_an_address(function: Any) -> None:
    signature = inspect.signature(function)
    assert "batch_size" in signature.parameters
    assert not re.search(r"0x[0-9a-f]+", str(signature))
    assert signature.parameters.keys() - {*OptionValues.__annotations__} <= {
        "model", "other", "others", "data", "test", "output", "report", "progress", "steps", "step_options",
    }  # fmt: skip


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("batchsize", "did you mean 'batch_size'?"),
        ("label-offset", "did you mean 'label_offset'?"),
        ("crop", "it is one of pictures=netsurgeon.PictureOptions(crop=…)"),
        ("zzz", "known are "),
    ],
)
def test_a_misspelt_option(function: Any, name: str, advice: str) -> None:
    message = f"{function.__name__} has no option {name!r}: {advice}"
    with pytest.raises(TypeError, match=re.escape(message)):
        function("model.onnx", "other.onnx", "data.npz", **{name: 1})
    with pytest.raises(InputError, match=re.escape(message)):
        function("model.onnx", "other.onnx", "data.npz", **{name: 1})


@pytest.mark.parametrize(("function", "name", "meant"), OTHERS)
def test_a_misspelt_keyword_of_a_function_without_groups(function: Any, name: str, meant: str) -> None:
    message = f"{function.__name__} has no option {name!r}: did you mean {meant!r}?"
    with pytest.raises(TypeError, match=re.escape(message)):
        function(**{name: 1})
    with pytest.raises(InputError, match=re.escape(f"{function.__name__} has no option 'zzz': known are ")) as refused:
        function(zzz=1)
    assert "self" not in str(refused.value)
    assert meant in inspect.signature(function).parameters, "help and completion still show them"


def test_options_of_pictures_are_named_only_where_there_are_pictures() -> None:
    with pytest.raises(InputError, match=re.escape("netsurgeon.PictureOptions(crop=…)")):
        netsurgeon.profile("model.onnx", crop=8)  # type: ignore[call-arg]
    with pytest.raises(InputError, match="unpack has no option 'crop': known are custom_ops, model, output"):
        netsurgeon.unpack("model.onnx", "plain.onnx", crop=8)  # type: ignore[call-arg]


def test_options_stand_where_the_docstring_has_its_place_for_them() -> None:
    @takes_options(RuntimeOptions, DataOptions)
    def run(model: str, **options: Any) -> dict[str, Any]:
        """Run.

        Args:
            model: what is run.
            **options: how.

        Raises:
            ValueError: never.
        """
        return {"model": model, **options}

    assert run("m", provider="cpu") == {"model": "m", "provider": "cpu"}
    doc = inspect.getdoc(run) or ""
    places = [doc.index(text) for text in ("what is run", "How ONNX Runtime", "provider: ", "batch_size: ", "Raises")]
    assert places == sorted(places)
    with pytest.raises(netsurgeon.InputError, match="did you mean 'provider'"):
        run("m", providr="cpu")


def test_the_section_of_attributes_ends_where_it_is_no_longer_indented() -> None:
    assert attribute_texts(Colors) == {"color": "of the `outside`, or None: of neither.", "size": "in metres."}
    assert attribute_texts(PruneOptions).keys() == {field.name for field in dataclasses.fields(PruneOptions)}


def test_defaults_that_are_made_anew() -> None:
    assert [default_of(field) for field in dataclasses.fields(Colors)] == [None, ()]
