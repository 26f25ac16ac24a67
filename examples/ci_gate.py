"""A gate for a CI job: compress, write report.json, and say by the exit code whether the result may be shipped.

Exit code 0: the model is written and within the limits; 1: it lost too much or is not small enough; 2: a file or an
option cannot be used. A later step of the job can read report.json; `netsurgeon.report_schema()` describes its fields.

    python examples/ci_gate.py                              # the digits network; exit code 0
    python examples/ci_gate.py --sparsity 98%               # exit code 1
    python examples/ci_gate.py --model model.onnx --data calibration.npz --test test.npz
"""

import argparse
import json
import sys
from pathlib import Path

import netsurgeon

DIGITS = Path(netsurgeon.__file__).parent / "models" / "digits"


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Compress a model, and fail where the result is not good enough.")
    parser.add_argument("--model", type=Path, default=DIGITS / "digits.onnx")
    parser.add_argument("--data", type=Path, default=DIGITS / "calibration.npz")
    parser.add_argument("--test", type=Path, default=DIGITS / "test.npz", help="with labels")
    parser.add_argument("--sparsity", type=str, default="80%", help="share of the weights to remove: 90%% or 0.9")
    parser.add_argument("--most-lost", type=float, default=1.0, help="points of top-1")
    parser.add_argument("--least-ratio", type=float, default=4.0, help="times as small")
    return parser.parse_args()


def main() -> int:
    """Compress, and return the exit code."""
    limits = parse_arguments()
    try:
        result = netsurgeon.compress(limits.model, limits.data, test=limits.test, sparsity=limits.sparsity)
        result.report.save("report.json")
        report = json.loads(Path("report.json").read_text("utf-8"))
        scores = report["validation"]
        lost = 100.0 * (scores["dense"]["top1"] - scores["compressed"]["top1"])
        print(f"{lost:+.2f} points of top-1 lost (at most {limits.most_lost:g})")
        print(f"{report['ratio']:.1f} times as small (at least {limits.least_ratio:g})")
        if lost > limits.most_lost or report["ratio"] < limits.least_ratio:
            print("not good enough: no model is written", file=sys.stderr)
            return 1
        result.save("small.onnx")
    except netsurgeon.CheckFailedError as error:
        print(error, file=sys.stderr)
        return 1
    except netsurgeon.InputError as error:
        print(error, file=sys.stderr)
        return 2
    print("written: small.onnx, report.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
