"""Chromium without a window, spoken to over pipes: it opens pages, is asked for values, and clicks."""

from __future__ import annotations

import base64
import fcntl
import io
import itertools
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars")


class Browser:
    """One tab, over the DevTools protocol: messages of JSON that a NUL ends.

    Attributes:
        events: what the browser has told of its own accord, such as requests and messages of the console.
    """

    def __init__(self, commands: int, answers: int):
        self._commands, self._answers = os.fdopen(commands, "wb", buffering=0), os.fdopen(answers, "rb")
        self._numbers, self._rest, self._session = itertools.count(1), b"", ""
        self.events: list[dict[str, Any]] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self._call(f"{domain}.enable")

    def open(self, page: Path, width: int = 1200, height: int = 2000) -> None:
        """Open a file and wait until it is loaded, its script having run."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", **size)
        self.events.clear()
        self._call("Page.navigate", url=page.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._read())

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript gives, as JSON."""
        result = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            raise ValueError(result["exceptionDetails"]["exception"]["description"])
        return result["result"].get("value")

    def click(self, selector: str) -> None:
        """Click on the first element of a CSS selector, as a user does: what lies over it gets the click."""
        box = self.value(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView();"
            " const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            place = {"x": box[0], "y": box[1], "button": "left", "clickCount": 1}
            self._call("Input.dispatchMouseEvent", type=kind, **place)

    def pixels(self) -> npt.NDArray[np.uint8]:
        """What is seen, (height, width, 3)."""
        shot = self._call("Page.captureScreenshot", format="png")["data"]
        with PIL.Image.open(io.BytesIO(base64.b64decode(shot))) as picture:
            return np.asarray(picture.convert("RGB"))

    def requested(self) -> list[str]:
        """Addresses that the page has asked for."""
        return [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]

    def complaints(self) -> list[str]:
        """Errors, of the script or of what the page's policy has blocked."""
        errors = [e["params"]["entry"]["text"] for e in self.events if e["method"] == "Log.entryAdded"]
        return errors + [str(e["params"]) for e in self.events if e["method"] == "Runtime.exceptionThrown"]

    def close(self) -> None:
        """Close the pipes, whereupon the browser ends."""
        self._commands.close()
        self._answers.close()

    def _call(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._commands.write(json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != number:
            self.events.append(answer)
        if "error" in answer:
            raise ValueError(f"{method}: {answer['error']}")
        return answer["result"]

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            block = self._answers.raw.read(1 << 16)
            if not block:
                raise EOFError("the browser is gone")
            self._rest += block
        message, _, self._rest = self._rest.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer


@contextmanager
def running(program: str, profile: Path) -> Iterator[Browser]:
    """A browser of this program, with a profile of its own; it reads commands from descriptor 3 and answers on 4."""
    (theirs_in, commands), (answers, theirs_out) = os.pipe(), os.pipe()
    theirs_in, theirs_out = (_above_the_first_ten(number) for number in (theirs_in, theirs_out))
    flags = " ".join([*FLAGS, "--remote-debugging-pipe", f"--user-data-dir='{profile}'"])
    order = f"exec '{program}' {flags} 3<&{theirs_in} 4>&{theirs_out}"
    process = subprocess.Popen(
        ["bash", "-c", order],
        pass_fds=(theirs_in, theirs_out),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        browser = Browser(commands, answers)
        yield browser
        browser.close()
        process.wait(timeout=20)
    finally:
        process.kill()
        process.wait()


def _above_the_first_ten(descriptor: int) -> int:
    """The same under another number, so that none of those is overwritten which the shell still needs."""
    copy = fcntl.fcntl(descriptor, fcntl.F_DUPFD, 10)
    os.close(descriptor)
    return copy
