"""Whether Python's email package reads a notification as what it is: dsn_check.py FILE classic|global. Exit status 0: it does."""
import email
import email.policy
import pathlib
import sys

message = email.message_from_bytes(pathlib.Path(sys.argv[1]).read_bytes(), policy=email.policy.SMTP)
kind = "global-delivery-status" if sys.argv[2] == "global" else "delivery-status"

assert not message.defects, message.defects
assert message.get_content_type() == "multipart/report", message.get_content_type()
assert message["Content-Type"].params["report-type"] == kind
assert message["Auto-Submitted"] == "auto-replied"
assert message["Subject"] == "Your message could not be delivered"
assert set(message.keys()) <= {"Date", "From", "To", "Subject", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"}, message.keys()
words, status, original = message.get_payload()
assert words.get_content_type() == "text/plain" and not words.defects
assert "bob@x.example" in words.get_content() and "小@x.example" in words.get_content()
assert status.get_content_type() == f"message/{kind}"
if kind == "delivery-status":
    of_message, bob, other = status.get_payload()
    assert of_message["Reporting-MTA"] == "dns; gate.example"
    assert bob["Final-Recipient"] == "rfc822; bob@x.example" and bob["Action"] == "failed" and bob["Status"] == "5.7.1"
    assert set(bob.keys()) == {"Original-Recipient", "Final-Recipient", "Action", "Status", "Remote-MTA", "Diagnostic-Code"}, bob.keys()
    assert other["Final-Recipient"] == "utf-8; \\x{5C0F}@x.example" and other["Status"] == "4.4.7"
assert original.get_content_type() in ("message/rfc822", "text/rfc822-headers", "message/global-headers"), original.get_content_type()
