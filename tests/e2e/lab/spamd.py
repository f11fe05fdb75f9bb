"""SpamAssassin's spamd with two tests of our own and no network."""
import pathlib

from .process import Process, free_port, wait_for_port
from .scanner import Scanner

SPAMD = "/usr/sbin/spamd"


class Spamd(Scanner):
    def __init__(self, directory):
        self.dir = pathlib.Path(directory)
        self.dir.mkdir(parents=True)
        (self.dir / "init.pre").write_text("loadplugin Mail::SpamAssassin::Plugin::Check\n")
        (self.dir / "local.cf").write_text("""
required_score 5.0
use_bayes 0
body GATEPOST_TEST /GATEPOST-SPAM-TEST/
score GATEPOST_TEST 6.5
header GATEPOST_HAM Subject =~ /ham/
score GATEPOST_HAM -0.5
""")
        self.port = free_port()
        self.start()

    def start(self):
        self.process = Process([SPAMD, "-L", "-x", "-i", "127.0.0.1", "-p", str(self.port), "--min-children=2", "--max-children=2",
                                "--min-spare=1", "--max-spare=2", "-C", str(self.dir), f"--siteconfigpath={self.dir}", "-u", "nobody", "-s", "stderr"])
        wait_for_port(self.port)
