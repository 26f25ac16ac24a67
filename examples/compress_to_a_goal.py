"""Compress a model from Python until it meets a goal, and see what the search has tried.

Shows the goal `max_drop`, the summary, and how to save the model, its report page and the picture of the search.
Writes goal-small.onnx, goal-report.html and goal-frontier.png into the current folder. `effort="fast"` makes it a first
look of seconds; leave it out to search in earnest.

    python examples/compress_to_a_goal.py
"""

from pathlib import Path

import netsurgeon

DIGITS = Path(netsurgeon.__file__).parent / "models" / "digits"


def main() -> None:
    """Compress the digits network and print the verdict."""
    result = netsurgeon.compress(
        DIGITS / "digits.onnx",
        DIGITS / "calibration.npz",
        test=DIGITS / "test.npz",
        max_drop="1%",  # at most one point of top-1; also: max_size="20KB", speedup="2x", latency="0.3ms"
        effort="fast",
        quantize="none",  # leave it out to let layers run on 8-bit integers where that is faster: it takes timing
    )
    print(result.summary())

    result.save("goal-small.onnx")
    result.report.save("goal-report.html")
    result.report.plot().savefig("goal-frontier.png")
    print("\nWritten: goal-small.onnx, goal-report.html, goal-frontier.png")


if __name__ == "__main__":
    main()
