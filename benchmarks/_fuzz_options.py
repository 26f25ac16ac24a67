"""Cases of fuzz.py about options: on the command line of every command, and in a recipe."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

from _fuzz_folders import packed_model
from _fuzz_models import ROWS, seed_models
from _fuzz_mutations import mutate_bytes
from _fuzz_verdicts import Case

_SHARES = ("nan", "inf", "-1", "0", "1", "0.3", "0.5", "0.9", "0.999999", "1e400", "1e-300", "9" * 400, "")
_COUNTS = ("-1", "0", "1", "2", "3", "8", "17", "1000", str(2**31), str(2**63), "9" * 400, "0x10", "1.5")
_TEXTS = ("x", "[", "**", "*", "a=b", "n*=0.9", "node_1=0.3", "\x1b[31m", "ä", ".", "/dev/zero", "os:getcwd", "a" * 300)
_OPTIONS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("sparsity", "damping", "scale"), _SHARES),
    **dict.fromkeys(("limit", "seed", "round-to", "threads", "timed-batch", "batch-size", "label-offset"), _COUNTS),
    **dict.fromkeys(("metric", "classes", "custom-ops", "timings", "test"), _TEXTS),
    **dict.fromkeys(("mean", "std"), (*_SHARES, "1,2,3", "1,nan", ",")),
    **dict.fromkeys(("resize", "crop"), _COUNTS),
    "drop-rows": ("table=1-3", "x=missing.txt", "=", "t=9-1", "t=-1", "t=99999999999", "\x1b[31m=1"),
    "layer": ("n*=0.9", "node_1=0.3", "*=1", "*=-1", "*=nan", "[=0.5", "*", "=", "\x1b[31m=0.5"),
    "exclude": ("*", "[", "node_1", "\x1b[31m", "**/*"),
    "trim": (*_SHARES, "up-to:0.5", "up-to:2", "up-to:", "0.9"),
    "pattern": ("2:4", "0:0", "1:2", "3:4", "99999:100000", "4:2", "-1:2", "2:4:8", "x", "k:64", "tile:16x16", "k:0"),
    "method": ("auto", "obs", "admm", "magnitude", "lobs", "x"),
    "values": ("float32", "float16", "codebook", "x"),
    "importance": ("obs", "apoz", "magnitude", "x"),
    "save": ("parameters", "macs", "x"),
    "provider": ("cpu", "cuda", "x", "CPUExecutionProvider"),
    **dict.fromkeys(("max-drop", "speedup", "latency"), ("1%", "-5%", "nan", "1e30", "5ms", "1.1")),
    **dict.fromkeys(("max-size", "max-macs"), ("1KB", "-1KB", "1e30GB", "nan", "100", "40M")),
}
"""Options of compress, and values for them of about the right kind."""
_FLAGS = ("--uniform", "--keep-zeros", "--keep-unread", "--no-pack", "--mirror")


def _options(rng: random.Random) -> list[str]:
    options = []
    for _ in range(rng.randint(1, 3)):
        name = rng.choice(list(_OPTIONS))
        options += [f"--{name}", rng.choice(_OPTIONS[name])]
    return [*options, rng.choice(_FLAGS)] if rng.random() < 0.3 else options


def of_options(mutator: str, rng: random.Random, folder: Path, shared: Path | None) -> Case:
    """Options of compress on a valid model."""
    del shared
    (folder / "model.onnx").write_bytes(seed_models()[rng.choice(("dense", "picture", "residual"))].SerializeToString())
    data = rng.choice((f"random:{ROWS}",) * 60 + ("random:0", "random:1", "random:-3", "random:1000000000000", *_TEXTS))
    output = rng.choice(("out.onnx",) * 40 + ("", ".", "a/b/out.onnx", "out.txt", "/dev/full", "a\0b", "\x1b[31m.onnx"))
    arguments = ("compress", "model.onnx", "--data", data, "-o", output, "--quiet", *_options(rng))
    if not any(goal in arguments for goal in ("--max-drop", "--speedup", "--latency", "--max-size", "--max-macs")):
        arguments += ("--sparsity", "0.5")
    return Case(mutator, arguments, "out.onnx" if output == "out.onnx" else None)


_RECIPE = 'sparsity = 0.5\nmethod = "obs"\nseed = 3\ndamping = 0.02\nlimit = 20\n'
_TOML = (
    *(
        "0.25",
        "1",
        "-1",
        "nan",
        "-inf",
        "1e400",
        "9" * 5000,
        "0x1F",
        "true",
        "1979-05-27",
        '"x"',
        '"\\u001b[31m"',
        "''",
    ),
    *("[]", "[1, [2]]", '["a=0.5", "*=0.1"]', "{a = 1}", "[" * 3000, "{a=" * 2000, '"""', "[0.5, 0.5, 0.5]"),
)


