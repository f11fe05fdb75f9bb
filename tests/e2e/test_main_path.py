"""The main path: a real client, real DNS, the filters, a real Postfix."""
import subprocess

from lab.sign import signed
from lab.smtp import Client, mail

DNSBL = 'dnsbl "dnsbl.example" { weight = 5 }'


def body_of(raw):
    return raw.split(b"\n\n", 1)[1]


def test_a_signed_message_is_delivered(lab, postfix):
    g = lab([postfix.port])
    message = signed(mail("alice@good.example", subject="signed one"))
    with Client(g.port, source="127.0.0.25") as c:
        reply = c.message("alice@good.example", "bob@example.com", message, helo="mail.good.example")
        assert reply.code == 250 and "queued as" in reply.text, reply
    got = postfix.wait_message("bob@example.com").decode()
    head, body = got.split("\n\n", 1)
    assert body == "A line.\n"
    unfolded = head.replace("\n\t", " ").replace("\n ", " ")
    line = next(x for x in unfolded.splitlines() if x.startswith("Authentication-Results: gate.example"))
    assert "spf=pass" in line and "smtp.mailfrom=" in line
    assert "dkim=pass" in line and "header.d=good.example" in line
    assert "dmarc=pass" in line and "header.from=good.example" in line
    received = next(x for x in unfolded.splitlines() if "by gate.example" in x)
    assert received.startswith("Received: from mail.good.example (mail.good.example [127.0.0.25])")
    assert unfolded.index("Authentication-Results: gate") < unfolded.index("by gate.example")
    v = g.verdict()
    assert v["verdict"] == "accept" and v["client"] == "127.0.0.25" and v["to"] == "<bob@example.com>"
    assert "spf=pass" in v["facts"] and "dkim=pass" in v["facts"] and "dmarc=pass" in v["facts"]


def test_a_forgery_is_quarantined(lab, postfix):
    g = lab([postfix.port])
    with Client(g.port) as c:
        reply = c.message("x@sender.example", "bob@example.com", mail("billing@bank.example", subject="your account"))
        assert reply.code == 250
    v = g.verdict("quarantine")
    assert "dmarc=fail" in v["facts"] and "dmarc.policy=quarantine" in v["facts"]
    assert postfix.messages("bob@example.com") == []
    assert len(g.quarantined()) == 1
    assert g.quarantined()[0].read_bytes() == mail("billing@bank.example", subject="your account")


def test_a_listed_client_is_refused_before_data(lab, postfix):
    g = lab([postfix.port], conf=DNSBL)
    g.wait_line("dnsbl.example")
    with Client(g.port, source="127.0.0.66") as c:
        c.ehlo("listed.example")
        replies = c.envelope("spam@listed.example", "bob@example.com")
        assert replies[0].code == 550 and replies[0].text.startswith("5.7.1")
        assert c.cmd("DATA").code == 554
    v = g.verdict("reject")
    assert v["client"] == "127.0.0.66" and "dnsbl.score=5" in v["facts"] and v["to"] == "<bob@example.com>"


def test_unknown_user_is_refused_with_the_backends_words(gate, postfix):
    with Client(gate.port) as c:
        c.ehlo()
        good, bad = c.envelope("a@sender.example", "bob@example.com", "nobody@example.com")
        assert good.code == 250
        assert bad.code == 550 and "User unknown" in bad.text
        assert c.data_block(mail(subject="for bob alone")).code == 250
    assert b"for bob alone" in postfix.wait_message("bob@example.com")


def test_no_relay(gate):
    with Client(gate.port) as c:
        c.ehlo()
        c.expect("MAIL FROM:<a@sender.example>", 250)
        for rcpt in ("victim@elsewhere.example", "victim%elsewhere.example@example.com", "@example.com:victim@elsewhere.example",
                     "elsewhere.example!victim@example.com", '"victim@elsewhere.example"@example.com', "victim@[127.0.0.1]",
                     "victim@[192.0.2.1]", "victim@example.com.elsewhere.example", "victim%elsewhere.example@gate.example",
                     "victim@elsewhere.example@example.com", "@elsewhere.example:victim@example.com@elsewhere.example"):
            reply = c.cmd(f"RCPT TO:<{rcpt}>")
            assert 500 <= reply.code < 560, (rcpt, reply)


