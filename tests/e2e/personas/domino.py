"""
What Domino 9 and 12 share: words without enhanced status codes, few extensions.

[EXTENSIONS]  help.hcltechsw.com/domino/9.0.1/admin/conf_supportinginboundsmtpextensions_t.html: SIZE, PIPELINING and HELP are on by default; DSN, 8BITMIME,
              VRFY, EXPN, ETRN and STARTTLS are off
[SESSION]     CCN-STIC-814 (Centro Criptologico Nacional), 2.1: a session with Domino 9.0, from HELO to QUIT
[ERRORS]      help.hcltechsw.com/domino/9.0.1/admin/conf_definingthemaximumerrorlimitbeforeaconnectionterm_t.html
"""
from .persona import Persona


class Domino(Persona):
    host = "domino.example.com"
    # "Verify that local domain recipients exist in the Domino Directory" is off by default: everybody is taken then (checks=None), and what nobody
    # is there for becomes a dead message in MAIL.BOX: help.hcltechsw.com/domino/10.0.1/conf_restrictingusersfromreceivinginternetmail_t.html
    checks = "rcpt"
    size_max = 50 * 1024 * 1024     # "Maximum message size" of the site; none by default, and then SIZE has no number
    # [ERRORS]: refused recipients count, too. Off by default; sites set it against harvesting
    error_limit = None
    errors = (b"500", b"501", b"503", b"550", b"554")
    # SMTP has no bound on sessions of one source: "Maximum number of connections" in the Server document is over all, and off by default
    per_source = None

    GO_ON = b'354 Enter message, end with "." on a line by itself\r\n'      # [SESSION]
    START_TLS = b"220 Ready to start TLS\r\n"                               # ibm.com/support, swg21108352
    UNKNOWN = b"500 Syntax error, command unrecognized\r\n"                 # the words of RFC 5321 4.2.2, here and where no other source is named
    LINE_TOO_LONG = b"500 Line too long\r\n"
    BAD_NAME = b"501 Syntax error in parameters or arguments\r\n"
    BAD_ARGUMENT = b"501 Syntax error in parameters or arguments\r\n"
    HELLO_FIRST = HAS_SENDER = MAIL_FIRST = RCPT_FIRST = b"503 Bad sequence of commands\r\n"
    RESET = b"250 Reset state\r\n"
    NOOP = b"250 OK\r\n"
    BYE = b"221 domino.example.com SMTP Service closing transmission channel\r\n"       # [SESSION]
    # "returns a permanent error during the SMTP transfer": help 8.5, Error handling of messages rejected by SMTP inbound controls
    TOO_LARGE = b"552 Message exceeds the maximum message size\r\n"
    NO_MECHANISM = b"504 Unrecognized authentication type\r\n"
    WELCOME = b"235 Authentication successful\r\n"
    UNWELCOME = b"535 Authentication failed\r\n"
    TLS_FIRST = b"530 Must issue a STARTTLS command first\r\n"              # "required" for SSL negotiated over TCP/IP port: RFC 3207 4
    TIMED_OUT = b"421 domino.example.com SMTP Service not available, closing transmission channel\r\n"
    TOO_MANY_ERRORS = b"421 SMTP service not available, closing transmission channel.\r\n"      # [ERRORS]
    CLOSED = TOO_MANY = b"421 domino.example.com SMTP Service not available, closing transmission channel\r\n"
    PRESSURE = b"452 Insufficient system storage\r\n"                       # RFC 5321 4.2.2; without an enhanced code

    def offers(self, s):
        # [EXTENSIONS]; STARTTLS where "SSL negotiated over TCP/IP port" is enabled; AUTH where the port allows name and password
        auth = self.mechanisms_tls if s.tls else self.mechanisms
        return ["HELP", *([] if s.tls or not self.context else ["STARTTLS"]), *(["AUTH " + " ".join(auth)] if auth else []),
                f"SIZE {self.size_max}" if self.size_max and self.offers_size else "SIZE", "PIPELINING"]

    def do_help(self, s, line):
        self._say(s, "HELP", line, b"214 EHLO HELO MAIL RCPT DATA RSET NOOP QUIT HELP\r\n")

    def hello_line(self, s, line):
        return f"{self.host} Hello {line[5:].strip()} ([{s.peer[0]}]), pleased to meet you"     # [SESSION]

    @staticmethod
    def address(line):
        return line.partition("<")[2].partition(">")[0].encode()

    def sender_ok(self, line):
        return b"250 " + self.address(line) + b"... Sender OK\r\n"              # [SESSION]

    def recipient_ok(self, line):
        return b"250 " + self.address(line) + b"... Recipient OK\r\n"           # [SESSION]

    def no_user(self, line):
        return b"550 " + self.address(line) + b"... No such user\r\n"           # in bounces that analyzers of bounces have as samples (sisimai)

    def chunk_ok(self, size):
        return self.UNKNOWN

    def kept(self, message):
        return b"250 Message accepted for delivery\r\n"                         # [SESSION]
