"""Notes and warnings: codes are registered, data travels, the page is up to date."""

import ast
import copy
from pathlib import Path

import pytest

import netsurgeon
from netsurgeon.pipeline.messages import CODES, Message, codes_page
from netsurgeon.pipeline.report import as_json

ROOT = Path(netsurgeon.__file__).parent


def test_a_message_is_its_sentence_with_a_code_and_data() -> None:
    message = Message("4 samples dropped", "samples-dropped", dropped=4)
    assert message == "4 samples dropped"
    assert message.to_json() == {"code": "samples-dropped", "dropped": 4, "text": "4 samples dropped"}
    assert message.with_text("four went").to_json() == {"code": "samples-dropped", "dropped": 4, "text": "four went"}


def test_a_copy_keeps_code_and_data() -> None:
    message = copy.deepcopy(Message("x", "few-samples", layers=["a"]))
    assert (message, message.code, message.data) == ("x", "few-samples", {"layers": ["a"]})


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


def test_the_page_of_codes_is_up_to_date() -> None:
    page = (ROOT / "docs" / "messages.md").read_text("utf-8")
    assert page == codes_page(), "run python docs/message_codes.py"


def test_notes_of_a_report_are_objects(tmp_path: Path) -> None:
    inspection = netsurgeon.inspect_model(ROOT / "models" / "digits" / "digits.onnx")
    assert '"notes": []' in as_json(inspection)
