"""Windows, states and tables of benchmarks/vision_and_speech.py."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))
import vision_and_speech
from _rows import keep_rows


class Counter:
    """A detector that hears the first sample of a window, and counts windows in its state."""

    def run(self, feed: dict[str, Any]) -> dict[str, npt.NDArray[np.float32]]:
        return {"output": feed["input"][:, :1], "stateN": feed["state"] + np.float32(1.0)}


def test_each_window_lies_behind_what_was_heard_before_it() -> None:
    sound = np.arange(1, 1100, dtype=np.float32)
    windows = vision_and_speech.windows_of(sound)
    assert windows.shape == (2, 576)
    np.testing.assert_array_equal(windows[0], np.concatenate([np.zeros(64), sound[:512]]))
    np.testing.assert_array_equal(windows[1], sound[448:1024])


def test_each_window_is_heard_in_the_state_that_those_before_it_left() -> None:
    windows = np.arange(3, dtype=np.float32)[:, None] * np.ones((1, 576), np.float32)
    answers, states = vision_and_speech.run(Counter(), windows)  # type: ignore[arg-type]
    np.testing.assert_array_equal(answers, [0.0, 1.0, 2.0])
    assert states.shape == (2, 3, 128)
    np.testing.assert_array_equal(states[0, :, 0], [0.0, 1.0, 2.0])


def test_rows_are_shown(tmp_path: Path) -> None:
    row = {"dense": 0.6162, "small": 0.616, "same": 0.9987, "error": 0.00117, "ratio": 2.627}
    keep_rows(tmp_path, "vision_and_speech", {"vit": {**row, "seconds": 246.3, "cpu_seconds": 19.2}})
    vision_and_speech.render(tmp_path)
    page = (tmp_path / "vision_and_speech.md").read_text("utf-8")
    assert "| vit | 61.62% → 61.60% | 99.87% | 0.0012 | 2.63 | 246 (19) |" in page
