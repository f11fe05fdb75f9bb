"""The client's half of SASL mechanisms: each a list of steps, functions of what the server said to what the client says."""
import base64
import hashlib
import hmac
import re

NONCE = "fyko+d2lbbFgONRv9qkxdawL"


def plain(user, password):
    return [lambda _: f"\0{user}\0{password}".encode()]


def login(user, password):
    return [lambda _: user.encode(), lambda _: password.encode()]


def cram_md5(user, password):
    return [lambda challenge: f"{user} {hmac.new(password.encode(), challenge, 'md5').hexdigest()}".encode()]


def digest_md5(user, password, service):
    """RFC 2831, qop=auth; the last step answers rspauth with nothing."""
    def answer(challenge):
        given = dict(re.findall(r'(\w+)="?([^",]*)"?', challenge.decode()))
        realm, nonce, uri = given.get("realm", ""), given["nonce"], f"{service}/gate.example"
        a1 = hashlib.md5(f"{user}:{realm}:{password}".encode()).digest() + f":{nonce}:{NONCE}".encode()
        ha1, ha2 = hashlib.md5(a1).hexdigest(), hashlib.md5(f"AUTHENTICATE:{uri}".encode()).hexdigest()
        response = hashlib.md5(f"{ha1}:{nonce}:00000001:{NONCE}:auth:{ha2}".encode()).hexdigest()
        return (f'username="{user}",realm="{realm}",nonce="{nonce}",cnonce="{NONCE}",nc=00000001,qop=auth,digest-uri="{uri}",'
                f"response={response},charset=utf-8").encode()
    return [answer, lambda _: b""]


def scram(user, password, name="sha256"):
    """RFC 5802 and 7677; the last step answers the server's proof, which it checks, with nothing."""
    bare = f"n={user.replace('=', '=3D').replace(',', '=2C')},r={NONCE}"
    kept = {}

    def final(first):
        given = dict(p.split("=", 1) for p in first.decode().split(","))
        assert given["r"].startswith(NONCE) and given["r"] != NONCE
        salted = hashlib.pbkdf2_hmac(name, password.encode(), base64.b64decode(given["s"]), int(given["i"]))
        client = hmac.new(salted, b"Client Key", name).digest()
        without = f"c=biws,r={given['r']}"
        text = f"{bare},{first.decode()},{without}".encode()
        signed = hmac.new(hashlib.new(name, client).digest(), text, name).digest()
        kept["v"] = hmac.new(hmac.new(salted, b"Server Key", name).digest(), text, name).digest()
        proof = bytes(a ^ b for a, b in zip(client, signed))
        return f"{without},p={base64.b64encode(proof).decode()}".encode()

    def end(verifier):
        assert verifier == b"v=" + base64.b64encode(kept["v"]), verifier
        return b""
    return [lambda _: f"n,,{bare}".encode(), final, end]


def steps(mechanism, user, password, service="imap"):
    return {
        "PLAIN": lambda: plain(user, password), "LOGIN": lambda: login(user, password), "CRAM-MD5": lambda: cram_md5(user, password),
        "DIGEST-MD5": lambda: digest_md5(user, password, service), "SCRAM-SHA-1": lambda: scram(user, password, "sha1"),
        "SCRAM-SHA-256": lambda: scram(user, password),
    }[mechanism]()
