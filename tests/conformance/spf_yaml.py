"""Turn the public RFC 7208 test suite (YAML) into the plain lines that run_spf reads.

Usage: spf_yaml.py rfc7208-tests.yml >cases. What the suite's entries mean is in the README beside it: SPF stands for TXT too
unless the name has a TXT of its own; TIMEOUT: what is not there before it times out; a name error.* that is nowhere times out.
"""
import sys

import yaml


def dns_name(name):
    """As dns.h writes names: odd bytes and backslashes escaped."""
    return ''.join(c if '!' <= c <= '~' and c != '\\' else '\\%03d' % ord(c) for c in name)


def txt(strings):
    """Quoted strings of at most 255 bytes. The suite's bytes come as Latin-1 characters."""
    out = []
    for s in strings if isinstance(strings, list) else [strings]:
        data = str(s).encode('latin-1')
        for i in range(0, max(len(data), 1), 255):
            part = data[i:i + 255]
            out.append('"%s"' % ''.join(chr(b) if 0x20 <= b < 0x7f and b not in b'"\\' else '\\%03d' % b for b in part))
    return ' '.join(out)


def zone_lines(name, entries):
    own_txt = any(isinstance(e, dict) and 'TXT' in e for e in entries)
    name = dns_name(name)
    lines = ['%s NODATA' % name]
    for e in entries:
        if e == 'TIMEOUT':
            lines.append('%s TIMEOUT' % name)
            continue
        (kind, data), = e.items()
        if kind == 'SPF' and own_txt or data == 'NONE':
            continue
        if kind in ('SPF', 'TXT'):
            if data != []:
                lines.append('%s TXT %s' % (name, txt(data)))
        elif kind == 'MX':
            lines.append('%s MX %d %s' % (name, data[0], dns_name(data[1]) or '.'))
        elif kind in ('PTR', 'CNAME'):
            lines.append('%s %s %s' % (name, kind, dns_name(data)))
        else:
            lines.append('%s %s %s' % (name, kind, data))
    return lines


def main(path):
    for scenario in yaml.safe_load_all(open(path, encoding='utf-8')):
        print('scenario', scenario['description'])
        for name, entries in scenario['zonedata'].items():
            for line in zone_lines(name, entries):
                print('zone', line)
        for name, case in scenario['tests'].items():
            results = case['result'] if isinstance(case['result'], list) else [case['result']]
            print('case', name)
            print('client', case['host'])
            print('helo', case['helo'])
            print('from', case['mailfrom'])
            if 'explanation' in case:
                print('explanation', case['explanation'])
            print('expect', *results)


main(sys.argv[1])
