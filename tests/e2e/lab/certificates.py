"""Certificates for mail servers: one that a CA of ours has signed, one that nobody has."""
import hashlib
import pathlib
import ssl
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

    def sign(self, kind, *names, expired=False):
        """(certificate, key) for these names, signed by the CA."""
        d = self.ca.parent
        cert, private, request, extensions = (d / f"{kind}.{e}" for e in ("pem", "key", "csr", "ext"))
        extensions.write_text("subjectAltName=" + ",".join(f"DNS:{n}" for n in names) + "\nbasicConstraints=critical,CA:FALSE\n")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", private, "-out", request, "-subj", f"/CN={kind}")
        if expired:
            (d / "ca.conf").write_text(f"[ca]\ndefault_ca=d\n[d]\nnew_certs_dir={d}\ndatabase={d}/index\nrand_serial=yes\ndefault_md=sha256\n"
                                       "policy=p\nunique_subject=no\n[p]\ncommonName=supplied\n")
            (d / "index").write_text("")
            openssl("ca", "-batch", "-config", d / "ca.conf", "-in", request, "-out", cert, "-cert", self.ca, "-keyfile", d / "ca.key",
                    "-startdate", "20200101000000Z", "-enddate", "20210101000000Z", "-extfile", extensions, "-notext")
        else:
            openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", d / "ca.key", "-days", 30, "-extfile", extensions, "-out", cert,
                    "-set_serial", int.from_bytes(hashlib.sha256(kind.encode()).digest()[:8], "big"))
        return cert, private

    @staticmethod
    def _make(d, kind, name, key, *ca):
        cert, private = d / f"{kind}.pem", d / f"{kind}.key"
        openssl("req", "-x509", *key, "-keyout", private, "-out", cert, "-days", 30, "-subj", f"/CN={name}",
                "-addext", f"subjectAltName=DNS:{name}", "-addext", "basicConstraints=critical,CA:FALSE", *ca)
        return cert, private


def tlsa(usage, selector, cert):
    """The data of a TLSA record, SHA-256."""
    if selector == 0:
        der = ssl.PEM_cert_to_DER_cert(pathlib.Path(cert).read_text())
    else:
        key = subprocess.run(["openssl", "x509", "-in", str(cert), "-pubkey", "-noout"], check=True, capture_output=True).stdout
        der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=key, check=True, capture_output=True).stdout
    return f"{usage} {selector} 1 {hashlib.sha256(der).hexdigest()}"
