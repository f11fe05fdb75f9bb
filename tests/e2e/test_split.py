"""split = retry: recipients of another class come in a transaction of their own. And the score in the verdict line."""
import pytest

from lab.smtp import Client, mail

POLICY = """
class board = recipients { "ceo@example.com", "cfo@example.com" }
score +2 if header.subject ~ /invoice/
score +3 if class = board
quarantine if class = board and score >= 5
accept
"""


def ask(g, *rcpts, param=""):
    with Client(g.port) as c:
        c.ehlo()
        c.expect(f"MAIL FROM:<alice@sender.example>{param}", 250)
        replies = [c.cmd(f"RCPT TO:<{r}@example.com>") for r in rcpts]
        return replies, c.data_block(mail(subject="invoice"))


def test_split(lab, backend):
    server = backend()
    g = lab([server.port], policy=POLICY, conf="smtp { split = retry }")
    replies, end = ask(g, "bob", "ceo", "carol", "cfo")
    assert [r.code for r in replies] == [250, 452, 250, 452] and end.code == 250
    assert replies[1].text.startswith("4.5.3 ")
    assert server.messages[0].to == ["bob@example.com", "carol@example.com"]
    assert g.verdict("split")["to"] == "<ceo@example.com>"
    assert g.verdict("accept")["score"] == "2"
    replies, end = ask(g, "ceo", "cfo", "bob")
    assert [r.code for r in replies] == [250, 250, 452] and end.code == 250
    assert len(g.quarantined()) == 1 and len(server.messages) == 1
    assert g.verdict("quarantine")["score"] == "5"


@pytest.mark.parametrize("conf, param", [("", ""), ("smtp { split = retry }", " PRDR")])
def test_not_split(lab, backend, conf, param):
    g = lab([backend().port], policy=POLICY, conf=conf)
    replies, _ = ask(g, "bob", "ceo", param=param)
    assert [r.code for r in replies] == [250, 250]


def test_who_is_not_ours_is_refused_as_ever(lab, backend):
    g = lab([backend().port], policy=POLICY, conf="smtp { split = retry }")
    with Client(g.port) as c:
        c.ehlo()
        c.envelope("alice@sender.example", "bob@example.com")
        c.expect("RCPT TO:<x@elsewhere.example>", 550)


def test_who_goes_on_and_on_is_not_written_down_for_ever(lab, backend):
    """Each that is asked to come apart is a line of the log and a record: as many as there may be others, no more."""
    g = lab([backend().port], policy=POLICY, conf="smtp { split = retry }\nlimits { recipients = 100 errors = 2 }")
    replies, end = ask(g, "bob", *["ceo"] * 120)
    assert {r.code for r in replies[1:]} == {452} and end.code == 250
    assert sum("transaction of its own" in r.text for r in replies) == 101
    g.verdict("accept")         # the lines above it have been read by then
    assert g.process.output().count("verdict=split") == 101
