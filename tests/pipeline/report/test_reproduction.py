"""What gives a run again: read by the command line, or by Python, it is the same run, whatever was chosen."""

import dataclasses
import json
import pathlib
import shlex
import shutil
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from report_files import HOSTILE

import netsurgeon
from netsurgeon.pipeline.command_line.compress import compress_command
from netsurgeon.pipeline.command_line.shared_options import with_pictures
from netsurgeon.pipeline.compress import Compression
from netsurgeon.pipeline.compression import STEPS
from netsurgeon.pipeline.data import PictureOptions
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.report import Report, invocation
from netsurgeon.pipeline.side_by_side import read_report

DIGITS = Path(netsurgeon.__file__).parent / "models" / "digits"
PICTURES = PictureOptions(
    resize=9, crop=8, channels="BGR", scale=0.5, mean=(-0.5, 0.25, 0.1), std=(2.0,), layout="NHWC", mirror=True
)
CHOICES: dict[str, dict[str, Any]] = {
    "max_drop": {"max_drop": "2%"},
    "speedup": {"speedup": "2x"},
    "latency": {"latency": "5ms"},
    "max_size": {"max_size": "500 KiB"},
    "max_macs": {"max_macs": "40M"},
    "sparsity": {"sparsity": "90%"},
    "trim": {"trim": "up-to:30%"},
    "importance": {"importance": "apoz"},
    "save": {"save": "macs"},
    "round_to": {"round_to": 3},
    "keep_unread": {"keep_unread": True},
    "method": {"method": "admm"},
    "pattern": {"pattern": "2:4"},
    "keep_zeros": {"keep_zeros": True},
    "uniform": {"uniform": True},
    "layers": {"layers": {"conv*": "80%", "a=b": 0.25}},
    "exclude": {"exclude": ("first", "the second")},
    "damping": {"damping": 1e-5},
    "effort": {"effort": "full"},
    "repair": {"effort": "full", "repair": False},
    "augment": {"augment": "shift, crop", "repair": True},
    "device": {"device": "cpu", "repair": True},
    "quantize": {"quantize": "int8"},
    "target": {"target": "cpu-vnni"},
    "ranges": {"ranges": "min-max"},
    "prefer": {"prefer": "size"},
    "values": {"values": "float16"},
    "tables": {"tables": "int4"},
    "drop_rows": {"drop_rows": {"emb": [1, 2, 3, 7]}},
    "pack": {"pack": False},
    "names": {"names": "short"},
    "batch_size": {"batch_size": 7},
    "limit": {"limit": 10},
    "seed": {"seed": 3},
    "pictures": {"pictures": PICTURES},
    "classes": {"classes": pathlib.Path("classes of mine.txt")},
    "label_offset": {"label_offset": -1},
    "metric": {"metric": "scores:accuracy"},
    "mask": {"mask": "none"},
    "custom_ops": {"custom_ops": ("a.so", "b.so")},
    "provider": {"provider": "cuda"},
    "profile": {"profile": True},
    "threads": {"threads": 2},
    "timed_batch": {"timed_batch": 4},
    "timings": {"timings": pathlib.Path("times.json")},
}
"""Of each option a value that is not the default, with what it needs beside it."""
QUICK: Any = {"sparsity": "80%", "method": "magnitude"}
SAY_NOTHING_OF_THE_RESULT = {"work", "cluster", "cluster_store"}
NO_OPTIONS = {"model", "data", "test", "output", "report", "json_file", "quiet", "mlflow", "recipe"}


@pytest.fixture(scope="module")
def report(delivered: tuple[Path, Compression]) -> Report:
    return delivered[1].report


def with_options(report: Report, **options: Any) -> Report:
    """The report of a run with these options, as it is read back from JSON."""
    return dataclasses.replace(report, options=json.loads(json.dumps(Options(**options).described())))


def parsed(command: str) -> tuple[dict[str, Any], Options]:
    """What the command line takes a command to be: all else, and the options."""
    words = shlex.split(command)
    assert words[:2] == ["netsurgeon", "compress"]
    arguments = compress_command.make_context("compress", words[2:]).params
    others = {name: arguments.pop(name) for name in NO_OPTIONS}
    return others, Options(**with_pictures(arguments))


