"""Measure how fast this processor is: python -m netsurgeon_sparse."""

import sys

from netsurgeon_sparse import UnsupportedError
from netsurgeon_sparse.rates import measure_rates, rates_path

try:
    rates = measure_rates()
except ImportError as error:
    sys.exit(f"{error.name} is not installed, which the models that are timed are made with: pip install onnx numpy")
except (OSError, UnsupportedError) as error:
    sys.exit(str(error))
print(" ".join(f"{name}={rate:.3g}" for name, rate in rates.items()))
print(f"kept in {rates_path()}")
