#!/usr/bin/python3
"""Writes policy_cases.txt, the mail that the shipped policy is judged by (run_policy.c reads it and says how).

    /usr/bin/python3 tests/conformance/policy_cases.py > tests/conformance/policy_cases.txt

Needs python3-dkim, python3-authres and python3-nacl for the signatures, and openssl for the keys, which are new at each run: the output is committed, they are not.
"""
import base64
import subprocess
import sys
import time

import dkim
import nacl.signing

OURS = 'site.example'
time.time = lambda: 1760000000          # t= of all signatures: October 2025

zone = []                               # of all cases
keys = {}


def record(name, kind, data):
    zone.append('%s %s %s' % (name, kind, data))


def openssl(*args, stdin=None):
    return subprocess.run(('openssl',) + args, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout


def rsa_key(domain, selector='s1', bits=2048, publish=True, tags=''):
    pem = openssl('genrsa', '-traditional', str(bits))
    der = openssl('rsa', '-pubout', '-outform', 'DER', stdin=pem)
    keys[domain, selector] = pem
    if publish:
        record('%s._domainkey.%s' % (selector, domain), 'TXT', 'v=DKIM1; k=rsa; %sp=%s' % (tags, base64.b64encode(der).decode()))


def ed25519_key(domain, selector):
    key = nacl.signing.SigningKey.generate()
    keys[domain, selector] = base64.b64encode(bytes(key))
    record('%s._domainkey.%s' % (selector, domain), 'TXT', 'v=DKIM1; k=ed25519; p=' + base64.b64encode(bytes(key.verify_key)).decode())


def host(ip, name, forward=True):
    if ':' in ip:
        nibbles = ''.join('%04x' % int(part or '0', 16) for part in expand(ip))
        arpa = '.'.join(reversed(nibbles)) + '.ip6.arpa'
    else:
        arpa = '.'.join(reversed(ip.split('.'))) + '.in-addr.arpa'
    record(arpa, 'PTR', name)
    if forward:
        record(name, 'AAAA' if ':' in ip else 'A', ip)


def expand(ip):
    head, _, tail = ip.partition('::')
    a, b = [p for p in head.split(':') if p], [p for p in tail.split(':') if p]
    return a + ['0'] * (8 - len(a) - len(b)) + b


def spf(domain, text):
    record(domain, 'TXT', 'v=spf1 ' + text)


def dmarc(domain, text):
    record('_dmarc.' + domain, 'TXT', 'v=DMARC1; ' + text)


# --- messages ---

serial = 0


def mail(sender, to='bob@' + OURS, subject='Lunch on Thursday?', body='Hello,\r\n\r\nshall we meet at noon?\r\n', extra=(), froms=None, charset='utf-8'):
    """Header and body as bytes. froms: the From fields (default: one of sender)."""
    global serial
    serial += 1
    lines = ['From: %s' % f for f in ([sender] if froms is None else froms)]
    lines += ['To: %s' % to, 'Subject: %s' % subject, 'Date: Thu, 09 Oct 2025 10:%02d:00 +0200' % (serial % 60),
              'Message-ID: <20251009.%d@mua.example>' % serial, 'MIME-Version: 1.0', 'Content-Type: text/plain; charset=%s' % charset]
    lines += list(extra)
    return '\r\n'.join(lines).encode(charset) + b'\r\n\r\n' + (body if isinstance(body, bytes) else body.encode(charset))


def sign(message, domain, selector='s1', algorithm=None, length=False, include=None, identity=None):
    key = keys[domain, selector]
    algorithm = algorithm or ('rsa-sha256' if key.startswith(b'-') else 'ed25519-sha256')
    return dkim.sign(message, selector.encode(), domain.encode(), key, canonicalize=(b'relaxed', b'relaxed'), length=length,
                     signature_algorithm=algorithm.encode(), include_headers=include, identity=identity) + message


def sign_until(message, domain, until):
    """A signature with x=, which dkimpy does not make: the field is signed again with the tag added."""
    d = dkim.DKIM(message)
    plain = dkim.DKIM.gen_header

    def with_x(self, fields, *args, **kw):
        return plain(self, [f for f in fields if f[0] != b'b'] + [(b'x', str(until).encode())] + [f for f in fields if f[0] == b'b'], *args, **kw)
    dkim.DKIM.gen_header = with_x
    try:
        return d.sign(b's1', domain.encode(), keys[domain, 's1'], canonicalize=(b'relaxed', b'relaxed')) + message
    finally:
        dkim.DKIM.gen_header = plain


def seal(message, domain, dmarc, arc='', selector='s1', author='good.example'):
    """A set of ARC as a hop adds it, with what it has seen."""
    results = '%s; spf=pass smtp.mailfrom=%s; dkim=pass header.d=%s; dmarc=%s header.from=%s%s' % (domain, author, author, dmarc, author, arc and '; arc=' + arc)
    field = b'Authentication-Results: ' + results.encode() + b'\r\n'
    return b''.join(dkim.arc_sign(field + message, selector.encode(), domain.encode(), keys[domain, selector], domain.encode())) + message


def footer(message, text=b'_______________\r\nlist@lists.example\r\n'):
    return message + text


def prefixed(message, prefix=b'[list] '):
    return message.replace(b'\r\nSubject: ', b'\r\nSubject: ' + prefix, 1)


LIST = b'List-Id: <friends.lists.example>\r\nList-Unsubscribe: <mailto:leave@lists.example>\r\n'

cases = []


def case(name, want, client, helo, sender, message, to=('bob@' + OURS,), rule=None, early=False, tls=True, lines=()):
    cases.append(dict(name=name, want=want, client=client, helo=helo, sender=sender, message=message, to=to, rule=rule, early=early, tls=tls,
                      zone=lines))


# --- the world ---

def world():
    # a well-kept small company
    host('192.0.2.10', 'mx.good.example')
    spf('good.example', 'ip4:192.0.2.10 -all')
    rsa_key('good.example')
    ed25519_key('good.example', 'ed')
    dmarc('good.example', 'p=reject; rua=mailto:d@good.example')
    # DMARC to look at only
    host('192.0.2.11', 'mail.look.example')
    spf('look.example', 'ip4:192.0.2.11 ~all')
    rsa_key('look.example')
    dmarc('look.example', 'p=none; rua=mailto:d@look.example')
    # no records but MX and A, as many small sites have
    host('192.0.2.12', 'mail.plain.example')
    record('plain.example', 'MX', '10 mail.plain.example')
    # a bank: reject, and quarantine for its shops; no subdomains that do not exist
    host('192.0.2.20', 'out.bank.example')
    spf('bank.example', 'ip4:192.0.2.20 -all')
    rsa_key('bank.example')
    dmarc('bank.example', 'p=reject; sp=quarantine; np=reject; adkim=s')
    record('shop.bank.example', 'A', '192.0.2.21')
    # quarantine; trying reject out; unsigned, -all, no DMARC
    spf('shop.example', 'ip4:192.0.2.30 -all')
    rsa_key('shop.example')
    dmarc('shop.example', 'p=quarantine')
    host('192.0.2.30', 'out.shop.example')
    spf('trying.example', 'ip4:192.0.2.31 ~all')
    dmarc('trying.example', 'p=quarantine; t=y')
    spf('strict.example', 'ip4:192.0.2.32 -all')
    spf('parked.example', '-all')
    dmarc('parked.example', 'p=reject')
    # a big sender: pools over several networks, includes, one key behind a CNAME
    spf('big.example', 'include:_spf.big.example -all')
    spf('_spf.big.example', 'include:_pool1.big.example include:_pool2.big.example -all')
    spf('_pool1.big.example', 'ip4:198.51.100.0/24 -all')
    spf('_pool2.big.example', 'ip4:203.0.113.0/25 ip6:2001:db8:b1::/48 -all')
    rsa_key('big.example', 'k1')
    dmarc('big.example', 'p=reject')
    host('198.51.100.7', 'o7.pool.big.example')
    host('198.51.100.200', 'o200.pool.big.example')
    host('203.0.113.9', 'o9.pool.big.example')
    host('2001:db8:b1::25', 'o25.pool6.big.example')
    # a provider that sends for others, with both signatures
    host('198.51.100.130', 'm130.esp.example')
    spf('bounce.esp.example', 'ip4:198.51.100.128/26 -all')
    rsa_key('esp.example')
    spf('tenant.example', 'include:bounce.esp.example -all')
    rsa_key('tenant.example', 'esp', publish=False)
    der = openssl('rsa', '-pubout', '-outform', 'DER', stdin=keys['tenant.example', 'esp'])
    record('esp._domainkey.tenant.example', 'CNAME', 'tenant.dkim.esp.example')
    record('tenant.dkim.esp.example', 'TXT', 'v=DKIM1; k=rsa; p=' + base64.b64encode(der).decode())
    dmarc('tenant.example', 'p=reject; adkim=r')
    # mailing lists and forwarders
    host('203.0.113.140', 'lists.example')
    spf('lists.example', 'ip4:203.0.113.140 -all')
    rsa_key('lists.example')
    dmarc('lists.example', 'p=reject')
    host('203.0.113.150', 'forward.example')
    spf('forward.example', 'ip4:203.0.113.150 -all')
    rsa_key('forward.example')
    host('203.0.113.151', 'alumni.example')
    # ours: users' own domain
    spf(OURS, 'ip4:192.0.2.250 ip4:198.51.100.130 -all')
    rsa_key(OURS)
    record('gate.' + OURS, 'A', '192.0.2.249')
    # forgers' and bulk senders' own
    host('203.0.113.200', 'mail.cheap.example')
    spf('cheap.example', 'ip4:203.0.113.200 -all')
    rsa_key('cheap.example')
    host('203.0.113.201', 'vps201.hoster.example')
    host('203.0.113.210', 'listed.example')
    record('210.113.0.203.' + 'bl.example', 'A', '127.0.0.2')
    record('211.113.0.203.' + 'bl.example', 'A', '127.0.0.2')
    record('212.113.0.203.' + 'few.example', 'A', '127.0.0.3')
    record('212.113.0.203.' + 'some.example', 'A', '127.0.0.2')
    record('213.113.0.203.' + 'bl.example', 'A', '127.0.0.2')
    record('214.113.0.203.' + 'one.example', 'A', '127.0.0.3')
    for arpa in ('.'.join(reversed(''.join('%04x' % int(p, 16) for p in expand('2001:db8:bad::1')))),):
        record(arpa + '.bl.example', 'A', '127.0.0.2')
    host('203.0.113.213', 'mx.paid.example')
    record('213.113.0.203.' + 'wl.example', 'A', '127.0.0.3')
    spf('paid.example', 'ip4:203.0.113.213 -all')
    host('203.0.113.214', 'mx.shared.example')
    spf('shared.example', 'ip4:203.0.113.214 -all')
    host('203.0.113.220', 'dyn-220.cable.example', forward=False)
    record('dyn-220.cable.example', 'A', '203.0.113.99')


def good():
    a, bob = 'alice@good.example', 'bob@' + OURS
    ok = lambda *args, **kw: case(args[0], 'accept', *args[1:], **kw)

    # people
    ok('signed, SPF, DMARC reject', '192.0.2.10', 'mx.good.example', a, sign(mail('Alice <%s>' % a), 'good.example'))
    ok('IPv6, no TLS', '2001:db8:b1::25', 'o25.pool6.big.example', 'x@big.example', sign(mail('x@big.example'), 'big.example', 'k1'), tls=False)
    ok('no records at all', '192.0.2.12', 'mail.plain.example', 'carl@plain.example', mail('Carl <carl@plain.example>'))
    ok('empty subject and body', '192.0.2.10', 'mx.good.example', a, sign(mail(a, subject='', body=''), 'good.example'))
    ok('two authors of one domain, with Sender', '192.0.2.10', 'mx.good.example', a,
       sign(mail(a, froms=['Alice <%s>, Al <al@good.example>' % a], extra=['Sender: ' + a]), 'good.example'))
    ok('HELO is a literal, the right one', '192.0.2.11', '[192.0.2.11]', 'l@look.example', sign(mail('l@look.example'), 'look.example'))
    ok('HELO with an underscore', '192.0.2.11', 'mail_1.look.example', 'l@look.example', sign(mail('l@look.example'), 'look.example'))
    ok('bare HELO of a sender with SPF', '192.0.2.10', 'exchange01', a, sign(mail(a), 'good.example'))

    # mailing lists
    ok('list that changes nothing', '203.0.113.140', 'lists.example', 'friends-bounces@lists.example', LIST + sign(mail(a, to='friends@lists.example'), 'good.example'))
    ok('list with prefix and footer, author p=none', '203.0.113.140', 'lists.example', 'friends-bounces@lists.example',
       LIST + footer(prefixed(sign(mail('l@look.example', to='friends@lists.example'), 'look.example'))))
    ok('list with footer that signs, author without DMARC', '203.0.113.140', 'lists.example', 'friends-bounces@lists.example',
       sign(LIST + footer(prefixed(mail('carl@plain.example', to='friends@lists.example'))), 'lists.example'))
    ok('list that writes itself into From', '203.0.113.140', 'lists.example', 'friends-bounces@lists.example',
       sign(LIST + footer(prefixed(mail(a, froms=['Alice via friends <friends@lists.example>'], extra=['Reply-To: ' + a]))), 'lists.example'))
    ok('digest of a list', '203.0.113.140', 'lists.example', 'friends-bounces@lists.example',
       sign(LIST + mail('friends-request@lists.example', subject='Friends Digest, Vol 3, Issue 7'), 'lists.example'))
    ok('our own user on a list that changes nothing', '203.0.113.140', 'lists.example', 'friends-bounces@lists.example',
       LIST + sign(mail(bob, to='friends@lists.example'), OURS))
    ok('our own user on a list with a footer, we have no DMARC', '203.0.113.140', 'lists.example', 'friends-bounces@lists.example',
       LIST + footer(sign(mail(bob, to='friends@lists.example'), OURS)))
    ok('list with footer, author trying quarantine out (t=y)', '203.0.113.140', 'lists.example', 'friends-bounces@lists.example',
       LIST + footer(mail('t@trying.example', to='friends@lists.example')))

    # sealed by those that run_policy puts into the list sealers
    sealed = seal(LIST + footer(prefixed(sign(mail(a, to='friends@lists.example'), 'good.example'))), 'lists.example', 'pass')
    ok('list with footer that seals, author p=reject', '203.0.113.140', 'lists.example', 'friends-bounces@lists.example', sealed)
    ok('list that seals, forwarded and sealed again', '203.0.113.150', 'forward.example', 'friends-bounces@lists.example',
       seal(sealed, 'forward.example', 'fail', 'pass'))

    # forwards
    ok('forwarded as it is, SPF fails, signature holds, p=reject', '203.0.113.150', 'forward.example', a, sign(mail(a, to='bob@alumni.example'), 'good.example'))
    ok('forwarded with a rewritten sender', '203.0.113.150', 'forward.example', 'SRS0=a=b=good.example=alice@forward.example',
       sign(mail(a, to='bob@alumni.example'), 'good.example'))
    ok('forwarded, softfail, unsigned, p=none', '203.0.113.151', 'alumni.example', 'l@look.example', mail('l@look.example', to='bob@alumni.example'))
    ok('forwarded with the null sender', '203.0.113.150', 'forward.example', '', sign(mail(a, to='bob@alumni.example'), 'good.example'))
    ok('forwarded twice', '203.0.113.150', 'forward.example', a,
       b'Received: from alumni.example by forward.example; Thu, 09 Oct 2025 10:00:00 +0200\r\n' + sign(mail(a), 'good.example'))

    # bounces
    dsn = dict(subject='Undelivered Mail Returned to Sender', body='This is the mail system. I am sorry to have to inform you...\r\n')
    ok('bounce, HELO with SPF', '192.0.2.10', 'mx.good.example', '', mail('MAILER-DAEMON@mx.good.example', **dsn), lines=['mx.good.example TXT v=spf1 a -all'])
    ok('bounce, HELO without SPF', '192.0.2.12', 'mail.plain.example', '', mail('Mail Delivery System <MAILER-DAEMON@mail.plain.example>', **dsn))
    ok('bounce whose From has no domain', '192.0.2.12', 'mail.plain.example', '', mail('Mail Delivery Subsystem <MAILER-DAEMON>', **dsn))
    ok('out of office, null sender, signed', '192.0.2.20', 'out.bank.example', '', sign(mail('x@bank.example', subject='Away'), 'bank.example'))

    # no PTR
    ok('no PTR, but SPF', '192.0.2.40', 'mx.noptr.example', 'n@noptr.example', mail('n@noptr.example'), lines=['noptr.example TXT v=spf1 ip4:192.0.2.40 -all'])
    case('no PTR, no SPF: waits once', 'greylist accept', '192.0.2.41', 'mx.noptr.example', 'n@bare.example', mail('n@bare.example'))
    case('no PTR, no SPF, signed: waits once', 'greylist accept', '192.0.2.41', 'mx.noptr.example', 'carl@plain.example', sign(mail('l@look.example'), 'look.example'))

    # broken SPF
    ok('SPF: two records', '192.0.2.12', 'mail.plain.example', 'x@two.example', mail('x@two.example'), lines=['two.example TXT v=spf1 -all', 'two.example TXT v=spf1 a -all'])
    ok('SPF: unknown mechanism', '192.0.2.12', 'mail.plain.example', 'x@typo.example', mail('x@typo.example'), lines=['typo.example TXT v=spf1 ipv4:192.0.2.12 -all'])
    ok('SPF: too many lookups', '192.0.2.12', 'mail.plain.example', 'x@many.example', mail('x@many.example'),
       lines=['many.example TXT v=spf1 ' + ' '.join('include:i%d.many.example' % i for i in range(11)) + ' -all'] + ['i%d.many.example TXT v=spf1 ?all' % i for i in range(11)])
    ok('SPF: include that is not there', '192.0.2.12', 'mail.plain.example', 'x@gone.example', mail('x@gone.example'), lines=['gone.example TXT v=spf1 include:nowhere.example -all'])

    # log-in codes and big senders' pools: at once, from whatever host
    code = dict(subject='123456 is your log-in code', body='It is valid for 10 minutes.\r\n')
    ok('log-in code', '198.51.100.7', 'o7.pool.big.example', 'b-17@big.example', sign(mail('Big <no-reply@big.example>', **code), 'big.example', 'k1'))
    ok('log-in code from another network of the pool', '203.0.113.9', 'o9.pool.big.example', 'b-18@big.example', sign(mail('Big <no-reply@big.example>', **code), 'big.example', 'k1'))
    ok('log-in code from a pool host without PTR', '198.51.100.99', 'o99.pool.big.example', 'b-19@big.example', sign(mail('Big <no-reply@big.example>', **code), 'big.example', 'k1'))
    ok('log-in code over IPv6', '2001:db8:b1::77', 'o77.pool6.big.example', 'b-20@big.example', sign(mail('Big <no-reply@big.example>', **code), 'big.example', 'k1'))
    ok('newsletter by a provider, both signatures, key behind a CNAME', '198.51.100.130', 'm130.esp.example', 'b@bounce.esp.example',
       sign(sign(mail('News <news@tenant.example>'), 'tenant.example', 'esp'), 'esp.example'))

    # several signatures
    ok('RSA and Ed25519', '192.0.2.10', 'mx.good.example', a, sign(sign(mail(a), 'good.example'), 'good.example', 'ed'))
    ok('one broken, one that holds', '203.0.113.140', 'lists.example', 'friends-bounces@lists.example',
       sign(LIST + footer(sign(mail('l@look.example', to='friends@lists.example'), 'look.example')), 'lists.example'))
    ok('one of a domain whose key is gone', '192.0.2.10', 'mx.good.example', a, sign(sign(mail(a), 'good.example'), 'tenant.example', 'esp').replace(b's=esp;', b's=old;'))
    ok('sent by a provider in our own name', '198.51.100.130', 'm130.esp.example', bob, mail('Our Shop <shop@%s>' % OURS))

    # raw UTF-8 and others
    ok('raw UTF-8 in the header', '192.0.2.10', 'mx.good.example', a, sign(mail('Älice <%s>' % a, subject='Grüße aus 北京'), 'good.example'))
    ok('raw GB18030', '192.0.2.12', 'mail.plain.example', 'carl@plain.example', mail('carl@plain.example', subject='发票', body='你好\r\n', charset='gb18030'))
    ok('U-label and UTF-8 local part', '192.0.2.11', 'mail.look.example', 'l@look.example', mail('Jürgen <jürgen@bücher.example>'))

    # DNS away: deferred only where the verdict hangs on it, and not for ever
    away = ['away.example SERVFAIL TXT', '_dmarc.away.example SERVFAIL TXT']
    ok('SPF record away, but signed', '192.0.2.12', 'mail.plain.example', 'x@away.example', sign(mail('l@look.example'), 'look.example'), lines=away)
    case('SPF record away, unsigned: waits some hours', 'defer accept', '192.0.2.12', 'mail.plain.example', 'x@away.example', mail('carl@plain.example'), lines=away)
    case('DMARC record away: waits some hours', 'defer accept', '192.0.2.12', 'mail.plain.example', 'carl@plain.example', mail('x@away.example'), lines=away)
    case('key away: waits some hours', 'defer accept', '192.0.2.30', 'out.shop.example', 'x@strict.example', sign(mail('s@keyless.example'), 'keyless.example'),
         lines=['s1._domainkey.keyless.example SERVFAIL TXT'])
    ok('PTR away, but SPF', '192.0.2.50', 'mx.slow.example', 'n@slow.example', mail('n@slow.example'),
       lines=['slow.example TXT v=spf1 ip4:192.0.2.50 -all', '50.2.0.192.in-addr.arpa TIMEOUT PTR'])
    ok('DNS list away', '192.0.2.12', 'mail.plain.example', 'carl@plain.example', mail('carl@plain.example'), lines=['12.2.0.192.bl.example TIMEOUT A'])

    # DNS lists
    ok('listed, but a list of good senders outweighs it', '203.0.113.213', 'mx.paid.example', 'p@paid.example', mail('p@paid.example'))
    ok('listed a little, by one', '203.0.113.214', 'mx.shared.example', 's@shared.example', mail('s@shared.example'))
    ok('for postmaster, from a listed address', '203.0.113.210', 'listed.example', 'l@listed.example', mail('l@listed.example', subject='Please unlist us'),
       to=('postmaster@' + OURS,))


def bad():
    boss = 'boss@' + OURS

    def refused(name, rule, client, helo, sender, message, **kw):
        case(name, 'reject', client, helo, sender, message, rule=rule, **kw)

    def held(name, rule, client, helo, sender, message, **kw):
        case(name, 'quarantine', client, helo, sender, message, rule=rule, **kw)

    def waits(name, client, helo, sender, message, **kw):
        case(name, 'greylist', client, helo, sender, message, rule='odd', **kw)

    cheap = ('203.0.113.200', 'mail.cheap.example', 'x@cheap.example')
    vps = ('203.0.113.201', 'vps201.hoster.example')

    # the connection
    refused('listed', 'listed', '203.0.113.210', 'listed.example', 'l@listed.example', mail('l@listed.example'))
    refused('listed, no PTR', 'listed', '203.0.113.211', 'x.example', 'l@plain.example', mail('l@plain.example'))
    refused('listed, IPv6', 'listed', '2001:db8:bad::1', 'x.example', 'l@plain.example', mail('l@plain.example'))
    refused('listed by two that weigh less', 'listed', '203.0.113.212', 'x.example', 'l@plain.example', mail('l@plain.example'))
    refused('listed, with the null sender', 'listed', '203.0.113.210', 'listed.example', '', mail('l@listed.example'))
    refused('listed, with a valid signature', 'listed', '203.0.113.210', 'listed.example', 'x@cheap.example', sign(mail('x@cheap.example'), 'cheap.example'))
    refused('spoke before the banner', 'early', *cheap, mail('x@cheap.example'), early=True)
    refused('greets with our host name', 'impostor', '203.0.113.201', 'gate.' + OURS, 'v@plain.example', mail('v@plain.example'))
    refused('greets with our domain', 'impostor', '203.0.113.220', OURS, 'v@plain.example', mail('v@plain.example'))
    refused('greets with our domain in capitals', 'impostor', '203.0.113.220', OURS.upper(), 'v@plain.example', mail('v@plain.example'))
    refused('greets with a bare address, no PTR', 'greeting', '203.0.113.221', '203.0.113.221', 'v@plain.example', mail('v@plain.example'))
    refused('greets with rubbish, PTR not confirmed', 'greeting', '203.0.113.220', 'a..b', 'v@plain.example', mail('v@plain.example'))
    waits('from a dynamic address without PTR', '203.0.113.222', 'pc-7.cable.example', 'v@plain.example', mail('v@plain.example'))
    waits('PTR that is not confirmed, softfail', '203.0.113.220', 'dyn-220.cable.example', 'l@look.example', mail('l@look.example'))
    waits('one word as greeting, SPF neutral', *('203.0.113.201', 'WIN-7A8B9C'), 'n@neutral.example', mail('n@neutral.example'), lines=['neutral.example TXT v=spf1 ?all'])
    waits('literal that is another address', '203.0.113.201', '[192.168.1.5]', 'v@plain.example', mail('v@plain.example'))
    waits('null sender from an address without PTR', '203.0.113.222', 'pc-7.cable.example', '', mail('MAILER-DAEMON@pc-7.cable.example'))
    waits('listed by some, little', '203.0.113.215', 'x.example', 'v@plain.example', mail('v@plain.example'), lines=['215.113.0.203.some.example A 127.0.0.2'])

    # the header
    refused('no From', 'from', *cheap, mail('x@cheap.example', froms=[]))
    refused('two From', 'from', *cheap, mail('x@cheap.example', froms=['x@cheap.example', 'ceo@bank.example']))
    refused('second From added to a signed message', 'from', '192.0.2.10', 'mx.good.example', 'alice@good.example',
            b'From: ceo@bank.example\r\n' + sign(mail('alice@good.example'), 'good.example'))
    refused('authors of two domains', 'authors', *cheap, sign(mail('', froms=['x@cheap.example, ceo@bank.example']), 'cheap.example'))
    refused('an address in front of the angles', 'authors', *cheap, mail('', froms=['ceo@bank.example <x@cheap.example>']))
    refused('From without an address', 'nobody', *cheap, mail('', froms=['Your Bank']))
    refused('From with an empty group', 'nobody', *cheap, mail('', froms=['undisclosed:;']))
    refused('a bounce for many', 'backscatter', *vps, '', mail('MAILER-DAEMON@hoster.example'), to=tuple('user%d@%s' % (i, OURS) for i in range(8)))

    # the sender's domain
    refused('SPF -all, unsigned', 'spf', *vps, 's@strict.example', mail('s@strict.example'))
    refused('domain that never sends', 'spf', *vps, 'x@parked.example', mail('x@parked.example'))
    refused('SPF -all, another From', 'spf', *vps, 's@strict.example', mail('carl@plain.example'))
    refused('SPF -all, signature broken', 'spf', *vps, 'alice@good.example', sign(mail('alice@good.example'), 'good.example').replace(b'noon', b'nine'))
    refused('null sender, HELO with SPF -all', 'spf', '203.0.113.201', 'strict.example', '', mail('postmaster@strict.example'))
    refused('SPF -all, key of 512 bits', 'spf', *vps, 's@weak.example', sign(mail('s@weak.example'), 'weak.example'))
    refused('SPF -all, rsa-sha1', 'spf', *vps, 's@sha1.example', sign(mail('s@sha1.example'), 'sha1.example', algorithm='rsa-sha1'))
    refused('SPF -all, signature expired', 'spf', *vps, 's@shop.example', sign_until(mail('s@shop.example'), 'shop.example', 1760000100))

    # our own name
    refused('our own domain, nobody vouches', 'ourselves', *vps, 'v@plain.example', mail('Boss <%s>' % boss, subject='Urgent transfer'))
    refused('our own domain in sender and From', 'spf', *vps, boss, mail('Boss <%s>' % boss, subject='Urgent transfer'))

    held('our own domain, forger with SPF and signature of his own', 'in-our-name', *cheap, sign(mail('Boss <%s>' % boss, subject='Urgent transfer'), 'cheap.example'))
    held('our own domain, replies go elsewhere', 'in-our-name', *cheap, mail('Boss <%s>' % boss, extra=['Reply-To: b@evil.example']))

    # the author's domain
    refused('bank, p=reject, sender without SPF', 'dmarc', *vps, 'v@plain.example', mail('Your Bank <service@bank.example>'))
    refused('bank, subdomain that does not exist', 'dmarc', *vps, 'v@plain.example', mail('service@login.bank.example'))
    held('bank, p=reject, forger with SPF of his own', 'dmarc-failed', *cheap, mail('Your Bank <service@bank.example>'))
    held('bank, p=reject, forger with signature of his own', 'dmarc-failed', *cheap, sign(mail('Your Bank <service@bank.example>'), 'cheap.example'))
    held('bank, sealed by the forger, who says that DMARC passed', 'dmarc-failed', *cheap,
         seal(mail('service@bank.example'), 'cheap.example', 'pass', author='bank.example'))
    held('bank, sealed by a list that saw DMARC fail', 'dmarc-failed', '203.0.113.140', 'lists.example', 'friends-bounces@lists.example',
         seal(LIST + mail('service@bank.example'), 'lists.example', 'fail', author='bank.example'))
    held('bank, forged set under that of a list', 'dmarc-failed', '203.0.113.140', 'lists.example', 'friends-bounces@lists.example',
         seal(LIST + seal(mail('service@bank.example'), 'cheap.example', 'pass', author='bank.example'), 'lists.example', 'fail', 'pass', author='bank.example'))
    held('good list mail, sealed again by a forger over another text', 'dmarc-failed', *cheap,
         seal(seal(sign(mail('alice@good.example'), 'good.example'), 'lists.example', 'pass').replace(b'shall we meet', b'pay this'), 'cheap.example', 'fail', 'pass'))
    held('good list mail, another text under its seal', 'dmarc-failed', *cheap,
         seal(sign(mail('alice@good.example'), 'good.example'), 'lists.example', 'pass').replace(b'shall we meet', b'pay this'))
    held('bank, signed by a name that looks like it', 'dmarc-failed', *cheap,
         sign(mail('service@bank.example'), 'cheap.example', identity=b'@bank.cheap.example'))
    held('existing subdomain of the bank, sp=quarantine', 'dmarc-failed', *cheap, mail('service@shop.bank.example'))
    held('strict alignment, signed by the bank for its subdomain', 'dmarc-failed', *cheap, sign(mail('service@shop.bank.example'), 'bank.example'))
    held('shop, p=quarantine', 'dmarc-failed', *vps, 'v@plain.example', mail('orders@shop.example'))
    held('shop, real message with another body', 'dmarc-failed', *cheap, sign(mail('orders@shop.example'), 'shop.example').replace(b'noon', b'nine'))
    held('shop, real message with another Subject', 'dmarc-failed', *cheap, prefixed(sign(mail('orders@shop.example'), 'shop.example'), b'Invoice '))
    held('shop, list fields do not help', 'dmarc-failed', *cheap, LIST + mail('orders@shop.example'))
    held('text appended to a message signed in part (l=)', 'appended', *cheap,
         sign(mail('orders@shop.example'), 'shop.example', length=True) + b'\r\nPay here: http://evil.example/\r\n')
    held('author with p=reject and no SPF record', 'dmarc-failed', *cheap, mail('"Bank" <x@look4.example>'),
         lines=['_dmarc.look4.example TXT v=DMARC1; p=reject'])


def allowed():
    """Senders of policy_allowed.txt."""
    client, helo = '198.51.100.77', 'mx.partner.example'
    lines = ['77.100.51.198.in-addr.arpa PTR mx.partner.example', 'mx.partner.example A 198.51.100.77',
             'partner.example TXT v=spf1 ip4:198.51.100.77 -all']
    listed = lines + ['77.100.51.198.bl.example A 127.0.0.2']
    strict = lines + ['_dmarc.partner.example TXT v=DMARC1; p=quarantine']
    case('allowed by hand: listed, but SPF passes', 'accept', client, helo, 'listed@partner.example', mail('listed@partner.example'), rule='allowed', lines=listed)
    case('allowed by hand: the author, by DMARC', 'accept', client, helo, 'bounce@partner.example', mail('news@partner.example'), rule='allowed', lines=strict)
    case('allowed by hand: the envelope sender, for another author', 'accept', client, helo, 'listed@partner.example', mail('x@else.example'), rule='allowed',
         lines=lines + ['_dmarc.else.example TXT v=DMARC1; p=quarantine'])
    case('somebody else of an allowed domain, listed', 'reject', client, helo, 'other@partner.example', mail('other@partner.example'), rule='listed', lines=listed)
    case('allowed sender, listed, without SPF', 'reject', client, helo, 'listed@partner.example', mail('listed@partner.example'), rule='listed',
         lines=[r for r in listed if 'spf1' not in r])
    case('allowed sender, forged', 'reject', '203.0.113.201', 'vps201.hoster.example', 'listed@partner.example', mail('listed@partner.example'), rule='spf', lines=lines)
    case('allowed author, forged', 'quarantine', '203.0.113.200', 'mail.cheap.example', 'x@cheap.example', mail('news@partner.example'), rule='dmarc-failed', lines=strict)
    case('allowed sender in our name', 'quarantine', client, helo, 'listed@partner.example', mail('boss@' + OURS), rule='in-our-name', lines=lines)


# What each message that reaches the end of data was made to be: spf, dkim, dmarc. run_policy.c checks it, so that a
# case cannot pass for a wrong reason.
MADE = {
    'pass pass pass': """signed, SPF, DMARC reject
IPv6, no TLS
empty subject and body
two authors of one domain, with Sender
HELO is a literal, the right one
HELO with an underscore
bare HELO of a sender with SPF
list that changes nothing
list that writes itself into From
digest of a list
forwarded with a rewritten sender
forwarded with the null sender
log-in code
log-in code from another network of the pool
log-in code from a pool host without PTR
log-in code over IPv6
newsletter by a provider, both signatures, key behind a CNAME
RSA and Ed25519
one of a domain whose key is gone
raw UTF-8 in the header
text appended to a message signed in part (l=)""",
    'none none none': """no records at all
bounce, HELO without SPF
bounce whose From has no domain
raw GB18030
our own domain, nobody vouches
a bounce for many""",
    'pass fail fail': """list with footer that seals, author p=reject
good list mail, sealed again by a forger over another text
good list mail, another text under its seal
list with prefix and footer, author p=none
shop, real message with another body
shop, real message with another Subject""",
    'pass pass none': """list with footer that signs, author without DMARC
our own user on a list that changes nothing
authors of two domains
our own domain, forger with SPF and signature of his own""",
    'pass fail none': "our own user on a list with a footer, we have no DMARC",
    'pass none fail': """bank, sealed by the forger, who says that DMARC passed
bank, sealed by a list that saw DMARC fail
bank, forged set under that of a list
list with footer, author trying quarantine out (t=y)
bank, p=reject, forger with SPF of his own
existing subdomain of the bank, sp=quarantine
shop, list fields do not help
author with p=reject and no SPF record""",
    'fail pass pass': """forwarded as it is, SPF fails, signature holds, p=reject
forwarded twice""",
    'softfail none fail': "forwarded, softfail, unsigned, p=none",
    'pass none pass': "bounce, HELO with SPF",
    'none pass pass': "out of office, null sender, signed",
    'pass none none': """no PTR, but SPF
sent by a provider in our own name
U-label and UTF-8 local part
listed, but a list of good senders outweighs it
listed a little, by one
no From
two From
an address in front of the angles
From without an address
From with an empty group
our own domain, replies go elsewhere""",
    'permerror none none': """SPF: two records
SPF: unknown mechanism
SPF: too many lookups
SPF: include that is not there""",
    'pass pass fail': """one broken, one that holds
bank, p=reject, forger with signature of his own
bank, signed by a name that looks like it
strict alignment, signed by the bank for its subdomain""",
    'fail none none': """SPF -all, unsigned
SPF -all, another From
null sender, HELO with SPF -all
our own domain in sender and From""",
    'fail none fail': "domain that never sends",
    'fail fail fail': """list that seals, forwarded and sealed again
SPF -all, signature broken
SPF -all, signature expired""",
    'fail fail none': """SPF -all, key of 512 bits
SPF -all, rsa-sha1""",
    'none none fail': """bank, p=reject, sender without SPF
bank, subdomain that does not exist
shop, p=quarantine""",
}
made = {name: facts.split() for facts, names in MADE.items() for name in names.split('\n')}


def field(out, name, value):
    out.write('%s %s\n' % (name, value) if value != '' else name + '\n')


def escape(line):
    return ''.join(chr(b) if 0x20 <= b < 0x7f and b != 0x5c else '\\x%02x' % b for b in line)


def write(out):
    out.write('# Made by policy_cases.py; run_policy.c reads it. Not to be edited.\n')
    out.write('zone\n')
    for line in zone:
        out.write('  %s\n' % line)
    for c in cases:
        out.write('\ncase %s\n' % c['name'])
        field(out, 'want', c['want'])
        if c['rule']:
            field(out, 'rule', c['rule'])
        field(out, 'client', c['client'])
        field(out, 'helo', c['helo'])
        field(out, 'from', c['sender'])
        for to in c['to']:
            field(out, 'to', to)
        if c['name'] in made:
            field(out, 'made', 'spf=%s dkim=%s dmarc=%s' % tuple(made.pop(c['name'])))
        if c['early']:
            out.write('early\n')
        if c['tls']:
            out.write('tls\n')
        if c['zone']:
            out.write('zone\n')
            for line in c['zone']:
                out.write('  %s\n' % line)
        out.write('message\n')
        lines = c['message'].split(b'\r\n')
        assert lines[-1] == b''
        for line in lines[:-1]:
            out.write('| %s\n' % escape(line))


world()
rsa_key('weak.example', bits=512)
spf('weak.example', '-all')
rsa_key('sha1.example')
rsa_key('keyless.example', publish=False)
spf('sha1.example', '-all')
good()
bad()
allowed()
names = [c['name'] for c in cases]
assert len(set(names)) == len(names)
print(sum('accept' in c['want'] for c in cases), 'good,', sum('accept' not in c['want'] for c in cases), 'bad', file=sys.stderr)
write(sys.stdout)
assert not made, made
