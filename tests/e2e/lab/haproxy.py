"""A HAProxy in front of a gateway: it tells who the client is by the PROXY protocol, and looks whether the gateway is well."""
import pathlib

from .process import Process, free_port, wait_for_port

BALANCER = "127.0.0.8"          # where its connections come from


class HAProxy:
    """servers: {name: (port, options of the server line)}; each has a port of its own here: self.port[name]."""

    def __init__(self, directory, servers):
        self.dir = pathlib.Path(directory)
        self.dir.mkdir(parents=True, exist_ok=True)
        self.port = {name: free_port() for name in servers}
        sections = "".join(f"""
listen {name}
    bind 127.0.0.1:{self.port[name]}
    server gate 127.0.0.1:{port} source {BALANCER} {options}
""" for name, (port, options) in servers.items())
        path = self.dir / "haproxy.cfg"
        path.write_text(f"""
global
    stats socket {self.dir}/stats level admin
    maxconn 2000
defaults
    mode tcp
    timeout connect 10s
    timeout client 60s
    timeout server 60s
    option redispatch
    timeout check 30s
    default-server inter 100ms fall 1 rise 2
{sections}
""")
        self.process = Process(["/usr/sbin/haproxy", "-db", "-f", str(path)])
        for port in self.port.values():
            wait_for_port(port)

    def stop(self):
        self.process.stop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
