"""Models whose bytes atheris chooses by the branches they reach in the code that opens models."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import subprocess
import sys
from pathlib import Path

from _fuzz_models import seed_models
from _fuzz_process import scratch_folder
from _fuzz_verdicts import BAD, Case, judge

from netsurgeon.pipeline.model_files import constant_sizes, external_data, limits, loading, map_types

MOST_MEGABYTES = 3000
WEIGHTS = bytes(range(256)) * 64
"""What lies beside the model in "weights.bin", for those that name it."""


def guided(seconds: int, seed: int, script: Path) -> int:
    """Exit code of so many seconds of models, in a process of its own: atheris ends the one that it runs in."""
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed here (pip install atheris): no models are guided by what they reach")
        return 0
    with scratch_folder() as name:
        limits_of_run = (f"-max_total_time={seconds}", f"-seed={seed + 1}", f"-rss_limit_mb={MOST_MEGABYTES}")
        command = [sys.executable, str(script), "--guide", name, *limits_of_run, f"-artifact_prefix={name}/"]
        process = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        lines = process.stderr.strip().splitlines()
        if process.returncode:
            print("\n".join([*process.stdout.splitlines(), *lines[-40:]]))
            for path in Path(name).glob("*-*"):  # crash-…, timeout-…, oom-…
                print(f"{path.name}: {path.read_bytes().hex()[:4000]}")
        else:
            print(f"models guided by what they reach: {lines[-1] if lines else 'none'}, no finding")
    return process.returncode


def guide(root: Path, arguments: list[str]) -> None:
    """Let atheris choose the bytes of models; it ends this process, with an exit code other than 0 for a finding."""
    atheris = importlib.import_module("atheris")
    for module in (limits, constant_sizes, external_data, map_types, loading):
        for function in list(vars(module).values()):
            if inspect.isfunction(function) and function.__module__ == module.__name__:
                atheris.instrument_func(function)
    corpus, folder = root / "corpus", root / "case"
    for place in (corpus, folder):
        place.mkdir()
    (folder / "weights.bin").write_bytes(WEIGHTS)
    for kind, model in seed_models().items():
        (corpus / kind).write_bytes(model.SerializeToString())

    def open_bytes(data: bytes) -> None:
        (folder / "model.onnx").write_bytes(data)
        verdict = judge(Case("atheris", ("inspect", "model.onnx")), folder)
        if verdict.kind in BAD:
            raise RuntimeError(verdict.words)

    atheris.Setup([sys.argv[0], str(corpus), *arguments], open_bytes)
    atheris.Fuzz()
