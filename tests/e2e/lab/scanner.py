"""What the scanners have in common: they work with processes of their own, which are frozen and ended together with them."""
import os
import signal


class Scanner:
    """start() makes self.process; port: on loopback."""

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def freeze(self):
        os.killpg(self.process.pid, signal.SIGSTOP)

    def thaw(self):
        os.killpg(self.process.pid, signal.SIGCONT)

    def kill(self):
        self.process.kill()

    def stop(self):
        if self.process.proc.poll() is None:
            self.thaw()
        self.process.kill()
