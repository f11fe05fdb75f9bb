"""Turn the signing cases of the public ARC suite (YAML) into the plain lines that run_arc_sign reads.

Usage: arc_sign_yaml.py arc-draft-sign-tests.yml >cases. Expected fields are given on one line, as they are in canonical form; empty: none is made.
"""
import sys

import yaml


def main(path):
    for scenario in yaml.safe_load_all(open(path, encoding='utf-8')):
        print('scenario', scenario['domain'], scenario['sel'])
        for line in scenario['privatekey'].split('\n')[:-1]:
            print('pem', line)
        for name, case in scenario['tests'].items():
            print('case', name, case['t'], case['srv-id'])
            print('headers', case['sig-headers'])
            for field in ('AAR', 'AMS', 'AS'):
                print(field, ' '.join(case[field].split()))
            for line in case['message'].split('\n')[:-1]:
                print('|' + line)
            print('end')


main(sys.argv[1])
