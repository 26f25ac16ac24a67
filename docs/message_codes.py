"""Write docs/messages.md anew: ``python docs/message_codes.py``."""

from __future__ import annotations

from pathlib import Path

from netsurgeon.pipeline.messages import codes_page

if __name__ == "__main__":
    (Path(__file__).parent / "messages.md").write_text(codes_page(), "utf-8")
