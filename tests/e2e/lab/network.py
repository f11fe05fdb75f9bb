"""A network namespace for one test, with addresses of its choice on its loopback. Needs root."""
import ctypes
import os
import subprocess
import threading

import pytest

CLONE_NEWNET = 0x40000000


class OwnNetwork:
    """run(f) calls f in a thread whose sockets and child processes are in the namespace."""

    def __init__(self, addresses):
        self.addresses = addresses
        self.port = 2525

    def __enter__(self):
        if os.geteuid() != 0:
            pytest.skip("a network namespace needs root")
        return self

    def __exit__(self, *_):
        pass

    def run(self, f):
        problem = []

        def body():
            try:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.unshare(CLONE_NEWNET) != 0:
                    problem.append(pytest.skip.Exception(f"no network namespace: {os.strerror(ctypes.get_errno())}"))
                    return
                subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
                for a in self.addresses:
                    subprocess.run(["ip", "-6", "addr", "add", f"{a}/128", "dev", "lo", "nodad"], check=True)
                f()
            except BaseException as e:          # also pytest's own
                problem.append(e)

        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        if problem:
            raise problem[0]
