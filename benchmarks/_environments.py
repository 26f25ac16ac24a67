"""Environments of their own for programs that the product must not depend on: other quantizers, exporters of models.

What does not install is named and left out. Nothing here says where packages come from: that is pip's own affair.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
ENVIRONMENTS = ROOT / "build" / "peers"
STAMP = ".installed"
INSTALL_SECONDS = 1800.0


def install(environment: str, packages: tuple[str, ...], alone: tuple[str, ...] = ()) -> str | None:
    """Make an environment where it is not there yet; why it cannot be made, if so.

    Args:
        environment: folder under build/peers.
        packages: with what they stand on.
        alone: without, since only their files are read.
    """
    stamp = ENVIRONMENTS / environment / STAMP
    requirements = "\n".join((*packages, *alone))
    if stamp.exists() and stamp.read_text("utf-8") == requirements:
        return None
    print(f"installing {', '.join((*packages, *alone))} into build/peers/{environment}", flush=True)
    pip = [str(python(environment)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    commands = [[sys.executable, "-m", "venv", str(stamp.parent)], [*pip, *packages]]
    for command in [*commands, [*pip, "--no-deps", *alone]] if alone else commands:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"does not install here: {type(error).__name__}"
        if done.returncode:
            errors = [line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line]
            return f"does not install here: {(errors or ['no reason given'])[-1].removeprefix('ERROR: ')[:200]}"
    stamp.write_text(requirements, "utf-8")
    return None


def python(environment: str) -> Path:
    """The interpreter of an environment."""
    return ENVIRONMENTS / environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def pinned(package: str) -> str:
    """A package with the version that constraints.txt has for it."""
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    return next((line for line in lines if re.match(rf"{re.escape(package)}==", line)), package)
