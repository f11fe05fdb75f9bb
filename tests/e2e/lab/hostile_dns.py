"""
An authoritative server whose answers are made to be expensive, over UDP and TCP, in a process of its own: python3 hostile_dns.py PORT.

What it does depends on the label before `evil.example`; "n" stands for any number, so that no cache helps:

    chain-n     a CNAME to chain-(n-1), one in each answer; chain-0 is an A
    loop-n      a CNAME to itself's neighbour, round and round
    big-n       TXT: a message of 64 KiB, of as many strings as it takes (UDP: truncated)
    spf-n       TXT "v=spf1" with ten includes of spf-n-x, each with ten more
    drip-n      the answer by TCP, one octet each second (UDP: truncated)
    cut-n       UDP: truncated; TCP: silence
    silent-n    nothing at all
    many-n      250 A records, or TXT strings
    fan-n       a referral to 100 name servers without addresses, each fan2-... of a zone that refers likewise (NXNSAttack)
    lame-n      a referral upwards
    mx-n        100 MX, each to chain-50
    ptr         any PTR: 100 names, each chain-50

    good.example and the like are answered as knot does in the other tests, as far as load tests need it.
"""
import pathlib
import selectors
import socket
import struct
import sys
import time

A, NS, CNAME, SOA, PTR, MX, TXT, AAAA = 1, 2, 5, 6, 12, 15, 16, 28


def name(text):
    return b"".join(bytes([len(part)]) + part.encode() for part in text.split(".") if part) + b"\0"


def question(message):
    """Id, name in lower case, type, the octets of the question."""
    at, labels = 12, []
    while message[at]:
        labels.append(message[at + 1:at + 1 + message[at]].decode("latin-1").lower())
        at += 1 + message[at]
    kind = struct.unpack(">H", message[at + 1:at + 3])[0]
    return message[:2], ".".join(labels), kind, message[12:at + 5]


def record(owner, kind, data, ttl=1):
    return (b"\xc0\x0c" if owner is None else name(owner)) + struct.pack(">HHIH", kind, 1, ttl, len(data)) + data


def strings(text):
    return b"".join(bytes([len(text[i:i + 255])]) + text[i:i + 255] for i in range(0, len(text), 255))


def good(q, kind):
    """The zones that well-behaved clients need."""
    table = {
        ("good.example", TXT): strings(b"v=spf1 ip4:127.0.0.25 -all"),
        ("_dmarc.good.example", TXT): strings(b"v=DMARC1; p=reject"),
        ("25.0.0.127.in-addr.arpa", PTR): name("mail.good.example"),
        ("mail.good.example", A): bytes((127, 0, 0, 25)),
    }
    data = table.get((q, kind))
    return [record(None, kind, data, ttl=3600)] if data else None        # cached: it is not our own slowness that is measured


def evil(label, q, kind, number):
    """(answers, authority)."""
    word, _, rest = label.partition("-")
    if word == "chain":
        n = int(rest.split("-")[0])
        return ([record(None, A, b"\x7f\0\0\1")] if n == 0 else [record(None, CNAME, name(f"chain-{n - 1}-{number}.evil.example"))]), []
    if word == "loop":
        return [record(None, CNAME, name(f"loop-{1 - int(rest.split('-')[0]) % 2}-{rest}.evil.example"[:250]))], []
    if word == "big" and kind == TXT:
        return [record(None, TXT, strings(b"x" * 60000))], []
    if word == "spf" and kind == TXT:
        return [record(None, TXT, strings(b"v=spf1 " + b" ".join(b"include:%s-%d.evil.example" % (label[:40].encode(), i) for i in range(10)) + b" -all"))], []
    if word == "many":
        return [record(None, kind, bytes((10, 0, i >> 8, i & 255)) if kind == A else strings(b"v=spf1 %d" % i)) for i in range(250)
                if kind in (A, TXT)], []
    if word in ("fan", "fan2"):
        zone = f"{label}.evil.example"
        return [], [record(zone, NS, name(f"fan2-{number}-{i}.evil.example")) for i in range(100)]
    if word == "lame":
        return [], [record("example", NS, name("ns.example"))]
    if word == "mx" and kind == MX:
        return [record(None, MX, struct.pack(">H", i) + name(f"chain-50-{number}-{i}.evil.example")) for i in range(100)], []
    return [], []


