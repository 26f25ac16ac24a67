"""The kernels' tests run where their library can be built, and are skipped elsewhere."""

import pytest
from sparse_kernels import can_build


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if can_build():
        return
    skip = pytest.mark.skip(
        reason="cmake, ninja and a compiler (C++ or ziglang) build the kernels, and one is not here"
    )
    for item in items:
        if "kernels" in item.path.parts:
            item.add_marker(skip)
