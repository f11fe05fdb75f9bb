"""What the DNS of the tests knows. Clients come from 127.0.0.x: each address has its part here."""

from .sign import key_record

ZONES = """
# a sender that does all right: 127.0.0.25
25.0.0.127.in-addr.arpa PTR mail.good.example.
mail.good.example A 127.0.0.25
good.example MX 10 mail.good.example.
good.example TXT "v=spf1 ip4:127.0.0.25 -all"
_dmarc.good.example TXT "v=DMARC1; p=reject"
sel._domainkey.good.example TXT KEY

# an ordinary sender without any records: 127.0.0.1
sender.example A 127.0.0.1
client.example A 127.0.0.1

# a bank that forgers like: only 192.0.2.1 may send
bank.example TXT "v=spf1 ip4:192.0.2.1 -all"
_dmarc.bank.example TXT "v=DMARC1; p=quarantine"

# SPF two includes deep, with the key behind a CNAME
deep.example TXT "v=spf1 include:one.deep.example -all"
one.deep.example TXT "v=spf1 include:two.deep.example -all"
two.deep.example TXT "v=spf1 ip4:127.0.0.26 -all"
_dmarc.deep.example TXT "v=DMARC1; p=none"
key.elsewhere.example TXT KEY
sel._domainkey.deep.example CNAME key.elsewhere.example.

# hosts of one sender in several networks
pool.example TXT "v=spf1 ip4:127.0.0.41 ip4:127.0.5.41 -all"

# a block list: 127.0.0.66 is on it
2.0.0.127.dnsbl.example A 127.0.0.2
66.0.0.127.dnsbl.example A 127.0.0.2
66.0.0.127.in-addr.arpa PTR listed.example.
listed.example A 127.0.0.66

# a relay of ours, 127.0.0.50, that a list has: nobody may ask for it
50.0.0.127.dnsbl.example A 127.0.0.2

# a list that lists everything, and one that answers errors
*.wild.dnsbl.example A 127.0.0.2
*.error.dnsbl.example A 127.255.255.254
""".replace("KEY", key_record())