def called(program: str, **objects: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What a program of imports, a comment and one call calls `compress` with."""
    *head, call = program.split("\n")
    names = dict(objects)
    exec("\n".join(head), names)
    compress = lambda *arguments, **keywords: (arguments, keywords)  # noqa: E731
    assert names["netsurgeon"] is netsurgeon
    names["netsurgeon"] = types.SimpleNamespace(compress=compress, PictureOptions=PictureOptions)
    arguments, keywords = eval(call, names)
    return arguments, keywords


def test_no_option_is_forgotten_here() -> None:
    assert CHOICES.keys() | SAY_NOTHING_OF_THE_RESULT == {field.name for field in dataclasses.fields(Options)}
    assert all(getattr(PICTURES, name) != value for name, value in dataclasses.asdict(PictureOptions()).items())


@pytest.mark.parametrize("name", CHOICES)
def test_the_command_has_each_option_as_it_was_given(name: str, report: Report) -> None:
    command = invocation(with_options(report, **CHOICES[name]))
    others, options = parsed(command)
    assert options == Options(**CHOICES[name])
    assert options != Options()
    assert str(others["model"]) == report.dense.name
    assert command.count(" --") == 1 + command.count(" --test") + sum(
        len(value) if isinstance(value, dict | tuple) else len(dataclasses.fields(value)) if value == PICTURES else 1
        for value in CHOICES[name].values()
    ), "and no other"


@pytest.mark.parametrize("name", CHOICES)
def test_the_call_has_each_option_as_it_was_given(name: str, report: Report) -> None:
    changed = dataclasses.replace(with_options(report, **CHOICES[name]), from_python=("data",))
    arguments, keywords = called(invocation(changed), data=np.zeros(3))
    assert arguments[0] == report.dense.name
    assert isinstance(arguments[1], np.ndarray)
    options = {keyword: value for keyword, value in keywords.items() if keyword not in ("test", "output")}
    assert Options(**options) == Options(**CHOICES[name])
    assert options.keys() == CHOICES[name].keys()


def test_what_python_gave_is_said_and_the_call_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arrays = dict(np.load(DIGITS / "calibration.npz"))
    data = (arrays["image"][:100], arrays["labels"][:100])

    def answered(outputs: Mapping[str, Any], labels: Any) -> float:
        return float((outputs["logits"].argmax(1) == labels).mean())

    objects = {"data": data, "metric": answered, "steps": STEPS[1:], "step_options": {}}
    netsurgeon.compress(
        DIGITS / "digits.onnx",
        data,
        test=str(DIGITS / "test.npz"),
        output="small.onnx",
        report="report.json",
        metric=answered,
        steps=STEPS[1:],
        **QUICK,
    )
    report = read_report("report.json")
    assert report.from_python == ("data", "metric", "steps")
    text = invocation(report)
    assert f"\n# objects of your program: data (tuple), metric ({answered.__qualname__}), steps\n" in text
    assert "test='test.npz'" in text
    first = Path("small.onnx").read_bytes()
    Path("small.onnx").unlink()
    for name in ("digits.onnx", "test.npz"):
        shutil.copy(DIGITS / name, name)
    exec(text, objects)
    assert Path("small.onnx").read_bytes() == first


def test_a_model_of_python_and_made_up_inputs() -> None:
    model = onnx.load(DIGITS / "digits.onnx")
    report = netsurgeon.compress(model, "random:70", test={"image": np.zeros((9, 1, 8, 8), np.float32)}, **QUICK).report
    assert report.from_python == ("model", "test")
    (model_name, data), keywords = called(invocation(report), model=1, test=2)
    assert (model_name, data, keywords["test"]) == (1, "random:70", 2)


def test_a_report_from_elsewhere_smuggles_nothing_into_the_call(report: Report) -> None:
    evil = "data)\nraise SystemExit #"
    forged = dataclasses.replace(
        report,
        options={evil: evil, "pictures": {evil: HOSTILE}, "metric": evil},
        from_python=(evil, "data", "metric"),
        calibration=dataclasses.replace(report.calibration, source=evil),
    )
    imports, comment, _ = invocation(forged).split("\n")
    assert imports == "import netsurgeon"
    assert comment.startswith("#")
    with pytest.raises(TypeError, match="raise SystemExit"):  # PictureOptions has no such option
        called(invocation(forged), data=1, metric=2)
    del forged.options["pictures"]
    assert called(invocation(forged), data=1, metric=2)[1][evil] == evil
