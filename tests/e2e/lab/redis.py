"""A Redis on a free port of loopback; what it is told is on disk before it answers, so that it can be killed and started again."""
import pathlib
import signal
import subprocess

from .process import Process, free_port


class Redis:
    def __init__(self, directory, password=None):
        self.dir = pathlib.Path(directory)
        self.dir.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.password = password
        self.start()

    def start(self):
        argv = ["/usr/bin/redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.dir), "--daemonize", "no",
                "--save", "", "--appendonly", "yes", "--appendfsync", "always"]
        if self.password:
            argv += ["--requirepass", self.password]
        self.process = Process(argv)
        self.process.wait_line("Ready to accept connections")

    def cli(self, *words):
        auth = ["-a", self.password, "--no-auth-warning"] if self.password else []
        return subprocess.run(["/usr/bin/redis-cli", "-p", str(self.port), *auth, *words], check=True, capture_output=True, text=True,
                              timeout=60).stdout.splitlines()

    def keys(self, pattern="*"):
        return [k for k in self.cli("--scan", "--pattern", pattern) if k]

    def kill(self):
        self.process.send(signal.SIGKILL)
        self.process.wait()

    def freeze(self):
        self.process.send(signal.SIGSTOP)

    def thaw(self):
        self.process.send(signal.SIGCONT)

    def stop(self):
        self.thaw()
        self.process.stop()
