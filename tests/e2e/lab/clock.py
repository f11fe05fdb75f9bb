"""The gateway's wall clock, moved (tests/preload/clock.c). For the plain build: the sanitizers want to be loaded first."""
import pathlib
import struct

from .gateway import ROOT

CLOCK = ROOT / "build" / "tests" / "preload" / "clock.so"


class Clock:
    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.move(0)
        self.env = {"CLOCK_MOVED": str(self.path), "LD_PRELOAD": str(CLOCK)}

    def move(self, seconds):
        """So far ahead of the machine's it is from now on."""
        with open(self.path, "r+b" if self.path.exists() else "wb") as f:
            f.write(struct.pack("=q", int(seconds * 1e9)))
