#!/usr/bin/python3
"""What the unit and end-to-end tests have run through, file by file, from the counters of the coverage build.

    report.py DIR [--all] [--missing FILE]

DIR is the build directory. Prints the files that read what comes from outside (READERS) with the share of their lines, the rooms, and the sum. Exit
status 1 where a reader is under LEAST.
"""
import argparse
import collections
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
LEAST = 90.0    # per cent of the lines of each reader

# Whatever turns octets that somebody else has chosen into structure: the network's, a message's, a file's, another process's.
READERS = """
gateway/base/base64.* gateway/base/dns_packet.c gateway/base/http_reply.c gateway/base/proxy_header.c gateway/base/proxy_stream.c gateway/base/sasl.c gateway/base/utf8.c
gateway/base/host.c gateway/base/net.c gateway/base/netlink.c gateway/base/tls_sni.c gateway/base/tls_dane.c
gateway/smtp/smtp_address.c gateway/smtp/smtp_command.c gateway/smtp/smtp_data.c gateway/smtp/smtp_reply.c gateway/smtp/trace.c
gateway/hop/mx.c gateway/hop/mta_sts.c gateway/hop/smtp_client.c gateway/hop/xclient.c gateway/hop/identity.c
gateway/imap/imap_command.c gateway/imap/imap_caps.c gateway/imap/imap_id.c gateway/imap/imap_response.c gateway/imap/imap_fetch.c gateway/imap/imap_structure.c
gateway/imap/imap_wire.c gateway/imap/imap_after.c gateway/imap/imap_span.c gateway/imap/imap_runs.c
gateway/pop3/pop3_command.c gateway/pop3/pop3_reply.c gateway/pop3/pop3_capa.c gateway/pop3/pop3_lines.c gateway/pop3/pop3_notice.c
gateway/process/channel.c gateway/process/control.c gateway/process/handover.c gateway/process/keys_*.c gateway/command/number.c gateway/command/when.c
gateway/retrieval/notice.c gateway/retrieval/retrieval_record.c gateway/spool/dsn_params.c gateway/spool/etrn.c
filters/arc_claims.c filters/arc_set.c filters/arc_verify.c filters/authres_read.c filters/dkim_answer.c
filters/archive_list.c filters/attachment.c filters/charset.c filters/crlf.c filters/dkim_key.c filters/dkim_sig.c filters/dkim_tag.c filters/dkim_body.c
filters/dmarc_record.c filters/dmarc_eval.c filters/domain.c filters/envelope.c filters/from_parse.c filters/from.c filters/helo.c filters/html.c filters/html_entity.c filters/message.c
filters/mime.c filters/mime_param.c filters/parts.c filters/rfc2047.c filters/spf_macro.c filters/spf_record.c filters/text.c filters/transfer.c
policy/authres.c policy/authres_claims.c policy/authres_text.c policy/conf*.c policy/history_record.c policy/history_find.c policy/list_table.c policy/login_account.c
policy/policy_cond.c policy/policy_expr.c policy/policy_lex.c policy/policy_list.c policy/policy_list_file.c policy/policy_parse*.c policy/policy_regex.c policy/policy_reply.c
policy/record.c policy/regdomain.c policy/search_doc.c policy/search_query.c policy/search_words.c policy/spool_envelope.c policy/spool_json.c policy/spool_record.c policy/spool_wire.c
policy/released.c policy/state_redis.c policy/state_redis_script.c gateway/base/json_whole.c gateway/base/tls_key.c gateway/process/key_client.c gateway/smtp/release_load.c
gateway/retrieval/reading.c gateway/retrieval/retrieval_keep.c gateway/hop/mta_sts_cache.c gateway/imap/imap_upstream.c gateway/pop3/pop3_hop.c gateway/access/access_client.c
filters/archive.c filters/dkim_verify.c filters/dnsbl.c filters/fact_wire.c filters/unpack.c
policy/srs.c policy/state_wire.c policy/store_events.c policy/store_meta.c policy/store_id.c policy/user_map.c
filters/received.c filters/boundary.c gateway/smtp/smtp_told.c filters/link.c filters/links.c filters/uribl.c filters/dnsbl_zone.c filters/dnsbl_health.c
filters/milter_wire.c filters/milter_talk.c filters/milter_macro.c filters/milter_mail.c filters/clamd_reply.c filters/rspamd_reply.c filters/spamd_reply.c
gateway/directory/directory_address.c gateway/directory/directory_believe.c gateway/directory/directory_copy.c gateway/directory/directory_line.c gateway/directory/directory_table.c
gateway/process/directory_wire.c
filters/domainkeys.c filters/dkim_canon.c filters/dkim_header.c filters/dkim_native.c gateway/rua/rua_authorize.c gateway/rua/rua_uri.c
policy/dmarc_report_file.c policy/dmarc_report_read.c policy/dmarc_report_wire.c policy/rua_message.c policy/rua_wire.c
"""


def counted(directory):
    """Of each source file: line -> times. Of a header's inline functions the most."""
    argv = ["gcovr", "--root", str(ROOT), "--object-directory", str(directory), "--json", "-", "-j", "2", "--filter", "gateway/", "--filter", "filters/",
            "--filter", "policy/", "--gcov-ignore-parse-errors", str(directory)]
    done = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    files = {}
    for f in json.loads(done.stdout)["files"]:
        lines = files.setdefault(f["file"], collections.Counter())
        for line in f["lines"]:
            if not line.get("gcovr/noncode"):
                lines[line["line_number"]] += line["count"]
    return files


def share(lines):
    return sum(1 for n in lines.values() if n), len(lines)


def percent(hit, total):
    return 100.0 * hit / total if total else 100.0


def row(name, hit, total, mark=""):
    print(f"{name:44} {hit:6} of {total:6} lines {percent(hit, total):6.1f} %{mark}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--all", action="store_true", help="every file, not the readers alone")
    parser.add_argument("--missing", help="the lines of this file that nothing has run through")
    args = parser.parse_args()
    files = counted(args.directory)
    if args.missing:
        print(*sorted(n for n, times in files[args.missing].items() if not times))
        return 0
    readers = sorted({str(p.relative_to(ROOT)) for pattern in READERS.split() for p in ROOT.glob(pattern) if p.suffix == ".c"})
    low = []
    for name in sorted(files) if args.all else readers:
        hit, total = share(files.get(name, {}))
        compiled = (args.directory / name).with_suffix(".gcno").exists()        # a table of options has no lines
        if name in readers and (not compiled or percent(hit, total) < LEAST):
            low.append(name)
        row(name, hit, total, "  TOO FEW" if name in low else "")
    rooms = collections.defaultdict(lambda: [0, 0])
    for name, lines in files.items():
        for room in (str(pathlib.Path(name).parent), "all"):
            hit, total = share(lines)
            rooms[room][0] += hit
            rooms[room][1] += total
    print()
    for room, (hit, total) in sorted(rooms.items()):
        row(room, hit, total)
    print(f"\ncoverage: {len(readers) - len(low)} of {len(readers)} readers have {LEAST:.0f} % of their lines or more")
    return int(bool(low))


if __name__ == "__main__":
    sys.exit(main())
