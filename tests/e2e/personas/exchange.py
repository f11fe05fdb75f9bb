"""
What all versions of Exchange share: its words, and its defaults.

[TELNET]     learn.microsoft.com/exchange/mail-flow/test-smtp-telnet: a session with Exchange 2016, the answers in order
[CONNECTOR]  learn.microsoft.com/powershell/module/exchange/set-receiveconnector: defaults of a receive connector
[TECHNET]    "Use Telnet to Test SMTP Communication" for Exchange 2010 (copy: netsec.pro/dokuwiki, usetelnettotestsmtpcommunication)
"""
from .persona import Persona


class Exchange(Persona):
    host = "EX1.example.com"
    tarpit_s = 0.05                 # 5 s [CONNECTOR: TarpitInterval 00:00:05], scaled; one test has the real ones
    per_source = 20                 # [CONNECTOR: MaxInboundConnectionPerSource 20]
    size_max = 37748736             # 36 MB [CONNECTOR: MaxMessageSize; TELNET: 250-SIZE 37748736]
    error_limit = 5                 # [CONNECTOR: MaxProtocolErrors 5]
    errors = (b"500", b"501", b"503")
    # [CONNECTOR: ConnectionInactivityTimeout 00:05:00, ConnectionTimeout 00:10:00, on mailbox servers; 1 and 5 minutes on Edge]
    idle_s = total_s = None

    GREETING = b"220 EX1.example.com Microsoft ESMTP MAIL Service ready at Sun, 22 Nov 2026 10:00:00 +0100\r\n"     # [TELNET]
    GO_ON = b"354 Start mail input; end with <CRLF>.<CRLF>\r\n"         # [TELNET]
    START_TLS = b"220 2.0.0 SMTP server ready\r\n"                      # github.com/tarickb/sasl-xoauth2 issue 97
    UNKNOWN = b"500 5.3.3 Unrecognized command\r\n"                     # [TECHNET]
    LINE_TOO_LONG = b"500 5.3.3 Unrecognized command\r\n"
    BAD_NAME = b"501 5.5.4 Invalid domain name\r\n"                     # [TECHNET]
    BAD_ARGUMENT = b"501 5.5.4 Invalid arguments\r\n"                   # the code of [TECHNET]'s wrong argument
    HELLO_FIRST = b"503 5.5.2 Send hello first\r\n"                     # github.com/xhit/go-simple-mail issue 94
    HAS_SENDER = b"503 5.5.2 Sender already specified\r\n"
    MAIL_FIRST = b"503 5.5.2 Need mail command\r\n"
    RCPT_FIRST = b"503 5.5.2 Need rcpt command\r\n"
    RESET = b"250 2.0.0 Resetting\r\n"
    NOOP = b"250 2.0.0 OK\r\n"
    BYE = b"221 2.0.0 Service closing transmission channel\r\n"         # [TECHNET]
    TOO_LARGE = b"552 5.3.4 Message size exceeds fixed maximum message size\r\n"     # learn.microsoft.com: NDR 5.3.4
    NO_MECHANISM = b"504 5.7.4 Unrecognized authentication type\r\n"
    WELCOME = b"235 2.7.0 Authentication successful\r\n"
    UNWELCOME = b"535 5.7.3 Authentication unsuccessful\r\n"
    TLS_FIRST = b"530 5.7.0 Must issue a STARTTLS command first\r\n"    # RFC 3207 4
    TIMED_OUT = b"421 4.4.1 Connection timed out\r\n"                   # servolutions.com/thenews/exchangeconnectiontimeout.htm
    TOO_MANY_ERRORS = b"421 4.7.0 Too many errors on this connection, closing transmission channel\r\n"
    # What transport answers while it is drained or in maintenance: yusufustundag.com/tag/hubtransport
    CLOSED = b"421 4.3.2 Service not available\r\n"
    # learn.microsoft.com/answers/questions/407670, with 2013 and later
    TOO_MANY = (b"421 4.3.2 The maximum number of concurrent server connections has exceeded a per-source limit, "
                b"closing transmission channel\r\n")
    # Back-pressure: learn.microsoft.com/exchange/mail-flow/back-pressure; "in reply to MAIL FROM" tannyahmad.wordpress.com, 2015
    PRESSURE = b"452 4.3.1 Insufficient system resources\r\n"

    def hello_line(self, s, line):
        return f"{self.host} Hello [{s.peer[0]}]"                       # [TELNET]

    def sender_ok(self, line):
        return b"250 2.1.0 Sender OK\r\n"                               # [TELNET]

    def recipient_ok(self, line):
        return b"250 2.1.5 Recipient OK\r\n"                            # [TELNET]

    def no_user(self, line):
        # recipient filtering: exchangeserverpro.com/exchange-internal-relay-ndr-550
        return b"550 5.1.1 User unknown\r\n"

    def chunk_ok(self, size):
        return b"250 2.6.0 CHUNK received OK, %d octets\r\n" % size     # RFC 3030 4: the octets are named

    def kept(self, message):
        # [TELNET]
        return b"250 2.6.0 <%d@EX1.example.com> [InternalId=%d, Hostname=EX1.example.com] Queued mail for delivery\r\n" % (
            message.session.number, len(self.messages))

    def size_line(self):
        return f"SIZE {self.size_max}" if self.offers_size else "SIZE"