def test_body_arrives_byte_for_byte(gate, postfix):
    body = b"one\r\n.\xc3\xa4 dot first\r\n..two dots\r\n" + b"x" * 998 + b"\r\n" + b"y" * 5000 + b"\r\ntrailing \t \r\n\r\n\r\n"
    message = mail(subject="octets", extra="MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n").rsplit(b"A line.", 1)[0] + body
    with Client(gate.port) as c:
        c.ehlo()
        c.expect("MAIL FROM:<a@sender.example> BODY=8BITMIME", 250)
        c.expect("RCPT TO:<bob@example.com>", 250)
        assert c.data_block(message).code == 250
    assert body_of(postfix.wait_message("bob@example.com")) == body.replace(b"\r\n", b"\n")


def test_pipelining_and_two_messages_in_a_session(gate, postfix):
    with Client(gate.port) as c:
        c.ehlo()
        c.send(b"MAIL FROM:<a@sender.example>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\n")
        assert [c.reply().code for _ in range(3)] == [250, 250, 354]
        c.send(mail(subject="first") + b".\r\nMAIL FROM:<a@sender.example>\r\nRCPT TO:<carol@example.com>\r\nDATA\r\n")
        assert [c.reply().code for _ in range(4)] == [250, 250, 250, 354]
        c.send(mail(subject="second") + b".\r\nQUIT\r\n")
        assert [c.reply().code for _ in range(2)] == [250, 221]
    assert b"first" in postfix.wait_message("bob@example.com")
    assert b"second" in postfix.wait_message("carol@example.com")


def test_starttls_and_tls_in_the_trace(gate, postfix):
    with Client(gate.port) as c:
        assert "STARTTLS" in c.ehlo().keywords()
        c.starttls()
        assert "STARTTLS" not in c.ehlo().keywords()
        assert c.message("a@sender.example", "bob@example.com", mail(subject="by tls")).code == 250
    assert b"with ESMTPS" in postfix.wait_message("bob@example.com")


def test_a_command_that_comes_with_the_end_of_the_handshake(gate):
    """In one segment with the client's Finished it lies in OpenSSL's buffer, and the socket says nothing."""
    for _ in range(60):
        with Client(gate.port) as c:
            c.ehlo()
            c.starttls()
            c.ehlo()


