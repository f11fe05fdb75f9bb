"""Figures that a test finds and that are to be seen though it passes: on its output, and at the end of what tests/run.py says of all."""
import os


def say(text):
    print(text, flush=True)
    if path := os.environ.get("COUNTS"):
        with open(path, "a") as f:
            f.write(text.strip() + "\n")
