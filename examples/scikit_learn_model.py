"""From a scikit-learn pipeline to a small ONNX file.

Trains a scaler and a multi-layer perceptron on the digits of scikit-learn, converts them with skl2onnx, and compresses
the result; labels and arrays are handed over as scikit-learn has them. Needs scikit-learn and skl2onnx.

    python examples/scikit_learn_model.py
"""

from pathlib import Path

import numpy as np
from skl2onnx import to_onnx
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import netsurgeon


def main() -> None:
    """Train, convert, compress, compare."""
    pixels, digits = load_digits(return_X_y=True)
    train, test, train_digits, test_digits = train_test_split(
        pixels.astype(np.float32), digits, test_size=0.25, stratify=digits, random_state=0
    )
    network = MLPClassifier((256, 128), early_stopping=True, random_state=0)
    pipeline = make_pipeline(StandardScaler(), network).fit(train, train_digits)
    print(f"scikit-learn: {pipeline.score(test, test_digits):.2%} of {len(test)} pictures")

    # zipmap would turn the probabilities into one dict a sample, which no tensor can hold
    model = to_onnx(pipeline, train[:1], options={"zipmap": False})
    Path("sklearn.onnx").write_bytes(model.SerializeToString())

    result = netsurgeon.compress("sklearn.onnx", train, test=(test, test_digits), sparsity=0.9)
    print(result.summary())
    result.save("sklearn-small.onnx")


if __name__ == "__main__":
    main()
