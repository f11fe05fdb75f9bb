"""Exchange Online as the server behind: <domain>.mail.protection.outlook.com, with a connector that wants TLS."""
from .exchange import Exchange


class ExchangeOnline(Exchange):
    name = "Exchange Online"
    host = "AM5EUR02FT017.mail.protection.outlook.com"
    tarpit_s = 0
    per_source = None               # throttled by other means (451 4.7.500 Server busy), never by 20 sessions
    size_max = 157286400
    # learn.microsoft.com, New-InboundConnector -RequireTls: "Reject messages if they aren't sent over TLS. This is the default value"
    tls_required = True

    def offers(self, s):
        # improsec.com on SMTP, July 2022, and a survey of public MX hosts of January 2022: no AUTH on port 25, nothing with X
        return [self.size_line(), "PIPELINING", "DSN", "ENHANCEDSTATUSCODES", *([] if s.tls else ["STARTTLS"]), "8BITMIME", "BINARYMIME", "CHUNKING",
                "SMTPUTF8"]

    def no_user(self, line):
        # Directory-Based Edge Blocking, at RCPT: learn.microsoft.com/exchange/mail-flow-best-practices/use-directory-based-edge-blocking
        return b"550 5.4.1 Recipient address rejected: Access denied. AS(201806281) [AM5EUR02FT017.eop-EUR02.prod.protection.outlook.com]\r\n"
