"""A third opinion on DKIM: dkimpy, Debian's python3-dkim.

Usage: dkim_dkimpy.py sign DIR COUNT SEED      DIR/p0 ... become signed messages
       dkim_dkimpy.py verify DIR COUNT         one line for each of DIR/o0 ...: how many of its two signatures pass

DIR/rsa.pem and DIR/ed.pem are the keys, DIR/rsa.txt and DIR/ed.txt their records: selectors rsa and ed of example.com. Without dkimpy: exit status 3.
"""
import base64
import pathlib
import random
import sys

try:
    import dkim
except ImportError:
    sys.exit(3)

NAMES = ["Subject", "To", "Cc", "X-A", "Date", "Message-ID", "subject", "MIME-Version", "Reply-To", "X-a"]
PIECES = ["a", "word", " ", "  ", "\t", "\r\n ", "\r\n\t", ".", ";", ":", "=", "\u00e4", "=20", "b=c"]
LINES = ["\r\n", "\r\n", "\r\n.\r\n", "\r\n\r\n", " \r\n", "\t \r\n", "\r\n..\r\n"]
FORMS = [(a, b) for a in (b"relaxed", b"simple") for b in (b"relaxed", b"simple")]


def message(chance):
    fields = [f"{chance.choice(NAMES)}:" + "".join(chance.choices(PIECES, k=chance.randrange(12))) + "x\r\n" for _ in range(chance.randrange(8))]
    fields.insert(chance.randrange(len(fields) + 1), "From: a@example.com\r\n")
    body = "".join(chance.choice(PIECES if chance.random() < 0.75 else LINES) for _ in range(chance.randrange(60)))
    return ("".join(fields) + "\r\n" + body).encode() + b"\r\n"


def sign(directory, count, seed):
    chance = random.Random(seed)
    rsa = (directory / "rsa.pem").read_bytes()
    pem = (directory / "ed.pem").read_text().splitlines()
    ed = base64.b64encode(base64.b64decode("".join(pem[1:-1]))[-32:])       # PKCS#8 ends with the 32 octets that are the key
    for i in range(count):
        text = message(chance)
        head = text.partition(b"\r\n\r\n")[0]
        present = [n.encode() for n in NAMES if b"\n" + n.lower().encode() + b":" in b"\n" + head.lower()]
        include = [b"From"] * chance.choice([1, 2]) + [n for n in present for _ in range(chance.choice([0, 1, 1, 2]))]
        kind = i % 2
        form = FORMS[i // 2 % 4]
        out = dkim.sign(text, b"ed" if kind else b"rsa", b"example.com", ed if kind else rsa, canonicalize=form, include_headers=include,
                        length=chance.random() < 0.1, signature_algorithm=b"ed25519-sha256" if kind else b"rsa-sha256")
        (directory / f"p{i}").write_bytes(out + text)


def verify(directory, count):
    records = {f"{s}._domainkey.example.com": (directory / f"{s}.txt").read_bytes() for s in ("rsa", "ed")}

    def txt(name, timeout=5):
        return records.get(name.rstrip(b".").decode())

    for i in range(count):
        octets = (directory / f"o{i}").read_bytes()
        good = 0
        for k in range(2):
            try:
                good += dkim.DKIM(octets, minkey=1024).verify(idx=k, dnsfunc=txt)
            except dkim.DKIMException:
                pass
        print(good, flush=True)


if sys.argv[1] == "sign":
    sign(pathlib.Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
else:
    verify(pathlib.Path(sys.argv[2]), int(sys.argv[3]))
