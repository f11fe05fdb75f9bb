"""The processes under valgrind, without the sandbox that it cannot live in: no wrong access to memory, nothing read that was not written, nothing lost."""
import os
import re

from lab.gateway import ROOT
from lab.sign import signed
from lab.smtp import Client, mail

PLAIN = os.environ.get("GATEPOST_PLAIN")
# Leaks are what the address sanitizer looks for, in all other tests: children of a moment end as they are.
OPTIONS = ["--quiet", "--leak-check=no", f"--suppressions={ROOT}/tests/valgrind.supp"]


def test_sessions_under_valgrind(lab, postfix, tmp_path):
    logs = tmp_path / "valgrind"
    logs.mkdir()
    g = lab([postfix.port], binary=PLAIN, wrap=["valgrind", *OPTIONS, f"--log-file={logs}/%p"], env={"UNDER_VALGRIND": "1"},
            policy="quarantine programs: if attachment.extension in (exe) or archive.extension in (exe)\nquarantine if dmarc = fail\naccept\n", conf="sandbox = no")
    message = signed(mail("alice@good.example", subject="signed one"))
    with Client(g.port, source="127.0.0.25") as c:
        c.ehlo("mail.good.example")
        c.starttls()
        c.ehlo("mail.good.example")
        assert c.message("alice@good.example", "bob@example.com", message).code == 250
        assert c.message("x@sender.example", "bob@example.com", mail("billing@bank.example", subject="your account")).code == 250
        assert c.cmd("MAIL FROM:<a@sender.example").code == 501
        c.envelope("a@sender.example", "bob@example.com")
        c.send(b"BDAT 19 LAST\r\nSubject: b\r\n\r\na\r\nb\n")
        assert c.reply().code == 250
    half = Client(g.port)
    half.ehlo()
    half.envelope("a@sender.example", "bob@example.com")
    half.expect("DATA", 354)
    half.close()
    postfix.wait_message("bob@example.com")
    assert len(g.quarantined()) == 1
    g.stop()
    said = {p.name: p.read_text(errors="replace") for p in logs.iterdir()}
    assert len(said) >= 6, "valgrind has seen too few processes"
    wrong = {name: text for name, text in said.items() if re.search(r"^==\d+== ", text, re.M)}
    assert not wrong, "\n".join(wrong.values())[:8000]
