"""A third opinion: evaluates the cases of a table (the lines that run_spf.c describes) with pyspf, Debian's python3-spf.

Usage: spf_pyspf.py FILE. Prints one line per case: its result, why, its name. Without pyspf: exit status 3.
"""
import ipaddress
import re
import sys

try:
    import spf
except ImportError:
    sys.exit(3)

ZONE = {}


def unescape(text):
    return re.sub(r'\\(\d\d\d|.)', lambda m: chr(int(m[1])) if len(m[1]) == 3 else m[1], text)


def add(line):
    name, kind, data = (line.split(' ', 2) + [''])[:3]
    entries = ZONE.setdefault(unescape(name).lower(), [])
    if kind == 'TXT' and data.startswith('"'):
        strings = re.findall(r'"((?:[^"\\]|\\\d\d\d|\\.)*)"', data)
        entries.append((kind, [unescape(s).encode('latin-1') for s in strings]))
    elif kind == 'TXT':
        entries.append((kind, [data.encode('utf-8')]))
    elif kind == 'MX':
        preference, host = data.split()
        entries.append((kind, (int(preference), host)))
    else:
        entries.append((kind, data))


def lookup(name, qtype, tcpfallback=True, timeout=30, links=0):
    name = name.rstrip('.').lower()
    entries = ZONE.get(name, [])
    found = [((name, qtype), data) for kind, data in entries if kind == qtype]
    alias = [data for kind, data in entries if kind == 'CNAME']
    if links > 8:
        raise spf.TempError('DNS loop')
    if found:
        return found
    if alias:
        return [((name, 'CNAME'), alias[0])] + lookup(alias[0], qtype, links=links + 1)
    if any(kind in ('TIMEOUT', 'SERVFAIL', 'BOGUS') for kind, _ in entries):
        raise spf.TempError('DNS failure')
    return []


def run(case):
    client = ipaddress.ip_address(case['client'])
    client = getattr(client, 'ipv4_mapped', None) or client
    q = spf.query(i=str(client), s=case.get('from') or 'postmaster@' + case['helo'], h=case['helo'], receiver='gw.example', strict=True)
    try:
        result, _, _ = q.check()
    except Exception as x:      # it raises on some odd names
        return 'raised', repr(x)
    return result, q.mech[-1] if getattr(q, 'mech', None) else str(getattr(q, 'perm_error', '') or '')


def main(path):
    case = {}
    spf.DNSLookup = lookup
    for line in open(path, encoding='utf-8'):
        word, _, value = line.rstrip('\n').partition(' ')
        if word == 'scenario':
            ZONE.clear()
        elif word == 'zone':
            add(value)
        elif word == 'expect':
            result, why = run(case)
            print(result, ascii(why), case['case'])
            case = {}
        elif word and word[0] != '#':
            case[word] = value


main(sys.argv[1])
