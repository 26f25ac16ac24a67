"""Measure how fast this processor is: python -m netsurgeon_sparse."""

from netsurgeon_sparse.rates import measure_rates, rates_path

rates = measure_rates()
print(" ".join(f"{name}={rate:.3g}" for name, rate in rates.items()))
print(f"kept in {rates_path()}")