def answer(message, tcp, state):
    """The octets, or None: silence; and whether to send them an octet a second."""
    ident, q, kind, asked = question(message)
    state["n"] += 1
    answers, authority, drip = good(q, kind), [], False
    if answers is None and q.endswith(".evil.example"):
        label = q[:-len(".evil.example")].rpartition(".")[2]
        word = label.partition("-")[0]
        if word == "silent" or (word == "cut" and tcp):
            return None, False
        if word in ("drip", "cut") and not tcp:
            return ident + struct.pack(">HHHHH", 0x8600, 1, 0, 0, 0) + asked, False
        drip = word == "drip"
        try:
            answers, authority = evil(label, q, kind, state["n"])
        except ValueError:
            answers = []
        if drip:
            answers = [record(None, TXT, strings(b"x" * 200))]
    elif answers is None and kind == PTR and not q.startswith("25."):
        answers = [record(None, PTR, name(f"chain-50-{state['n']}-{i}.evil.example")) for i in range(100)]
    soa = record("example", SOA, name("ns.root") + name("a.root") + struct.pack(">IIIII", 1, 60, 60, 60, 1))
    answers = answers or []
    flags = 0x8400 if answers or not authority else 0x8000
    out = ident + struct.pack(">HHHHH", flags, 1, len(answers), len(authority) or (0 if answers else 1), 0) + asked
    out += b"".join(answers) + (b"".join(authority) or (b"" if answers else soa))
    if not tcp and len(out) > 1232:
        return ident + struct.pack(">HHHHH", 0x8600, 1, 0, 0, 0) + asked, False
    return out, drip


class Connection:
    def __init__(self, sock):
        self.sock, self.data, self.out, self.drip = sock, b"", b"", False


def serve(port):
    state = {"n": 0}
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", port))
    tcp = socket.create_server(("127.0.0.1", port), backlog=1024)
    for s in (udp, tcp):
        s.setblocking(False)
    poll = selectors.DefaultSelector()
    poll.register(udp, selectors.EVENT_READ)
    poll.register(tcp, selectors.EVENT_READ)
    dripping, ticked = set(), time.monotonic()
    print("ready", flush=True)
    while True:
        for key, _ in poll.select(0.2):
            if key.fileobj is udp:
                for _ in range(100):
                    try:
                        message, peer = udp.recvfrom(4096)
                    except BlockingIOError:
                        break
                    try:
                        out, _ = answer(message, False, state)
                        if out:
                            udp.sendto(out, peer)
                    except (IndexError, OSError, struct.error):
                        pass
                continue
            if key.fileobj is tcp:
                c = Connection(tcp.accept()[0])
                poll.register(c.sock, selectors.EVENT_READ, c)
                continue
            c = key.data
            try:
                more = c.sock.recv(4096)
            except OSError:
                more = b""
            if not more:
                dripping.discard(c)
                poll.unregister(c.sock)
                c.sock.close()
                continue
            c.data += more
            while len(c.data) >= 2 and len(c.data) >= 2 + struct.unpack(">H", c.data[:2])[0]:
                size = struct.unpack(">H", c.data[:2])[0]
                message, c.data = c.data[2:2 + size], c.data[2 + size:]
                out, drip = answer(message, True, state)
                if out is None:
                    continue
                out = struct.pack(">H", len(out)) + out
                if drip:
                    c.out += out
                    dripping.add(c)
                else:
                    c.sock.setblocking(True)
                    c.sock.settimeout(1)
                    try:
                        c.sock.sendall(out)
                    except OSError:
                        pass
                    c.sock.setblocking(False)
        if time.monotonic() - ticked >= 1:
            ticked = time.monotonic()
            print(f"asked {state['n']}", flush=True)
            for c in list(dripping):
                try:
                    c.sock.send(c.out[:1])
                    c.out = c.out[1:]
                except OSError:
                    dripping.discard(c)


class HostileDns:
    def __init__(self):
        from .process import Process, free_port
        self.port = free_port()
        self.process = Process([sys.executable, str(pathlib.Path(__file__)), str(self.port)])
        self.process.wait_line("ready")
        self.server = f"127.0.0.1:{self.port}"

    def stop(self):
        self.process.stop()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
