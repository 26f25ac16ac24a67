"""A process for native code: it serves many calls, its errors are sentences, and where it dies the next call lives."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from netsurgeon.passes.graph.helper_process import HelperDiedError, HelperError, HelperProcess

SCRIPT = """
import os, time
from netsurgeon.passes.graph import serve

def answer(request):
    if request == b"fail":
        raise ValueError("no such thing\\nand more of it")
    if request == b"abort":
        os.abort()
    if request == b"wait":
        time.sleep(60.0)
    return str(os.getpid()).encode() if request == b"who" else request[::-1]

serve(answer)
"""


@pytest.fixture
def helper(tmp_path: Path) -> Iterator[HelperProcess]:
    (tmp_path / "script.py").write_text(SCRIPT)
    process = HelperProcess(tmp_path / "script.py")
    yield process
    process.stop()


def test_one_process_serves_all_calls(helper: HelperProcess) -> None:
    assert helper.call(b"abc") == b"cba"
    assert helper.call(b"") == b""
    assert helper.call(b"who") == helper.call(b"who") != str(os.getpid()).encode()


def test_an_error_is_its_first_line_and_the_process_goes_on(helper: HelperProcess) -> None:
    before = helper.call(b"who")
    with pytest.raises(HelperError, match=r"^no such thing$") as raised:
        helper.call(b"fail")
    assert not isinstance(raised.value, HelperDiedError)
    assert helper.call(b"who") == before


def test_after_a_crash_another_process_takes_over(helper: HelperProcess) -> None:
    before = helper.call(b"who")
    with pytest.raises(HelperDiedError, match="SIGABRT") as raised:
        helper.call(b"abort")
    assert raised.value.is_crash
    assert helper.call(b"who") != before


def test_a_call_that_takes_too_long_is_given_up(helper: HelperProcess) -> None:
    helper.call(b"who")
    with pytest.raises(HelperDiedError, match="SIGKILL") as raised:
        helper.call(b"wait", seconds=0.2)
    assert not raised.value.is_crash, "its own code did not end it"


def test_exit_codes_and_signals_of_others_are_no_crash() -> None:
    assert not HelperDiedError(3).is_crash
    assert str(HelperDiedError(3)) == "exit code 3"
    assert not HelperDiedError(-signal.SIGTERM).is_crash
    assert HelperDiedError(-signal.SIGSEGV).is_crash
