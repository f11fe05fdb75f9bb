"""Certificates for mail servers: one that a CA of ours has signed, one that nobody has."""
import pathlib
import subprocess


def openssl(*argv):
    subprocess.run(["openssl", *map(str, argv)], check=True, capture_output=True, timeout=60)


class Certificates:
    """ca: the CA's file; signed, self_signed: (certificate, key) of the name."""

    def __init__(self, directory, name="backend.example"):
        d = pathlib.Path(directory)
        d.mkdir(parents=True, exist_ok=True)
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        self.ca = d / "ca.pem"
        openssl("req", "-x509", *key, "-keyout", d / "ca.key", "-out", self.ca, "-days", 30, "-subj", "/CN=Lab CA")
        self.signed = self._make(d, "signed", name, key, "-CA", self.ca, "-CAkey", d / "ca.key")
        self.self_signed = self._make(d, "self", name, key)

    @staticmethod
    def _make(d, kind, name, key, *ca):
        cert, private = d / f"{kind}.pem", d / f"{kind}.key"
        openssl("req", "-x509", *key, "-keyout", private, "-out", cert, "-days", 30, "-subj", f"/CN={name}",
                "-addext", f"subjectAltName=DNS:{name}", "-addext", "basicConstraints=critical,CA:FALSE", *ca)
        return cert, private
