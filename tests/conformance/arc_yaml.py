"""Turn the validation cases of the public ARC suite (YAML) into the plain lines that run_arc reads.

Usage: arc_yaml.py arc-draft-validation-tests.yml >cases. An empty cv means that the chain is broken so that no result is given: fail.
"""
import sys

import yaml


def main(path):
    for scenario in yaml.safe_load_all(open(path, encoding='utf-8')):
        print('scenario', scenario['description'])
        for name, text in (scenario.get('txt-records') or scenario.get('txt_records') or {}).items():
            print('key', name, ' '.join(str(text).split()))
        for name, case in scenario['tests'].items():
            print('case', name, (case['cv'] or 'fail').lower())
            for line in case['message'].split('\n')[:-1]:
                print('|' + line)
            print('end')


main(sys.argv[1])
