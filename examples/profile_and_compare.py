"""Is the small model as fast and as good as it looks? Time both in turn, and compare their outputs.

`profile` times two models in one process, by turns, so that a busy machine disturbs both alike; the ratio has a 95 %
interval, and one that holds 1 shows no difference. `compare` runs both on the same inputs.

    python examples/profile_and_compare.py
"""

from pathlib import Path

import netsurgeon

DIGITS = Path(netsurgeon.__file__).parent / "models" / "digits"


def main() -> None:
    """Put the digits network on 8-bit integers, then measure it without relying on its report."""
    dense, small, test = DIGITS / "digits.onnx", Path("int8-small.onnx"), DIGITS / "test.npz"
    netsurgeon.compress(dense, DIGITS / "calibration.npz", quantize="int8", output=small)

    compared = netsurgeon.compare(dense, small, test)
    print(compared.summary())

    timed = netsurgeon.profile(dense, small, batches=(1, 32), threads=1, rounds=10, per_operator=True)
    print(f"\n{timed.summary()}\n")
    for timing in timed.timings:
        ratio = timing.speedup
        if ratio:
            shown = "no difference is shown" if ratio.low <= 1.0 <= ratio.high else f"÷ {ratio.value:.2f}"
            print(f"batch {timing.batch}: {shown} ({ratio.low:.2f} to {ratio.high:.2f})")
    if timed.other:
        slowest = max(timed.other.nodes, key=lambda node: node.milliseconds)
        print(f"slowest node of {small}: {slowest.name} ({slowest.operator}), {1000 * slowest.milliseconds:.0f} µs")


if __name__ == "__main__":
    main()
