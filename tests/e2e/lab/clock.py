"""The gateway's wall clock, moved (tests/preload/clock.c)."""
import os
import pathlib
import struct
import time

from .gateway import ROOT

CLOCK = ROOT / "build" / "tests" / "preload" / "clock.so"


class Clock:
    """env: for the gateway and its commands. now(): what they see."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.move(0)
        sanitizers = "verify_asan_link_order=0"         # which want to be loaded first
        self.env = {"CLOCK_MOVED": str(self.path), "LD_PRELOAD": str(CLOCK),
                    "ASAN_OPTIONS": ":".join(filter(None, (os.environ.get("ASAN_OPTIONS"), sanitizers)))}

    def move(self, seconds):
        """So far ahead of the machine's it is from now on."""
        self.ahead = seconds
        with open(self.path, "r+b" if self.path.exists() else "wb") as f:
            f.write(struct.pack("=q", int(seconds * 1e9)))

    def now(self):
        return time.time() + self.ahead

    def keep_clear(self, period_s, of_s=180):
        """
        For a test to which it matters that no such period (they begin at multiples of their length) ends while it runs: in the last of_s seconds of one it is
        moved to the next one's beginning. Ahead only: what others sign by the machine's clock does not come from the future.
        """
        left = period_s - time.time() % period_s
        self.move(left + 1 if left < of_s else 0)
