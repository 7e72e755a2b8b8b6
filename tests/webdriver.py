"""A browser for tests: as much of the WebDriver protocol as we need, by the standard library and Chromium's driver."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
KEYS = {
    "Backspace": "\ue003", "Tab": "\ue004", "Enter": "\ue007", "Shift": "\ue008", "Control": "\ue009",
    "Escape": "\ue00c", "End": "\ue010", "Home": "\ue011", "ArrowLeft": "\ue012", "ArrowUp": "\ue013",
    "ArrowRight": "\ue014", "ArrowDown": "\ue015",
}  # fmt: skip


class Refused(Exception):
    """What the driver says went wrong."""


class Driver:
    """Chromium's driver, a process; each of its browsers has a folder of its own."""

    def __init__(self) -> None:
        self.process = subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            if "started successfully on port" in line:
                self.address = f"http://127.0.0.1:{int(line.rstrip().rstrip('.').rpartition(' ')[2])}"
                return
        raise Refused("the driver did not start")

    def browser(self, folder: Path, width: int = 1280, height: int = 900, *, dark: bool = False, touch: bool = False):
        return Browser(self.address, folder, width, height, dark, touch)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        self.process.stdout.close()


class Browser:
    """One window, or more."""

    def __init__(self, address: str, folder: Path, width: int, height: int, dark: bool, touch: bool) -> None:
        self.session = f"{address}/session"
        options = {"args": [*FLAGS, f"--user-data-dir={folder}", f"--window-size={width},{height}"], "binary": CHROMIUM}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        made = self.ask("POST", "", {"capabilities": {"alwaysMatch": wanted}})
        self.session += f"/{made['sessionId']}"
        self.set_look(width, height, dark, touch)

    def set_look(self, width: int, height: int, dark: bool, touch: bool) -> None:
        """A window's size and scheme, which are the tab's own."""
        self.look = (width, height, dark, touch)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.devtools("Emulation.setEmulatedMedia", features=scheme)
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch
        )
        self.devtools("Emulation.setTouchEmulationEnabled", enabled=touch)

    def ask(self, method: str, path: str, given=None):
        data = None if given is None else json.dumps(given).encode()
        request = urllib.request.Request(
            f"{self.session}{path}", data, {"Content-Type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return json.load(reply)["value"]
        except urllib.error.HTTPError as problem:
            raise Refused(json.load(problem)["value"]["message"].splitlines()[0]) from None

    def open(self, url: str) -> None:
        self.ask("POST", "/url", {"url": url})

    def run(self, script: str, *given):
        return self.ask("POST", "/execute/sync", {"script": script, "args": list(given)})

    def wait(self, script: str, *given, seconds: float = 15.0):
        """Until what a script returns is true; returns it."""
        until = time.monotonic() + seconds
        while not (found := self.run(script, *given)):
            assert time.monotonic() < until, f"never true: {script} {given}"
            time.sleep(0.02)
        return found

    def text(self, selector: str) -> str:
        return self.run("return document.querySelector(arguments[0]).innerText", selector)

    def element(self, selector: str):
        return self.ask("POST", "/element", {"using": "css selector", "value": selector})

    def click(self, selector: str) -> None:
        self.ask("POST", f"/element/{self.element(selector)[ELEMENT]}/click", {})

    def touch(self, selector: str) -> None:
        """Put a finger on the middle of an element."""
        self._act("touch", [
            {"type": "pointerMove", "duration": 0, "x": 0, "y": 0, "origin": self.element(selector)},
            {"type": "pointerDown", "button": 0}, {"type": "pause", "duration": 30}, {"type": "pointerUp", "button": 0},
        ])  # fmt: skip

    def drag(self, selector: str, share: float) -> None:
        """Move a slider's thumb, from where the pointer takes it to a share of its width."""
        box = self.run(
            "const box = document.querySelector(arguments[0]).getBoundingClientRect();"
            "return [box.x, box.y + box.height / 2, box.width];",
            selector,
        )
        x, y, width = box
        self._act("mouse", [
            {"type": "pointerMove", "duration": 0, "x": round(x + width / 2), "y": round(y)},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerMove", "duration": 50, "x": round(x + width * share), "y": round(y)},
            {"type": "pointerUp", "button": 0},
        ])  # fmt: skip

    def _act(self, kind: str, actions) -> None:
        pointer = {"type": "pointer", "id": kind, "parameters": {"pointerType": kind}, "actions": actions}
        self.ask("POST", "/actions", {"actions": [pointer]})

    def press(self, *keys: str) -> None:
        """Press keys together, and let them go."""
        codes = [KEYS.get(key, key) for key in keys]
        actions = [{"type": "keyDown", "value": code} for code in codes]
        actions += [{"type": "keyUp", "value": code} for code in reversed(codes)]
        self.ask("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def devtools(self, command: str, **given):
        return self.ask("POST", "/goog/cdp/execute", {"cmd": command, "params": given})

    def offline(self, on: bool) -> None:
        self.devtools("Network.enable")
        self.devtools(
            "Network.emulateNetworkConditions", offline=on, latency=0, downloadThroughput=-1, uploadThroughput=-1
        )

    def new_tab(self) -> str:
        handle = self.ask("POST", "/window/new", {"type": "tab"})["handle"]
        self.go_to(handle)
        self.set_look(*self.look)
        return handle

    def tab(self) -> str:
        return self.ask("GET", "/window")

    def go_to(self, handle: str) -> None:
        self.ask("POST", "/window", {"handle": handle})

    def console(self) -> list[str]:
        """What stands in the console since last asked: warnings and errors of the page and of the browser."""
        return [one["message"] for one in self.ask("POST", "/se/log", {"type": "browser"})]

    def picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.ask("GET", "/screenshot")))

    def close(self) -> None:
        with contextlib.suppress(Refused):
            self.ask("DELETE", "")
