"""Notes, warnings and errors: codes are registered, data travels, the page is up to date."""

import ast
import copy
import json
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

import netsurgeon
from netsurgeon.pipeline.errors import CheckFailedError, InputError, NetsurgeonError
from netsurgeon.pipeline.messages import CODES, Message, cause_of
from netsurgeon.pipeline.result import as_json

ROOT = Path(netsurgeon.__file__).parent


def test_a_message_is_its_sentence_with_a_code_and_data() -> None:
    message = Message("4 samples dropped", "samples-dropped", dropped=4)
    assert message == "4 samples dropped"
    assert message.to_json() == {"code": "samples-dropped", "dropped": 4, "text": "4 samples dropped"}
    assert message.with_text("four went").to_json() == {"code": "samples-dropped", "dropped": 4, "text": "four went"}


def test_a_copy_keeps_code_and_data() -> None:
    message = copy.deepcopy(Message("x", "few-samples", layers=["a"]))
    assert (message, message.code, message.data) == ("x", "few-samples", {"layers": ["a"]})


def test_a_message_comes_back_from_json() -> None:
    message = Message("x", "outputs-differ", output="y", difference=float("inf"), tolerance=0.1)
    again = Message.from_json(json.loads(json.dumps(message.to_json())))
    assert (again, again.code, again.data) == (message, message.code, message.data)


@pytest.mark.parametrize(
    ("values", "error"), [({"code": "few-samples"}, KeyError), ({"code": "?", "text": "x"}, ValueError)]
)
def test_what_is_no_message_does_not_become_one(values: dict[str, str], error: type[Exception]) -> None:
    with pytest.raises(error):
        Message.from_json(values)


def test_a_message_about_another_one_has_its_code_and_data() -> None:
    problem = Message("y differs", "outputs-differ", output="y", step="that of the problem")
    outer = Message("undone: y differs", "step-undone", cause_of(problem), step="pack")
    assert outer.data == {"cause": "outputs-differ", "output": "y", "step": "pack"}
    assert cause_of("a plain sentence") == {}


@pytest.mark.parametrize(("code", "data"), [("no-such-code", {}), ("few-samples", {"text": 1})])
def test_codes_and_names_are_checked(code: str, data: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="message"):
        Message("x", code, data)


def codes_in_use() -> set[str]:
    codes: set[str] = set()
    for path in (ROOT / "pipeline").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Message":
                code = node.args[1]
                assert isinstance(code, ast.Constant) or path.name == "messages.py", f"{path}: no constant code"
                codes |= {str(code.value)} if isinstance(code, ast.Constant) else set()
    return codes


def test_every_code_is_used_and_every_used_code_is_registered() -> None:
    assert codes_in_use() == set(CODES)


def error_classes(base: type[NetsurgeonError] = NetsurgeonError) -> Iterator[type[NetsurgeonError]]:
    for below in base.__subclasses__():
        yield below
        yield from error_classes(below)


def test_every_error_class_has_a_code_of_its_own() -> None:
    classes: list[type[NetsurgeonError]] = [NetsurgeonError, *error_classes()]
    assert all("code" in vars(error_class) for error_class in classes)
    codes = [error_class.code for error_class in classes]
    assert len({*codes}) == len(codes)
    assert not {*codes} & {*CODES}, "a code is a message's or an error's"


@pytest.mark.parametrize(
    ("error", "code", "exit_code"), [(InputError, "input-error", 2), (CheckFailedError, "check-failed", 1)]
)
def test_an_error_that_is_raised_carries_its_code(error: type[NetsurgeonError], code: str, exit_code: int) -> None:
    with pytest.raises(netsurgeon.NetsurgeonError) as raised:
        raise error("a sentence")
    assert (raised.value.code, raised.value.exit_code) == (code, exit_code)


def test_the_page_of_codes_is_up_to_date_and_lists_all() -> None:
    page = (ROOT / "docs" / "messages.md").read_text("utf-8")
    written = runpy.run_path(str(ROOT / "docs" / "message_codes.py"))["codes_page"]()
    assert page == written, "docs/messages.md is stale: run make messages"
    codes = [*CODES, *(error_class.code for error_class in error_classes())]
    assert [code for code in codes if f"| `{code}` | " not in page] == []


def test_notes_of_a_report_are_objects(tmp_path: Path) -> None:
    inspection = netsurgeon.inspect_model(ROOT / "models" / "digits" / "digits.onnx")
    assert '"notes": []' in as_json(inspection)
