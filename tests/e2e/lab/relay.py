"""The classic tests for open relays, and those of today."""

# What a stranger must never have taken: RCPT TO as it is said, by way of a recipient, or of a sender.
RECIPIENTS = [
    "<user@world.example>",
    "<user@sub.example.com>",                           # below an accepted domain is another domain
    "<user@example.com.world.example>",
    "<user@notexample.com>",
    "<user%world.example@example.com>",
    "<user%world.example@[127.0.0.1]>",
    "<user%world.example@gate.example>",
    "<user%world.example>",
    "<user@world.example@example.com>",
    "<user@world.example@[127.0.0.1]>",
    '<"user@world.example">',
    '<"user@world.example"@example.com>',
    '<"user@world.example"@[127.0.0.1]>',
    '<"user%world.example"@example.com>',
    '<"user\\@world.example"@example.com>',
    "<user\\@world.example@example.com>",
    "<@example.com:user@world.example>",
    "<@[127.0.0.1]:user@world.example>",
    "<@gate.example,@example.com:user@world.example>",
    "<@example.com,@world.example:user%world.example@example.com>",
    "<world.example!user>",
    "<world.example!user@example.com>",
    "<world.example!user@[127.0.0.1]>",
    "<world.example!user@gate.example>",
    "<example.com!world.example!user@example.com>",
    "<user@[127.0.0.1]>",
    "<user@[IPv6:::1]>",
    "<user@[IPv6:::ffff:127.0.0.1]>",
    "<user@[127.0.0.31]>",
    "<user@gate.example>",
    "<user@localhost>",
    "<user@127.0.0.1>",
    "<user@world.example.>",
    "<user@example.com.>",
    "<user@world.example >",
    "< user@world.example>",
    "user@world.example",
    "user@world.example (user@example.com)",
    "<user@world.example>, <user@example.com>",
    "<user@example.com,user@world.example>",
    "<user@example.com;user@world.example>",
    "<user@example.com user@world.example>",
    "<user@example.com\tuser@world.example>",
    "<user@example.com\0@world.example>",
    "<user@world.example\0@example.com>",
    "<user@example.com\x01@world.example>",
    "<user@example.com>\x0b<user@world.example>",
    "<user:world.example@example.com:25>",
    "<user@example.com:25>",
    "<user@example.com/world.example>",
    "<user@exаmple.com>",                               # a Cyrillic letter
    "<user@ｅｘａｍｐｌｅ．ｎｅｔ>",
    "<user@world。example>",
    "<postmaster@world.example>",
    "<postmaster%world.example@example.com>",
    "<abuse@world.example> NOTIFY=NEVER",
    "<user@world.example> ORCPT=rfc822;user@example.com",
    "<user@example.com> ORCPT=rfc822;user@world.example RCPT TO:<user@world.example>",
]
SENDERS = [
    "<>",
    "<spam@world.example>",
    "<spam@example.com>",                               # forged as one of ours
    "<spam@[127.0.0.1]>",
    "<spam@gate.example>",
    "<postmaster@example.com>",
    "<@example.com:spam@world.example>",
    "<spam@example.com> AUTH=admin@example.com",
]


def taken_of(c):
    """Every sender with one recipient, and every recipient, in a session that has been greeted: which of them were taken."""
    c.ehlo()
    taken = []
    for sender, recipients in [("<spam@sender.example>", RECIPIENTS)] + [(s, RECIPIENTS[:1]) for s in SENDERS]:
        for utf8 in ("", " SMTPUTF8"):
            c.cmd(f"MAIL FROM:{sender}{utf8}")
            for rcpt in recipients:
                reply = c.cmd(f"RCPT TO:{rcpt}")
                assert reply.code // 100 in (2, 5), f"{rcpt}: {reply!r}"
                if reply.code == 250:
                    taken.append(rcpt)
            c.cmd("RSET")
    return taken
