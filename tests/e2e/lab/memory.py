"""What processes have in their memory: to see that a password is not there."""
import base64
import re


def memory(pid):
    """What a process has written in its memory."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            found = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
            if not found or "[v" in line:
                continue
            start, end = (int(x, 16) for x in found.groups())
            try:
                mem.seek(start)
                yield mem.read(end - start)
            except OSError:
                continue


def secrets(password):
    """The password and what it looks like in base64, whatever stands before it."""
    out = [password.encode()]
    for pad in range(3):
        coded = base64.b64encode(b"\0" * pad + password.encode())
        out.append(coded[4 * (pad > 0):-4])
    return out