def of_recipe(mutator: str, rng: random.Random, folder: Path, shared: Path | None) -> Case:
    """Options of compress in a file."""
    del shared
    (folder / "model.onnx").write_bytes(seed_models()["dense"].SerializeToString())
    lines = _RECIPE.splitlines()
    for _ in range(rng.choice((0, 1, 1, 2))):
        name = rng.choice((*_OPTIONS, "work", "data", "uniform", "keep-zeros", "a.b", '"\\u001b[31m"'))
        plain = rng.choice(_OPTIONS.get(name, _TEXTS))
        value = rng.choice((*_TOML, plain or "0", f'"{plain}"', f'"{plain}"', plain or "0"))
        lines = [line for line in lines if not line.startswith(f"{name} =")]
        line = rng.choice((*[f"{name} = {value}"] * 5, f"[{name}]\nx = {value}"))
        lines.insert(rng.randrange(len(lines) + 1), line)
    content = "\n".join(lines).encode()
    (folder / "recipe.toml").write_bytes(mutate_bytes(content, rng) if rng.random() < 0.3 else content)
    arguments = ("compress", "model.onnx", "--data", f"random:{ROWS}", "-o", "out.onnx", "--quiet")
    return Case(mutator, (*arguments, "--recipe", "recipe.toml"), "out.onnx")


_JSON = ("-", "out.json", "model.onnx", "other.onnx", ".", "/dev/full", "a/b.json", "a\0b")
_DATA = (
    f"random:{ROWS}",
    f"random:{ROWS}",
    f"random:{ROWS}",
    "random:0",
    "random:1",
    "x",
    ".",
    "model.onnx",
    "/dev/zero",
)
_RUN: Mapping[str, tuple[str, ...]] = {
    "seed": _COUNTS,
    "provider": _OPTIONS["provider"],
    "custom-ops": _TEXTS,
    "json": _JSON,
    "resize": _COUNTS,
    "mean": _OPTIONS["mean"],
}
_COMMANDS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "profile": {
        **_RUN,
        "against": ("other.onnx", "other.onnx", "model.onnx", "missing.onnx", ".", ""),
        "data": _DATA,
        "batch": ("1,8", "0", "-1", "", "1,,2", "8,8,8", "x", "1.5", str(2**31), str(2**63), "9" * 400),
        "shape": ("x=1x6", "x=4x2x8x8", "x=0x6", "x=-1x6", "x=", "y=1", "=", f"x={2**31}x{2**31}", "x=1x" + "9" * 400),
        "runs": ("3", "4", "0", "-1", "2", "x", "17", str(2**31), str(2**63), "9" * 400),
        "threads": ("1", "2", "0", "-1", "64", str(2**31), str(2**63), "x"),
        "optimisation": ("off", "basic", "extended", "all", "x"),
    },
    "inspect": {
        **_RUN,
        "data": _DATA,
        "limit": _COUNTS,
        "picture": ("out.svg", "out.png", "model.onnx", "", "/dev/full", "a/b.svg"),
    },
    "compare": {
        **_RUN,
        "data": _DATA,
        "limit": _COUNTS,
        "batch-size": _COUNTS,
        "label-offset": _COUNTS,
        "metric": _TEXTS,
        "classes": _TEXTS,
    },
    "unpack": {
        "output": ("out.onnx", "model.onnx", "other.onnx", ".", "", "/dev/full", "a/b.onnx", "a\0b"),
        "custom-ops": _TEXTS,
    },
}
"""Options of the other commands."""
_COMMAND_FLAGS: Mapping[str, tuple[str, ...]] = {
    "profile": ("--per-op", "--quiet"),
    "inspect": ("--units", "--sensitivity", "--quiet"),
    "compare": ("--quiet",),
    "unpack": ("--quiet",),
}
_NEEDED: Mapping[str, Mapping[str, str]] = {
    "profile": {"--runs": "3"},
    "inspect": {},
    "compare": {"--data": f"random:{ROWS}"},
    "unpack": {"--output": "out.onnx"},
}
"""What a command must have: profile would take ten seconds without, the others refuse."""


def of_commands(mutator: str, rng: random.Random, folder: Path, shared: Path | None) -> Case:
    """Options of the commands beside compress, on two valid models."""
    del shared
    models = {**seed_models(), "packed": packed_model()}
    kinds = ("dense", "picture", "residual", "wide", "packed", "quantised")
    command = rng.choice(list(_COMMANDS))
    first = "packed" if command == "unpack" and rng.random() < 0.8 else rng.choice(kinds)
    second = rng.choice((first, first, *kinds))
    (folder / "model.onnx").write_bytes(models[first].SerializeToString())
    options: dict[str, str] = {}
    for _ in range(rng.randint(0, 3)):
        option = rng.choice(list(_COMMANDS[command]))
        options[f"--{option}"] = rng.choice(_COMMANDS[command][option])
    flags = [flag for flag in _COMMAND_FLAGS[command] if rng.random() < 0.4]
    more = ("other.onnx",) if command == "compare" else ()
    arguments = {**_NEEDED[command], **options}
    words = (word for pair in arguments.items() for word in pair)
    if command == "compare" or arguments.get("--against") == "other.onnx":
        (folder / "other.onnx").write_bytes(models[second].SerializeToString())
    output = "out.onnx" if arguments.get("--output") == "out.onnx" else None
    return Case(mutator, (command, "model.onnx", *more, *words, *flags), output)
