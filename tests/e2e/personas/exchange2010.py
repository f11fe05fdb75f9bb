"""Exchange 2010: Hub Transport (or Edge) listens on port 25 itself, so the recipient filter answers at RCPT."""
from .exchange import Exchange


class Exchange2010(Exchange):
    name = "Exchange 2010"
    mechanisms, mechanisms_tls = ("NTLM",), ("NTLM", "LOGIN")
    # onprem.wtf/post/exchange-2010-and-maxinboundconnectionpersource
    TOO_MANY = b"421 4.3.2 The maximum number of concurrent connections has exceeded a limit, closing transmission channel\r\n"

    def offers(self, s):
        # lore.kernel.org, linux-tip-commits of 15 November 2019 (Cao jin): the log of a session with an Exchange 14.3, but that its SIZE has no number;
        # LOGIN under TLS alone: [CONNECTOR], AuthMechanism BasicAuthRequireTLS
        return [self.size_line(), "PIPELINING", "DSN", "ENHANCEDSTATUSCODES", *([] if s.tls else ["STARTTLS"]), "X-ANONYMOUSTLS",
                "AUTH " + " ".join(self.mechanisms_tls if s.tls else self.mechanisms), "X-EXPS GSSAPI NTLM", "8BITMIME", "BINARYMIME", "CHUNKING",
                "XEXCH50", "XRDST", "XSHADOW"]
