"""The library built with sanitizers, under random shapes, malformed layers and hostile models, and in a session."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import sparse_attack
from sparse_kernels import library_file


def _runtime_library(name: str) -> str:
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if not compiler:
        pytest.skip("the system's own compiler brings sanitizers, and none is here")
    done = subprocess.run([compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    path = done.stdout.strip()
    if not Path(path).is_absolute():
        pytest.skip(f"the compiler has no {name}")
    return path


def test_threads() -> None:
    preload = f"{_runtime_library('libtsan.so')} {_runtime_library('libstdc++.so.6')}"
    library = library_file("thread")
    environment = {
        **os.environ,
        "LD_PRELOAD": preload,
        "TSAN_OPTIONS": "exitcode=66:halt_on_error=1",
        "OPENBLAS_NUM_THREADS": "1",
        "NETSURGEON_SPARSE_LIBRARY": str(library),
    }
    # it knows addresses as they are without the system's shuffling alone
    fixed = ["setarch", "-R"] if shutil.which("setarch") else []
    command = [*fixed, sys.executable, sparse_attack.__file__, "threads"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if "unexpected memory mapping" in done.stderr or "personality" in done.stderr:
        pytest.skip("the sanitizer does not run on this system")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "done" in done.stdout


def test_address_and_undefined_behaviour() -> None:
    # C++'s library as well: the sanitizer looks for what throws when it is loaded
    preload = f"{_runtime_library('libasan.so')} {_runtime_library('libstdc++.so.6')}"
    library = library_file("address,undefined")
    environment = {
        **os.environ,
        "LD_PRELOAD": preload,
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
        "NETSURGEON_SPARSE_LIBRARY": str(library),
    }
    done = subprocess.run(
        [sys.executable, sparse_attack.__file__], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "done" in done.stdout
    refused, all_malformed, good = (int(number) for number in done.stdout.split()[:3])
    assert 0.3 * all_malformed < refused < all_malformed
    assert 0.1 * sparse_attack.HOSTILE < good < sparse_attack.HOSTILE
