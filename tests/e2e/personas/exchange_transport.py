"""Exchange 2013 and later, port 2525: the Transport service of a mailbox server, which knows who exists and says so at RCPT."""
from .exchange import Exchange


class ExchangeTransport(Exchange):
    name = "Exchange, port 2525"
    offers_size = False
    mechanisms, mechanisms_tls = ("NTLM",), ("NTLM", "LOGIN")

    def offers(self, s):
        # learn.microsoft.com/exchange/troubleshoot (mailboxtransportsubmissioninternalproxy, Service not active): a session with the Transport service
        # in which SIZE has no number and XSHADOWREQUEST is the last
        return [self.size_line(), "PIPELINING", "DSN", "ENHANCEDSTATUSCODES", *([] if s.tls else ["STARTTLS"]), "X-ANONYMOUSTLS",
                "AUTH " + " ".join(self.mechanisms_tls if s.tls else self.mechanisms), "X-EXPS GSSAPI NTLM", "8BITMIME", "BINARYMIME", "CHUNKING",
                "XEXCH50", "SMTPUTF8", "XRDST", "XSHADOWREQUEST"]

    def no_user(self, line):
        # learn.microsoft.com: NDR 5.1.10; the same words in many bounces (lore.kernel.org, 2024 and 2025)
        return b"550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup\r\n"
