"""
Exchange 2016 and 2019, port 25: the Front End Transport service, a proxy that keeps nothing itself and asks the Transport service (port 2525) only when
it has the recipients. So it says 250 to each of them.
"""
from .exchange import Exchange


class Exchange2019(Exchange):
    name = "Exchange 2016/2019"
    # blogs.technet.microsoft.com/johnbai/2014/08/06 (Recipient Filtering Agent, more lessons in proxy): RCPT is answered before the session behind is
    # opened, at DATA. learn.microsoft.com/exchange/antispam-and-antimalware/antispam-protection/antispam-on-mailbox-servers: with the filter on a
    # mailbox server one unknown recipient has the whole message refused. Without the filter (checks=None) all is taken, and a report sent later.
    checks = "data"
    mechanisms, mechanisms_tls = ("NTLM",), ("NTLM", "LOGIN")     # a session of May 2017, in clear and under TLS, in the notes to scripts for NTLM by SMTP

    def offers(self, s):
        # [TELNET] for 2016; SMTPUTF8 before XRDST: EHLO of an Exchange 2019 in a course's transcript of 2024 (10.130.10.25)
        return [self.size_line(), "PIPELINING", "DSN", "ENHANCEDSTATUSCODES", *([] if s.tls else ["STARTTLS"]), "X-ANONYMOUSTLS",
                "AUTH " + " ".join(self.mechanisms_tls if s.tls else self.mechanisms), "X-EXPS GSSAPI NTLM", "8BITMIME", "BINARYMIME", "CHUNKING",
                "SMTPUTF8", "XRDST"]
