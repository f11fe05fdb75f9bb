"""DKIM signatures with a key of the tests' own."""
import base64
import functools
import pathlib
import subprocess

import dkim

KEY = pathlib.Path(__file__).parent / "test-key.pem"


@functools.lru_cache
def public_key():
    der = subprocess.run(["openssl", "pkey", "-in", str(KEY), "-pubout", "-outform", "DER"], check=True, capture_output=True).stdout
    return base64.b64encode(der).decode()


def txt(text):
    """A TXT record's data, cut into strings of at most 255 octets."""
    return " ".join(f'"{text[i:i + 255]}"' for i in range(0, len(text), 255))


def key_record():
    return txt(f"v=DKIM1; k=rsa; p={public_key()}")


def signed(message, domain="good.example", selector="sel", **kw):
    kw.setdefault("include_headers", [b"From", b"To", b"Subject", b"Date", b"Message-ID"])
    header = dkim.sign(message, selector.encode(), domain.encode(), KEY.read_bytes(), canonicalize=(b"relaxed", b"relaxed"), **kw)
    return header + message
