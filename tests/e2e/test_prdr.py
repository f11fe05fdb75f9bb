"""PRDR: after the message each recipient has its own reply. Without it: those who accept get it, for the others it is quarantined, a defer defers all."""
import pytest

from lab.smtp import Client, mail

POLICY = """
reject "550 5.7.1 not for you" if rcpt = "no@example.com" and header.subject = "mixed"
defer "450 4.7.0 not now" if rcpt = "later@example.com" and header.subject = "mixed"
quarantine if rcpt = "held@example.com" and header.subject = "mixed"
discard if rcpt = "gone@example.com" and header.subject = "mixed"
tag "[T] " if rcpt = "tagged@example.com"
accept
"""


def rcpts(*names):
    return [f"{n}@example.com" for n in names]


def replies(c, count):
    """353, one reply each, the last one."""
    first = c.reply()
    if first.code != 353:
        return first, [], None
    return first, [c.reply() for _ in range(count)], c.reply()


def send(g, names, bdat=False, message=None, param=" PRDR"):
    message = message or mail(subject="mixed")
    with Client(g.port) as c:
        assert ("PRDR" in c.ehlo().keywords()) == ("prdr = no" not in g.settings["conf"])
        c.expect(f"MAIL FROM:<alice@sender.example>{param}", 250)
        for r in rcpts(*names):
            c.expect(f"RCPT TO:<{r}>", 250)
        if bdat:
            c.send(f"BDAT {len(message)} LAST\r\n".encode() + message)
        else:
            c.expect("DATA", 354)
            c.send(message + b".\r\n")
        result = replies(c, len(names))
        c.expect("NOOP", 250)           # nothing more was said
        return result


@pytest.mark.parametrize("bdat", [False, True])
def test_each_its_own(lab, backend, bdat):
    server = backend()
    g = lab([server.port], policy=POLICY)
    first, each, last = send(g, ["bob", "no", "later", "held", "gone", "tagged"], bdat)
    assert first.code == 353 and last.code == 250
    assert [r.code for r in each] == [250, 550, 450, 250, 250, 250]
    assert "kept" in each[0].text and "not for you" in each[1].text and "not now" in each[2].text
    assert sorted(sum((m.to for m in server.messages), [])) == rcpts("bob", "tagged")
    assert len(g.quarantined()) == 1
    assert g.verdict("reject")["to"] == "<no@example.com>" and g.verdict("defer")["to"] == "<later@example.com>"
    assert g.verdict("defer")["reply"].startswith("450 4.7.0 not now")
    assert g.verdict("quarantine")["to"] == "<held@example.com>" and g.verdict("discard")["to"] == "<gone@example.com>"


@pytest.mark.parametrize("names, codes, last", [
    (["no", "no"], [550, 550], 550),
    (["later", "no"], [450, 550], 451),
    (["held", "no"], [250, 550], 250),
    (["bob", "tagged"], [250, 250], 250),
])
def test_the_last_reply(lab, backend, names, codes, last):
    g = lab([backend().port], policy=POLICY)
    first, each, end = send(g, names)
    assert (first.code, [r.code for r in each], end.code) == (353, codes, last)


def test_one_recipient_hears_one_reply(lab, backend):
    g = lab([backend().port], policy=POLICY)
    assert send(g, ["no"])[0].code == 550
    assert send(g, ["bob"])[0].code == 250


def test_one_reply_for_all_where_no_policy_is_asked(lab, backend):
    g = lab([backend().port], policy=POLICY)
    assert send(g, ["bob", "no"], message=b"Subject: x\r\n\r\n\0\r\n")[0].code == 550


def test_one_group_fails(lab, backend):
    server = backend({".": lambda s, line: b"452 4.2.2 full\r\n" if "tagged" in s.rcpts[0] else None})
    g = lab([server.port], policy=POLICY)
    first, each, last = send(g, ["tagged", "bob", "no"])
    assert [r.code for r in each] == [452, 250, 550] and last.code == 250 and "full" in each[0].text
    assert [m.to for m in server.messages] == [rcpts("tagged"), rcpts("bob")]


def test_without_prdr(lab, backend):
    server = backend()
    g = lab([server.port], policy=POLICY)
    assert send(g, ["bob", "no", "later"], param="")[0].code == 450     # nobody has it
    assert server.messages == [] and g.quarantined() == []
    assert send(g, ["bob", "no", "held", "gone"], param="")[0].code == 250
    assert [m.to for m in server.messages] == [rcpts("bob")]
    assert len(g.quarantined()) == 1
    assert g.verdict("quarantine", "no@")["to"] in ("<no@example.com>", "<held@example.com>")


def test_switched_off(lab, backend):
    g = lab([backend().port], policy=POLICY, conf="smtp { prdr = no }")
    with Client(g.port) as c:
        c.ehlo()
        c.expect("MAIL FROM:<alice@sender.example> PRDR", 555)
    assert send(g, ["bob", "no"], param="")[0].code == 250


def test_bad_parameter(lab, backend):
    g = lab([backend().port], policy=POLICY)
    with Client(g.port) as c:
        c.ehlo()
        c.expect("MAIL FROM:<alice@sender.example> PRDR=1", 501)
        c.expect("MAIL FROM:<alice@sender.example> PRDR PRDR", 501)
        c.expect("MAIL FROM:<alice@sender.example> PRDR", 250)
        c.expect("RCPT TO:<bob@example.com> PRDR", 555)
