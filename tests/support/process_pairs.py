"""Two processes that train together, as torchrun starts them, forked from one that has loaded PyTorch already.

`torchrun` itself runs in tests/test_cluster_examples.py.
"""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

from loaded_server import exit_codes, start_script

SECONDS = 150.0
"""How long a process may take."""


def run_pair(script: Path, *arguments: object) -> str:
    """Run a script in two processes that must end well, and give what they print."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        address, output = listening.getsockname(), Path(folder)
        listening.close()
        environment = {
            **dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), "2"),
            "MASTER_ADDR": address[0],
            "MASTER_PORT": str(address[1]),
        }
        ranks = [environment | dict.fromkeys(("RANK", "LOCAL_RANK"), str(rank)) for rank in range(2)]
        processes = [start_script([script, *arguments], output, Path.cwd(), rank) for rank in ranks]
        codes = exit_codes(processes, SECONDS)
        assert codes == [0, 0], f"exit codes are {codes}, None after {SECONDS:g} s: {(output / '2').read_text('utf-8')}"
        return (output / "1").read_text("utf-8")