def test_swaks_over_tls(gate, postfix):
    done = subprocess.run(["swaks", "--server", "127.0.0.1", "--port", str(gate.port), "--from", "a@sender.example", "--to", "bob@example.com",
                           "--tls", "--ehlo", "client.example", "--header", "Subject: by swaks"], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stdout
    assert b"by swaks" in postfix.wait_message("bob@example.com")


def test_curl_by_ipv4(gate, postfix, tmp_path):
    path = tmp_path / "m.eml"
    path.write_bytes(mail(subject="by curl"))
    subprocess.run(["curl", "-sS", f"smtp://127.0.0.1:{gate.port}/client.example", "--mail-from", "a@sender.example",
                    "--mail-rcpt", "bob@example.com", "-T", str(path)], check=True, timeout=60)
    assert b"by curl" in postfix.wait_message("bob@example.com")


def test_chunking(gate, postfix):
    message = mail(subject="chunks", body="." + "z" * 70000 + "\r\n")
    with Client(gate.port) as c:
        assert "CHUNKING" in c.ehlo().keywords()
        c.envelope("a@sender.example", "bob@example.com")
        c.send(b"BDAT 1000\r\n" + message[:1000])
        assert c.reply().code == 250
        c.send(f"BDAT {len(message) - 1000} LAST\r\n".encode() + message[1000:])
        assert c.reply().code == 250
    assert body_of(postfix.wait_message("bob@example.com")) == b"." + b"z" * 70000 + b"\n"


def test_what_is_offered_is_the_meeting(lab, postfix, scratch):
    from lab.postfix import Postfix
    plain = Postfix(scratch / "postfix-plain", smtpd_discard_ehlo_keywords="8bitmime,smtputf8,dsn", message_size_limit="30000000")
    try:
        g = lab([postfix.port, plain.port])
        g.wait_line("backend.*b1")
        with Client(g.port) as c:
            words = c.ehlo().keywords()
            assert not {"8BITMIME", "SMTPUTF8", "DSN"} & set(words)
            assert words["SIZE"] == str(30000000 - 4096)
            assert {"PIPELINING", "CHUNKING", "STARTTLS", "ENHANCEDSTATUSCODES", "LIMITS"} <= set(words)
            assert c.cmd("MAIL FROM:<\u00e4@sender.example> SMTPUTF8").code == 553
    finally:
        plain.stop()


def test_forged_authentication_results_are_removed(gate, postfix):
    extra = ("Authentication-Results: gate.example; dmarc=pass\r\n"
             "authentication-results: (c) \"GATE.example\"\r\n\t; spf=pass\r\n"
             "Authentication-Results: other.example; spf=fail\r\n")
    with Client(gate.port) as c:
        assert c.message("a@sender.example", "bob@example.com", mail(subject="forged", extra=extra)).code == 250
    head = postfix.wait_message("bob@example.com").split(b"\n\n")[0].lower()
    assert head.count(b"authentication-results:") == 2
    assert b"other.example; spf=fail" in head


def test_loops_are_detected(gate):
    ours = "Received: from a (b [192.0.2.1])\r\n\tby gate.example (Gatepost) with ESMTP id 1;\r\n\tSun, 22 Nov 2026 10:00:00 +0000\r\n"
    other = "Received: from a by b.example; Sun, 22 Nov 2026 10:00:00 +0000\r\n"
    with Client(gate.port) as c:
        assert c.message("a@sender.example", "bob@example.com", mail(subject="l1", extra=ours * 2)).code == 554
        assert c.message("a@sender.example", "bob@example.com", mail(subject="l2", extra=other * 101)).code == 554
        assert c.message("a@sender.example", "bob@example.com", mail(subject="l3", extra=other * 40)).code == 250


def test_observe_mode_refuses_nothing(lab, postfix):
    g = lab([postfix.port], conf='mode = "observe"\n' + DNSBL)
    g.wait_line("dnsbl.example")
    with Client(g.port, source="127.0.0.66") as c:
        assert c.message("x@listed.example", "bob@example.com", mail("billing@bank.example", subject="observed")).code == 250
    postfix.wait_message("bob@example.com")
    v = g.verdict("accept")
    assert v["verdict"] == "accept" and v["would"] == "reject"


def test_postmaster_passes_the_address_checks(lab, postfix):
    g = lab([postfix.port], conf=DNSBL)
    g.wait_line("dnsbl.example")
    with Client(g.port, source="127.0.0.66") as c:
        c.ehlo("listed.example")
        bob, postmaster = c.envelope("spam@listed.example", "bob@example.com", "PostMaster@example.com")
        assert bob.code == 550 and postmaster.code == 250


def test_no_backend_means_later(lab, postfix):
    from lab.process import free_port
    g = lab([free_port()])
    with Client(g.port) as c:
        c.ehlo()
        assert c.envelope("a@sender.example", "bob@example.com")[0].code == 451


def test_fail_over_to_the_second_backend(lab, postfix):
    from lab.process import free_port
    g = lab([free_port(), postfix.port])
    with Client(g.port) as c:
        assert c.message("a@sender.example", "bob@example.com", mail(subject="second best")).code == 250
    postfix.wait_message("bob@example.com")


def test_explain(gate):
    out = gate.explain(mail("billing@bank.example", subject="why"), client="127.0.0.1")
    assert "dmarc" in out and "fail" in out and "verdict: quarantine" in out
    record = gate.explain_json(mail("billing@bank.example", subject="why"), client="127.0.0.1")[0]
    assert record["facts"]["dmarc"] == "fail" and record["verdict"]["action"] == "quarantine"
    assert [r["truth"] for r in record["rules"]][-1] == "true"
