#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "policy/policy_lex.h"
#include "policy/policy_rule.h"
#include "support/policy_facts.h"

/* A policy, and all that is said about it. */
static const struct { const char *text, *errors; } bad[] = {
	/* statements */
	{ "acept", "p:1:1: \"acept\" is no action, expected accept, reject, defer, quarantine, discard, greylist, score, tag, add header, remove header, copy to, redirect to, log, observe, list or class (did you mean accept?)\n" },
	{ "\n  frobnicate if tls", "p:2:3: \"frobnicate\" is no action, expected accept, reject, defer, quarantine, discard, greylist, score, tag, add header, remove header, copy to, redirect to, log, observe, list or class\n" },
	{ "observe frob", "p:1:9: \"frob\" is no action, expected accept, reject, defer, quarantine, discard, greylist, score, tag, add header, remove header, copy to, redirect to or log\n" },
	{ "\"text\"", "p:1:1: \"text\" is no action, expected accept, reject, defer, quarantine, discard, greylist, score, tag, add header, remove header, copy to, redirect to, log, observe, list or class\n" },
	{ "accept reject", "p:1:8: \"reject\" after accept, expected if or a new line\n" },
	{ "accept unless tls", "p:1:8: \"unless\" after accept, expected if or a new line\n" },
	{ "accept \"hello\"", "p:1:8: a text after accept, expected if or the end of the rule\n" },
	{ "quarantine \"hello\" if tls", "p:1:12: a text after quarantine, expected if or the end of the rule\n" },
	{ "reject;", "p:1:7: a rule ends with its line, expected no ;\n" },
	{ "reject 'no'", "p:1:8: a text stands between double quotes, expected \"\n" },
	{ "accept if spf all in (pass)", "p:1:15: all after spf, which has one value, expected in\n" },
	{ "accept if from.domains all = a.example", "p:1:28: \"=\" after all, expected in\n" },
	{ "accept if from.domains all", "p:1:27: the end of the file after all, expected in\n" },
	{ "accept if from.domains all in", "p:1:30: the end of the file after in, expected a list or values in parentheses\n" },
	{ "class c = recipients { a.example }\naccept if class all in (c)", "p:2:17: \"all\" after class, expected =, != or in, and the name of a class\n" },
	{ "accept if tls accept", "p:1:15: \"accept\" after the condition, expected and, or or a new line\n" },
	{ "accept if tls spf = pass", "p:1:15: \"spf\" after the condition, expected and, or or a new line\n" },
	/* labels */
	{ "reject not: if tls", "p:1:8: not: cannot be a label, expected letters, digits, - and _ that are no word of the language\n" },
	{ "reject tls.version: if tls", "p:1:8: tls.version: cannot be a label, expected letters, digits, - and _ that are no word of the language\n" },
	{ "reject if: if tls", "p:1:8: if: cannot be a label, expected letters, digits, - and _ that are no word of the language\n" },
	{ "reject 9a: if tls", "p:1:8: 9a: cannot be a label, expected letters, digits, - and _ that are no word of the language\n" },
	{ "reject a:\nreject a: if tls", "p:2:8: label a is that of line 1 already, expected another\n" },
	/* replies */
	{ "reject \"\"", "p:1:8: a reply without text or with blanks at its ends, expected \"550 5.7.1 text\" or \"text\"\n" },
	{ "reject \" x\"", "p:1:8: a reply without text or with blanks at its ends, expected \"550 5.7.1 text\" or \"text\"\n" },
	{ "reject \"x \"", "p:1:8: a reply without text or with blanks at its ends, expected \"550 5.7.1 text\" or \"text\"\n" },
	{ "reject \"550 5.7.1 \"", "p:1:8: a reply without text or with blanks at its ends, expected \"550 5.7.1 text\" or \"text\"\n" },
	{ "reject \"450 4.7.1 later\"", "p:1:8: reply code 450, expected 550 to 559 or another 5xx with reject\n" },
	{ "reject \"250 fine\"", "p:1:8: reply code 250, expected 550 to 559 or another 5xx with reject\n" },
	{ "reject \"590 no\"", "p:1:8: reply code 590, expected 550 to 559 or another 5xx with reject\n" },
	{ "defer \"550 5.7.1 no\"", "p:1:7: reply code 550, expected 450 to 459 or another 4xx with defer\n" },
	{ "defer \"421 4.3.2 bye\"", "p:1:7: reply code 421 would close the session, expected 450 or 451 with defer\n" },
	{ "reject \"550 4.7.1 no\"", "p:1:8: enhanced code 4.7.1, expected one that begins with 5, as the reply code does\n" },
	{ "defer \"5.7.1 no\"", "p:1:7: enhanced code 5.7.1, expected one that begins with 4, as the reply code does\n" },
	{ "reject \"550-no\"", "p:1:8: a reply of several lines, expected one: \"550 5.7.1 text\"\n" },
	{ "reject \"caf\xc3\xa9\"", "p:1:8: a reply with bytes that are not printable ASCII, expected only such (RFC 5321 4.2)\n" },
	{ "reject \"a\tb\"", "p:1:8: a reply with bytes that are not printable ASCII, expected only such (RFC 5321 4.2)\n" },
	/* tags */
	{ "tag", "p:1:4: the end of the file after tag, expected a subject prefix in double quotes, or header \"Name: value\"\n" },
	{ "tag if tls", "p:1:5: \"if\" after tag, expected a subject prefix in double quotes, or header \"Name: value\"\n" },
	{ "tag \"\"", "p:1:5: a subject prefix of 0 bytes, expected 1 to 100 characters of printable ASCII (others as an RFC 2047 word)\n" },
	{ "tag \"\xc3\xa9\"", "p:1:5: a subject prefix of 2 bytes, expected 1 to 100 characters of printable ASCII (others as an RFC 2047 word)\n" },
	{ "tag header", "p:1:11: the end of the file after tag header, expected a header field: \"Name: value\"\n" },
	{ "tag header \"X-Spam\"", "p:1:12: a header field without a name, expected \"Name: value\"\n" },
	{ "tag header \": x\"", "p:1:12: a header field without a name, expected \"Name: value\"\n" },
	{ "tag header \"X Spam: x\"", "p:1:12: a header field without a name, expected \"Name: value\"\n" },
	{ "tag header \"X-Spam:  \"", "p:1:12: a header field without a value, expected \"Name: value\"\n" },
	{ "tag header \"subject: x\"", "p:1:12: header field subject belongs to the message, expected another name, such as X-subject\n" },
	{ "tag header \"Received: x\"", "p:1:12: header field Received belongs to the message, expected another name, such as X-Received\n" },
	{ "tag header \"ARC-Seal: x\"", "p:1:12: header field ARC-Seal belongs to the message, expected another name, such as X-ARC-Seal\n" },
	{ "tag header \"X-A: \xc3\xa9\"", "p:1:12: a header field of 7 bytes, expected at most 900 characters of printable ASCII\n" },
	{ "add \"X-A: b\"", "p:1:5: \"X-A: b\" after add, expected header\n" },
	{ "add header", "p:1:11: the end of the file after add header, expected a header field: \"Name: value\"\n" },
	{ "add x: header \"X-A: b\"", "p:1:5: \"x:\" after add, expected header\n" },
	{ "add header x: if tls", "p:1:15: \"if\" after add header, expected a header field: \"Name: value\"\n" },
	{ "add header \"DKIM-Signature: x\"", "p:1:12: header field DKIM-Signature belongs to the message, expected another name, such as X-DKIM-Signature\n" },
	{ "remove", "p:1:7: the end of the file after remove, expected header\n" },
	{ "remove header X-A", "p:1:15: \"X-A\" after remove header, expected the name of a header field: \"Name\"\n" },
	{ "remove header \"\"", "p:1:15: a header field's name of 0 bytes, expected 1 to 76 characters of printable ASCII without blank or colon\n" },
	{ "remove header \"X-A:\"", "p:1:15: a header field's name of 4 bytes, expected 1 to 76 characters of printable ASCII without blank or colon\n" },
	{ "remove header \"X A\"", "p:1:15: a header field's name of 3 bytes, expected 1 to 76 characters of printable ASCII without blank or colon\n" },
	{ "remove header \"from\"", "p:1:15: header field from stays, as the message or its way would be another without it, expected a field such as X-Spam-Flag\n" },
	{ "remove header \"Arc-Seal\"", "p:1:15: header field Arc-Seal stays, as the message or its way would be another without it, expected a field such as X-Spam-Flag\n" },
	{ "remove header \"Content-Type\"", "p:1:15: header field Content-Type stays, as the message or its way would be another without it, expected a field such as X-Spam-Flag\n" },
	/* copies and redirects */
	{ "copy \"a@b.example\"", "p:1:6: \"a@b.example\" after copy, expected to\n" },
	{ "copy to", "p:1:8: the end of the file after copy to, expected a mailbox: \"user@example.com\"\n" },
	{ "copy to a@b.example", "p:1:9: \"a@b.example\" after copy to, expected a mailbox: \"user@example.com\"\n" },
	{ "copy to archive: \"archive\"", "p:1:18: archive is no mailbox, expected one such as user@example.com\n" },
	{ "redirect to \"@b.example\"", "p:1:13: @b.example is no mailbox, expected one such as user@example.com\n" },
	{ "redirect to \"a..b@b.example\"", "p:1:13: a..b@b.example is no mailbox, expected one such as user@example.com\n" },
	{ "redirect to \".a@b.example\"", "p:1:13: .a@b.example is no mailbox, expected one such as user@example.com\n" },
	{ "redirect to \"a.@b.example\"", "p:1:13: a.@b.example is no mailbox, expected one such as user@example.com\n" },
	{ "redirect to \"a b@b.example\"", "p:1:13: a b@b.example is no mailbox, expected one such as user@example.com\n" },
	{ "redirect to \"a@b@c.example\"", "p:1:13: a@b@c.example is no mailbox, expected one such as user@example.com\n" },
	{ "redirect to \"a@\"", "p:1:13: a@ is no mailbox, expected one such as user@example.com\n" },
	{ "redirect to \"<a@b.example>\"", "p:1:13: <a@b.example> is no mailbox, expected one such as user@example.com\n" },
	{ "redirect to \"\xc3\xa9@b.example\"", "p:1:13: a mailbox with bytes that are not printable ASCII, expected one such as user@example.com\n" },
	{ "redirect x to \"a@b.example\"", "p:1:10: \"x\" after redirect, expected to\n" },
	/* log, score, discard */
	{ "log", "p:1:4: the end of the file after log, expected a text in double quotes\n" },
	{ "log \"\"", "p:1:5: a text of 0 bytes, expected 1 to 200 bytes of UTF-8 without control characters\n" },
	{ "log \"a\tb\"", "p:1:5: a text of 3 bytes, expected 1 to 200 bytes of UTF-8 without control characters\n" },
	{ "log \"\xff\"", "p:1:5: a text of 1 bytes, expected 1 to 200 bytes of UTF-8 without control characters\n" },
	{ "score", "p:1:6: the end of the file after score, expected what it adds: +2 or -1\n" },
	{ "score 2", "p:1:7: \"2\" after score, expected what it adds: +2 or -1\n" },
	{ "score + 2", "p:1:7: \"+\" after score, expected what it adds: +2 or -1\n" },
	{ "score +2.5", "p:1:7: \"+2.5\" after score, expected what it adds: +2 or -1\n" },
	{ "score +0 if tls", "p:1:7: a score of +0, expected 1 to 1000000 behind the sign\n" },
	{ "score -1000001", "p:1:7: a score of -1000001, expected 1 to 1000000 behind the sign\n" },
	{ "score +99999999999999", "p:1:7: \"+99999999999999\" after score, expected what it adds: +2 or -1\n" },
	{ "score \"x\"", "p:1:7: \"x\" after score, expected what it adds: +2 or -1\n" },
	{ "score +2\nreject if score", "p:2:11: score is a number and stands alone, expected =, !=, <, <=, >, >= or in and a value after it\n" },
	{ "score +2\nreject if score ~ /2/", "p:2:17: ~ after score, which is a number, expected =, !=, <, <=, >, >= or in\n" },
	{ "reject if x\n and\n score >= 2\naccept", "p:1:11: no fact is named \"x\", expected one of gatepost-policy(5)\n" },
	{ "discard \"gone\"", "p:1:9: a text after discard, expected if or the end of the rule\n" },
	{ "greylist \"later\"", "p:1:10: a text after greylist, expected if or the end of the rule\n" },
	/* conditions: form */
	{ "reject if", "p:1:10: the end of the file instead of a condition, expected a fact, not or (\n" },
	{ "reject if\naccept", "p:2:1: \"accept\" instead of a condition, expected a fact, not or (\n" },
	{ "reject if )", "p:1:11: \")\" instead of a condition, expected a fact, not or (\n" },
	{ "reject if \"x\" = spf", "p:1:11: \"x\" instead of a condition, expected a fact, not or (\n" },
	{ "reject if (tls", "p:1:15: the end of the file inside parentheses, expected and, or or )\n" },
	{ "reject if (tls spf = pass)", "p:1:16: \"spf\" inside parentheses, expected and, or or )\n" },
	{ "reject if tls)", "p:1:14: \")\" after the condition, expected and, or or a new line\n" },
	{ "reject if tls and", "p:1:18: the end of the file instead of a condition, expected a fact, not or (\n" },
	{ "reject if tls and or spf = pass", "p:1:19: no fact is named \"or\", expected one of gatepost-policy(5)\n" },
	{ "reject if tls && spf = pass", "p:1:15: && is not an operator, expected and\n" },
	{ "reject if !tls", "p:1:11: ! is not an operator, expected not\n" },
	{ "reject if spf == pass", "p:1:15: == is not an operator, expected =\n" },
	{ "reject if spf <> pass", "p:1:15: <> is not an operator, expected !=\n" },
	{ "reject if header.subject =~ /x/", "p:1:26: =~ is not an operator, expected ~\n" },
	{ "reject if spf = pass || tls", "p:1:22: || is not an operator, expected or\n" },
	{ "reject if spf $ pass", "p:1:15: a character that means nothing here, expected a word, a text in double quotes or an operator\n" },
	{ "reject if client.ip not in (192.0.2.1)", "p:1:21: not after a fact, expected it before: not client.ip in ...\n" },
	/* conditions: facts and types */
	{ "reject if spff = fail", "p:1:11: no fact is named \"spff\", expected one of gatepost-policy(5) (did you mean spf?)\n" },
	{ "reject if dnsbl.socre > 5", "p:1:11: no fact is named \"dnsbl.socre\", expected one of gatepost-policy(5) (did you mean dnsbl.score?)\n" },
	{ "reject if dnsbl > 5", "p:1:11: no fact is named \"dnsbl\", expected one of gatepost-policy(5) (did you mean dnsbl.score?)\n" },
	{ "reject if zzzzz = 1", "p:1:11: no fact is named \"zzzzz\", expected one of gatepost-policy(5)\n" },
	{ "reject if SPF = fail", "p:1:11: no fact is named \"SPF\", expected one of gatepost-policy(5)\n" },
	{ "reject if spf", "p:1:11: spf is a word and stands alone, expected =, != or in and a value after it\n" },
	{ "reject if spf and tls", "p:1:11: spf is a word and stands alone, expected =, != or in and a value after it\n" },
	{ "reject if spf is fail", "p:1:11: spf is a word and stands alone, expected =, != or in and a value after it\n" },
	{ "reject if dnsbl.score", "p:1:11: dnsbl.score is a number and stands alone, expected =, !=, <, <=, >, >= or in and a value after it\n" },
	{ "reject if spf > fail", "p:1:15: > after spf, which is a word, expected =, != or in\n" },
	{ "reject if spf ~ /fail/", "p:1:15: ~ after spf, which is a word, expected =, != or in\n" },
	{ "reject if tls in (true)", "p:1:15: in after tls, which is true or false, expected nothing, = or !=\n" },
	{ "reject if client.ip ~ /192/", "p:1:21: ~ after client.ip, which is an IP address, expected =, != or in\n" },
	{ "reject if header.subject < 5", "p:1:26: < after header.subject, which is a text, expected =, !=, in or ~\n" },
	/* conditions: values */
	{ "reject if spf = fial", "p:1:17: spf is never fial, expected none, neutral, pass, fail, softfail, temperror or permerror (did you mean fail?)\n" },
	{ "reject if spf in (none, hardfail)", "p:1:25: spf is never hardfail, expected none, neutral, pass, fail, softfail, temperror or permerror\n" },
	{ "reject if dmarc.policy = block", "p:1:26: dmarc.policy is never block, expected none, quarantine or reject\n" },
	{ "reject if spf = ", "p:1:17: the end of the file instead of a value, expected a word\n" },
	{ "reject if spf = (fail)", "p:1:17: \"(\" instead of a value, expected a word\n" },
	{ "reject if spf = /fail/", "p:1:17: a regular expression, expected a word here (regular expressions: with ~)\n" },
	{ "reject if dnsbl.score > five", "p:1:25: \"five\" is no number, expected one such as 5, -1 or 10M\n" },
	{ "reject if dnsbl.score > 5.5", "p:1:25: \"5.5\" is no number, expected one such as 5, -1 or 10M\n" },
	{ "reject if dnsbl.score > 99999999999999999999", "p:1:25: \"99999999999999999999\" is no number, expected one such as 5, -1 or 10M\n" },
	{ "reject if dnsbl.score > 9223372036854775807K", "p:1:25: \"9223372036854775807K\" is no number, expected one such as 5, -1 or 10M\n" },
	{ "reject if dnsbl.score > 5KB", "p:1:25: \"5KB\" is no number, expected one such as 5, -1 or 10M\n" },
	{ "reject if tls = yes", "p:1:17: \"yes\" is no value of tls, expected true or false\n" },
	{ "reject if from.domain = *.a.example", "p:1:25: \"*.a.example\" is not what from.domain can be, expected a domain without *: in (example.com) holds for all below it too\n" },
	{ "reject if from.domain = \"a b\"", "p:1:25: \"a b\" is not what from.domain can be, expected a domain such as example.com (others than ASCII in their xn-- form)\n" },
	{ "reject if from.domain = .a.example", "p:1:25: \".a.example\" is not what from.domain can be, expected a domain such as example.com (others than ASCII in their xn-- form)\n" },
	{ "reject if from.domain in (192.0.2.1)", "p:1:27: \"192.0.2.1\" is not what from.domain can be, expected a domain such as example.com (others than ASCII in their xn-- form)\n" },
	{ "reject if from.domain in (a@b.example)", "p:1:27: \"a@b.example\" is not what from.domain can be, expected a domain such as example.com (others than ASCII in their xn-- form)\n" },
	{ "reject if sender = a.example", "p:1:20: \"a.example\" is not what sender can be, expected a mailbox such as user@example.com (domains: with in)\n" },
	{ "reject if sender = @a.example", "p:1:20: \"@a.example\" is not what sender can be, expected a mailbox such as user@example.com (domains: with in)\n" },
	{ "reject if sender in (\"a b\")", "p:1:22: \"a b\" is not what sender can be, expected a mailbox such as user@example.com or a domain\n" },
	{ "reject if client.ip = 192.0.2.0/24", "p:1:23: \"192.0.2.0/24\" is not what client.ip can be, expected one address such as 192.0.2.1 (networks: with in)\n" },
	{ "reject if client.ip = 192.0.2.256", "p:1:23: \"192.0.2.256\" is not what client.ip can be, expected one address such as 192.0.2.1 (networks: with in)\n" },
	{ "reject if client.ip in (a.example)", "p:1:25: \"a.example\" is not what client.ip can be, expected an address or network such as 192.0.2.0/24\n" },
	{ "reject if client.ip in (192.0.2.1/24)", "p:1:25: 192.0.2.1/24 has bits set beyond its prefix, expected 192.0.2.0/24\n" },
	{ "reject if client.ip in (2001:db8::1/32)", "p:1:25: 2001:db8::1/32 has bits set beyond its prefix, expected 2001:db8::/32\n" },
	{ "reject if client.ip in (192.0.2.0/33)", "p:1:25: 192.0.2.0/33 is no network, expected a prefix length of 0 to 32\n" },
	{ "reject if client.ip in (2001:db8::/129)", "p:1:25: 2001:db8::/129 is no network, expected a prefix length of 0 to 128\n" },
	{ "reject if client.ip in (192.0.2.0/)", "p:1:25: 192.0.2.0/ is no network, expected a prefix length of 0 to 32\n" },
	{ "reject if from.domain = sender.domain", "p:1:25: \"sender.domain\" is a fact, expected a value (in double quotes if that text is meant)\n" },
	{ "reject if from.domain = local", "p:1:25: \"local\" is a list, expected it alone after in: from.domain in local\n" },
	{ "reject if from.domain in (a.example, local)", "p:1:38: \"local\" is a list, expected it alone after in: from.domain in local\n" },
	{ "reject if spf in ()", "p:1:19: () is empty, expected a word\n" },
	{ "reject if spf in (pass fail)", "p:1:24: \"fail\" among the values, expected , or )\n" },
	{ "reject if spf in (pass,", "p:1:24: the end of the file instead of a value, expected a word\n" },
	{ "reject if spf in pass", "p:1:18: spf is a word, expected its values in parentheses: spf in (...)\n" },
	{ "reject if client.ip in \"trusted\"", "p:1:24: \"trusted\" after in, expected a list or values in parentheses\n" },
	{ "reject if client.ip in trusted", "p:1:24: no list is named \"trusted\", expected one that is defined above, or values in parentheses\n" },
	{ "list trusted = { 192.0.2.1 }\nreject if client.ip in trsuted",
	  "p:2:24: no list is named \"trsuted\", expected one that is defined above, or values in parentheses (did you mean trusted?)\n" },
	{ "list trusted = { 192.0.2.1 }\nreject if trusted", "p:2:11: \"trusted\" is a list, expected a fact before it: client.ip in trusted\n" },
	{ "reject if client.ip in local", "p:1:24: local holds the site's domains and client.ip is an IP address, expected a fact that is a domain or a mailbox\n" },
	/* regular expressions */
	{ "reject if header.subject ~ \"x\"", "p:1:28: \"x\" after ~, expected a regular expression: /.../\n" },
	{ "reject if header.subject ~ /x", "p:1:28: a regular expression without its end, expected / on the same line\n" },
	{ "reject if header.subject ~ //", "p:1:28: a regular expression of 0 bytes, expected 1 to 1000\n" },
	{ "reject if header.subject ~ /a(b/", "p:1:32: missing closing parenthesis, expected a Perl regular expression\n" },
	{ "reject if header.subject ~ /[z-a]/", "p:1:32: range out of order in character class, expected a Perl regular expression\n" },
	{ "reject if header.subject ~ /a\\Cb/", "p:1:32: using \\C is disabled by the application, expected a Perl regular expression\n" },
	/* texts */
	{ "reject \"no\n\"", "p:1:8: a text without its end, expected \" on the same line\n" },
	{ "reject \"no\\\"", "p:1:8: a text without its end, expected \" on the same line\n" },
	/* lists */
	{ "list", "p:1:5: the end of the file cannot name a list, expected letters, digits, - and _ that are no fact and no word of the language\n" },
	{ "list spf = { a.example }", "p:1:6: \"spf\" cannot name a list, expected letters, digits, - and _ that are no fact and no word of the language\n" },
	{ "list a.b = { a.example }", "p:1:6: \"a.b\" cannot name a list, expected letters, digits, - and _ that are no fact and no word of the language\n" },
	{ "list local = { a.example }", "p:1:6: list local is built in (the site's domains), expected another name\n" },
	{ "list a = { a.example }\nlist a = { b.example }", "p:2:6: list a is defined on line 1 already, expected another name\n" },
	{ "list a { a.example }", "p:1:8: \"{\" after the name of a list, expected =\n" },
	{ "list a = a.example", "p:1:10: \"a.example\" is no list, expected { ... } or file \"...\"\n" },
	{ "list a = { a.example b.example }", "p:1:22: \"b.example\" in a list, expected , or }\n" },
	{ "list a = { a.example", "p:1:21: the end of the file in a list, expected , or }\n" },
	{ "list a = { ( }", "p:1:12: \"(\" in a list, expected a domain, a mailbox, an address, a network, a /regular expression/, a text in double quotes or }\n" },
	{ "list a = { 192.0.2.1/24 }", "p:1:12: 192.0.2.1/24 has bits set beyond its prefix, expected 192.0.2.0/24\n" },
	{ "list a = { *.a.example }", "p:1:12: *.a.example is no entry, expected a domain, a mailbox, an address, a network, a /regular expression/, or any text in double quotes\n" },
	{ "list a = { a..example }", "p:1:12: a..example is no entry, expected a domain, a mailbox, an address, a network, a /regular expression/, or any text in double quotes\n" },
	{ "list a = { /x(/ }", "p:1:15: missing closing parenthesis, expected a Perl regular expression\n" },
	{ "list a = { b.example, // }", "p:1:23: a regular expression of 0 bytes, expected 1 to 1000\n" },
	{ "list allowed = { a.example }", "p:1:6: list allowed is built in (what is allowed by hand), expected another name\n" },
	{ "list a = { a.example } accept", "p:1:24: something after the end of a list, expected a new line\n" },
	{ "list a = file", "p:1:14: the end of the file after file, expected a path in double quotes\n" },
	{ "list a = file x.txt", "p:1:15: \"x.txt\" after file, expected a path in double quotes\n" },
	{ "list a = file \"x.txt\"", "p:1:15: a list file, expected the entries themselves in { } here\n" },
	/* times of day */
	{ "reject if time", "p:1:11: time is a time of day and stands alone, expected =, !=, <, <=, > or >= and a value after it\n" },
	{ "reject if time >= 24:00", "p:1:19: \"24:00\" is no time of day, expected 00:00 to 23:59\n" },
	{ "reject if time >= 22:60", "p:1:19: \"22:60\" is no time of day, expected 00:00 to 23:59\n" },
	{ "reject if time >= 6:00", "p:1:19: \"6:00\" is no time of day, expected 00:00 to 23:59\n" },
	{ "reject if time >= 22", "p:1:19: \"22\" is no time of day, expected 00:00 to 23:59\n" },
	{ "reject if time >= 22:000", "p:1:19: \"22:000\" is no time of day, expected 00:00 to 23:59\n" },
	{ "reject if time in (22:00)", "p:1:16: in after time, which is a time of day, expected =, !=, <, <=, > or >=\n" },
	{ "reject if time ~ /22/", "p:1:16: ~ after time, which is a time of day, expected =, !=, <, <=, > or >=\n" },
	/* classes */
	{ "class", "p:1:6: the end of the file cannot name a class, expected letters, digits, - and _ that are no fact and no word of the language\n" },
	{ "class local = recipients { a.example }", "p:1:7: list local is built in (the site's domains), expected another name\n" },
	{ "class rcpt = recipients { a.example }", "p:1:7: \"rcpt\" cannot name a class, expected letters, digits, - and _ that are no fact and no word of the language\n" },
	{ "class a recipients", "p:1:9: \"recipients\" after the name of a class, expected =\n" },
	{ "class a = { a.example }", "p:1:11: \"{\" is no class, expected recipients { ... } or recipients file \"...\"\n" },
	{ "class a = recipients a.example", "p:1:22: \"a.example\" is no list of recipients, expected { ... } or file \"...\"\n" },
	{ "class a = recipients file \"x.txt\"", "p:1:27: a list file, expected the entries themselves in { } here\n" },
	{ "class a = recipients { a.example }\nlist a = { b.example }", "p:2:6: class a is defined on line 1 already, expected another name\n" },
	{ "list a = { a.example }\nclass a = recipients { b.example }", "p:2:7: list a is defined on line 1 already, expected another name\n" },
	{ "reject if class = board", "p:1:19: no class is named \"board\", expected one that is defined above\n" },
	{ "class board = recipients { a.example }\nreject if class in (board, baord)", "p:2:28: no class is named \"baord\", expected one that is defined above (did you mean board?)\n" },
	{ "class board = recipients { a.example }\nreject if class", "p:2:16: the end of the file after class, expected =, != or in, and the name of a class\n" },
	{ "class board = recipients { a.example }\nreject if class ~ /board/", "p:2:17: \"~\" after class, expected =, != or in, and the name of a class\n" },
	{ "class board = recipients { a.example }\nreject if class = \"board\"", "p:2:19: no class is named \"board\", expected one that is defined above\n" },
	{ "class board = recipients { a.example }\nreject if class in board", "p:2:20: \"board\" after in, expected classes in parentheses\n" },
	{ "class board = recipients { a.example }\nreject if class in ()", "p:2:21: \")\" instead of a class, expected the name of one\n" },
	{ "class board = recipients { a.example }\nreject if class in (board board)", "p:2:27: \"board\" among the classes, expected , or )\n" },
	{ "class board = recipients { a.example }\nreject if rcpt in board", "p:2:19: \"board\" is a class, expected a list (classes: class = board)\n" },
	{ "class board = recipients { a.example }\nreject if board", "p:2:11: \"board\" is a class, expected class = board\n" },
	{ "list a = { a.example }\nreject if class = a", "p:2:19: no class is named \"a\", expected one that is defined above\n" },
	{ "reject if x\n  and class = board\nclass board = recipients { ( }", "p:1:11: no fact is named \"x\", expected one of gatepost-policy(5)\n"
	  "p:3:28: \"(\" in a list, expected a domain, a mailbox, an address, a network, a /regular expression/, a text in double quotes or }\n" },
	/* several errors; columns count characters */
	{ "acept if tls\nreject if spf = fial\n  and tls\naccept if x\n",
	  "p:1:1: \"acept\" is no action, expected accept, reject, defer, quarantine, discard, greylist, score, tag, add header, remove header, copy to, redirect to, log, observe, list or class (did you mean accept?)\n"
	  "p:2:17: spf is never fial, expected none, neutral, pass, fail, softfail, temperror or permerror (did you mean fail?)\n"
	  "p:4:11: no fact is named \"x\", expected one of gatepost-policy(5)\n" },
	{ "accept if header.subject = \"\xc3\xbc\xe4\xb8\xad\" or x", "p:1:36: no fact is named \"x\", expected one of gatepost-policy(5)\n" },
	{ "\xef\xbb\xbf" "acept", "p:1:1: \"acept\" is no action, expected accept, reject, defer, quarantine, discard, greylist, score, tag, add header, remove header, copy to, redirect to, log, observe, list or class (did you mean accept?)\n" },
	{ "accept\r\nacept\r\n", "p:2:1: \"acept\" is no action, expected accept, reject, defer, quarantine, discard, greylist, score, tag, add header, remove header, copy to, redirect to, log, observe, list or class (did you mean accept?)\n" },
	{ "# comment\n\n\treject \"a\x01\"", "p:3:9: a reply with bytes that are not printable ASCII, expected only such (RFC 5321 4.2)\n" },
};

static void test_errors(void **state)
{
	int wrong = 0;

	policy_facts_register();
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		AUTO(buf) struct buf errors = BUF_INIT(16 * 1024);
		AUTO(policy) struct policy *p = policy_parse("p", bad[i].text, strlen(bad[i].text), NULL, &errors, NULL);

		assert_null(p);
		if (strcmp(buf_str(&errors), bad[i].errors) != 0)
			fprintf(stderr, "%s\ngot:    %swanted: %s", bad[i].text, buf_str(&errors),
				bad[i].errors),
				wrong++;
	}
	assert_int_equal(wrong, 0);
}

/* Every text that is cut off somewhere either parses or says why; it never parses to more rules. */
static void test_cut(void **state)
{
	static const char text[] =
		"list a = { a.example, 192.0.2.0/24, \"x y\" }\nreject spoof: \"550 5.7.1 no\" if from.domain in a and\n"
		"  not (spf in (pass, none) or header.subject ~ /a\\/b/)\nobserve tag header \"X-A: b\" if dnsbl.score >= 5\n"
		"score +2 if tls\nadd header a: \"X-A: b\"\nremove header \"X-A\"\ncopy to \"a@x.example\"\nlog \"x\"\nredirect to r: \"b@x.example\"\naccept\n";

	policy_facts_register();
	for (size_t n = 0; n < sizeof(text); n++) {
		AUTO(buf) struct buf errors = BUF_INIT(16 * 1024);
		AUTO(policy) struct policy *p = policy_parse("p", text, n, NULL, &errors, NULL);

		if (p)
			assert_true(policy_rule_count(p) <= 9 && errors.len == 0);
		else
			assert_true(errors.len > 0);
	}
}

/* Bytes that no editor shows. */
static void test_bytes(void **state)
{
	AUTO(buf) struct buf errors = BUF_INIT(1024);

	assert_null(policy_parse("p", "accept\n\0reject", 14, NULL, &errors, NULL));
	assert_string_equal(buf_str(&errors), "p:2:1: a NUL byte, expected text\n");
	buf_clear(&errors);
	assert_null(policy_parse("p", "reject \"a\0b\"", 12, NULL, &errors, NULL));
	assert_string_equal(buf_str(&errors),
			    "p:1:8: a text without its end, expected \" on the same line\n");
}

static const struct { const char *text, *warnings; } odd[] = {
	{ "", "p:1:1: no rules: all mail is accepted\n" },
	{ "accept\nreject if tls", "p:2:1: this rule is never reached: one above always decides (line 1)\n" },
	{ "accept if true\nreject", "p:2:1: this rule is never reached: where it applies, one above has decided (line 1)\n" },
	{ "reject if spf = fail\nquarantine if spf = fail and tls",
	  "p:2:1: this rule is never reached: where it applies, one above has decided (line 1)\n" },
	{ "reject if spf in (fail, softfail)\nquarantine if tls and spf = softfail",
	  "p:2:1: this rule is never reached: where it applies, one above has decided (line 1)\n" },
	{ "reject if spf = fail or tls\nquarantine if tls", "p:2:1: this rule is never reached: where it applies, one above has decided (line 1)\n" },
	{ "reject if dnsbl.score >= 5\nquarantine if dnsbl.score > 7",
	  "p:2:1: this rule is never reached: where it applies, one above has decided (line 1)\n" },
	{ "reject if tls\nobserve reject if tls", "p:2:1: this rule is never reached: where it applies, one above has decided (line 1)\n" },
	{ "greylist\ngreylist if tls", "p:2:1: this rule is never reached: one above always decides (line 1)\n" },
	{ "reject if spf = pass and spf = fail", "p:1:1: this rule can never apply: its condition contradicts itself\n" },
	{ "reject if dnsbl.score > 5 and dnsbl.score < 3", "p:1:1: this rule can never apply: its condition contradicts itself\n" },
	{ "reject if false", "p:1:1: this rule can never apply: its condition contradicts itself\n" },
	{ "reject if not true or false", "p:1:1: this rule can never apply: its condition contradicts itself\n" },
	{ "list a = { a.example }", "p:1:1: no rules: all mail is accepted\np:1:6: list a is not used by any rule\n" },
	{ "list a = { a.example }\nreject if client.ip in a", "p:2:24: list a holds nothing that client.ip can be, so this is never true\n" },
	{ "score +3 if tls\nquarantine if score >= 5", "p:2:15: score is 0 to 3 here, so this is never true\n" },
	{ "score +3 if tls\nscore -1\nreject if score >= -1", "p:3:11: score is -1 to 2 here, so this is always true\n" },
	{ "score +3 if false\nreject if score in (1, 2)", "p:2:11: score is 0 here, so this is never true\n"
							  "p:1:1: this rule can never apply: its condition contradicts itself\n" },
	{ "score +3\nreject if score = 0", "p:2:11: score is 3 here, so this is never true\n" },
	{ "score +3 if tls\nreject if score != 7", "p:2:11: score is 0 to 3 here, so this is always true\n" },
	{ "reject if score > 0\nscore +3 if tls", "p:1:11: no score rule stands above, so score is always 0 here\n" },
	{ "observe score +3 if tls\nreject if score > 0", "p:2:11: no score rule stands above, so score is always 0 here\n" },
	{ "score +3 if tls\nreject if score >= 2\nquarantine if score >= 3", "p:3:1: this rule is never reached: where it applies, one above has decided (line 2)\n" },
	{ "score +3 if tls\nreject if score > 9223372036854775807 or spf = pass", "p:2:11: score is 0 to 3 here, so this is never true\n" },
	{ "reject if time > 22:00 and time < 06:00", "p:1:1: this rule can never apply: its condition contradicts itself\n" },
	{ "reject if time > 20:00\nquarantine if time >= 22:00", "p:2:1: this rule is never reached: where it applies, one above has decided (line 1)\n" },
	{ "class a = recipients { 192.0.2.0/24 }\naccept", "p:1:7: class a holds no mailbox and no domain, so no recipient is in it\n" },
	{ "class a = recipients { a.example }\nreject if class = a\nquarantine if class = a and tls", "p:3:1: this rule is never reached: where it applies, one above has decided (line 2)\n" },
	/* nothing to say about these */
	{ "class a = recipients { a.example }\nclass b = recipients { b.example }\naccept if tls\nreject\nif\nclass = a and class = b", "" },
	{ "score +3 if tls\nreject if score >= 3\nscore +3 if spf = fail\nquarantine if score >= 3", "" },
	{ "score +3 if tls\nquarantine if score = 3\nscore -3 if spf = fail\nreject\n if\n  score = 0\n  and score in (0)", "" },
	{ "reject if spf = fail\nquarantine if spf = softfail\naccept", "" },
	{ "reject if dnsbl.score >= 5\nquarantine if dnsbl.score >= 3", "" },
	{ "observe accept\nreject if tls", "" },
	{ "tag \"x\"\nreject if tls", "" },
	{ "greylist\nreject if tls", "" },
	{ "reject if from.domains = a.example and from.domains = b.example", "" },
	{ "reject if not spf = fail\nquarantine if spf != fail or tls", "" },
	{ "reject if not (spf = fail or tls)\nquarantine if not spf = fail", "" },
};

static void test_warnings(void **state)
{
	policy_facts_register();
	for (size_t i = 0; i < sizeof(odd) / sizeof(*odd); i++) {
		AUTO(buf) struct buf errors = BUF_INIT(16 * 1024), warnings = BUF_INIT(16 * 1024);
		AUTO(policy) struct policy *p = policy_parse("p", odd[i].text, strlen(odd[i].text), NULL, &errors, &warnings);

		if (!p || strcmp(buf_str(&warnings), odd[i].warnings) != 0)
			fail_msg("%s\ngot:    %s%swanted: %s", odd[i].text, buf_str(&errors),
				 buf_str(&warnings), odd[i].warnings);
	}
}

static void test_rules(void **state)
{
	static const struct {
		const char *text;
		enum action action;
		const char *name, *shown, *said;
		bool observe;
	} rules[] = {
		{ "accept", ACTION_ACCEPT, "line 1", "accept", NULL, false },
		{ "accept  known :", ACTION_ACCEPT, NULL, NULL, NULL, false },
		{ "accept tls: if tls", ACTION_ACCEPT, "tls", "accept tls: if tls", NULL, false },
		{ "accept known:", ACTION_ACCEPT, "known", "accept known:", NULL, false },
		{ "reject", ACTION_REJECT, "line 1", "reject", NULL, false },
		{ "reject \"no\"", ACTION_REJECT, "line 1", "reject \"no\"", "550 5.7.1 no", false },
		{ "reject \"554 no\"", ACTION_REJECT, "line 1", "reject \"554 no\"", "554 5.7.1 no", false },
		{ "reject \"5.7.25 no\"", ACTION_REJECT, "line 1", "reject \"5.7.25 no\"",
		  "550 5.7.25 no", false },
		{ "reject \"521 5.3.2 no\"", ACTION_REJECT, "line 1", "reject \"521 5.3.2 no\"",
		  "521 5.3.2 no", false },
		{ "reject \"5.7 no\"", ACTION_REJECT, "line 1", "reject \"5.7 no\"",
		  "550 5.7.1 5.7 no", false },
		{ "reject \"5.1234.1 no\"", ACTION_REJECT, "line 1", "reject \"5.1234.1 no\"",
		  "550 5.7.1 5.1234.1 no", false },
		{ "reject \"1000 reasons\"", ACTION_REJECT, "line 1", "reject \"1000 reasons\"",
		  "550 5.7.1 1000 reasons", false },
		{ "reject \"say \\\"hi\\\"\"", ACTION_REJECT, "line 1", "reject \"say \\\"hi\\\"\"",
		  "550 5.7.1 say \"hi\"", false },
		{ "defer \"later\"", ACTION_DEFER, "line 1", "defer \"later\"", "451 4.7.1 later", false },
		{ "defer slow: \"450 4.2.0 later\" if tls", ACTION_DEFER, "slow",
		  "defer slow: \"450 4.2.0 later\" if tls", "450 4.2.0 later", false },
		{ "quarantine", ACTION_QUARANTINE, "line 1", "quarantine", NULL, false },
		{ "greylist", ACTION_GREYLIST, "line 1", "greylist", NULL, false },
		{ "tag \"[X] \"", ACTION_TAG, "line 1", "tag \"[X] \"", "[X] ", false },
		{ "tag ext: header \"X-Ext:yes\" if tls", ACTION_ADD_HEADER, "ext",
		  "tag ext: header \"X-Ext:yes\" if tls", "X-Ext: yes", false },
		{ "discard", ACTION_DISCARD, "line 1", "discard", NULL, false },
		{ "score\n+2 if tls", ACTION_SCORE, "line 1", "score +2 if tls", NULL, false },
		{ "score odd: -1000000 if tls", ACTION_SCORE, "odd", "score odd: -1000000 if tls", NULL, false },
		{ "add header \"X-Ext: yes\"", ACTION_ADD_HEADER, "line 1", "add header \"X-Ext: yes\"", "X-Ext: yes", false },
		{ "observe add header ext: \"X-Ext:  yes\" if tls", ACTION_ADD_HEADER, "ext", "observe add header ext: \"X-Ext:  yes\" if tls", "X-Ext: yes", true },
		{ "remove\n header \"Reply-To\"", ACTION_REMOVE_HEADER, "line 1", "remove header \"Reply-To\"", "Reply-To", false },
		{ "copy to \"a.b+c@X.Example\"", ACTION_COPY, "line 1", "copy to \"a.b+c@X.Example\"", "a.b+c@x.example", false },
		{ "copy to archive: \"a@x.example\" if tls", ACTION_COPY, "archive", "copy to archive: \"a@x.example\" if tls", "a@x.example", false },
		{ "redirect to boss: \"a@x.example\"", ACTION_REDIRECT, "boss", "redirect to boss: \"a@x.example\"", "a@x.example", false },
		{ "log note: \"f\xc3\xbcr uns\" if tls", ACTION_LOG, "note", "log note: \"f\xc3\xbcr uns\" if tls", "f\xc3\xbcr uns", false },
		{ "observe reject x:\n  \"no\"  if\ttls # why\n and spf=pass", ACTION_REJECT, "x",
		  "observe reject x: \"no\" if tls and spf=pass", "550 5.7.1 no", true },
	};

	policy_facts_register();
	for (size_t i = 0; i < sizeof(rules) / sizeof(*rules); i++) {
		AUTO(policy) struct policy *p = policy_parse("p", rules[i].text, strlen(rules[i].text), NULL, NULL, NULL);
		const struct rule *r;

		if (!rules[i].name) {
			assert_null(p);
			continue;
		}
		assert_non_null(p);
		r = policy_rule(p, 0);
		assert_int_equal(r->action, rules[i].action);
		assert_string_equal(r->name, rules[i].name);
		assert_string_equal(r->text, rules[i].shown);
		assert_true(!r->reply || !r->argument);
		assert_int_equal(r->reply || r->argument, !!rules[i].said);
		if (rules[i].said)
			assert_string_equal(r->reply ? r->reply : r->argument, rules[i].said);
		assert_int_equal(r->score, r->action != ACTION_SCORE ? 0 : strchr(rules[i].text, '+') ? 2 : -1000000);
		assert_int_equal(r->observe, rules[i].observe);
		assert_null(policy_rule(p, 1));
	}
}

/* n times `part`, between head and tail. */
static char *repeated(const char *head, const char *part, size_t n, const char *tail)
{
	struct buf b = BUF_INIT(8 << 20);

	buf_adds(&b, head);
	for (size_t i = 0; i < n; i++)
		buf_adds(&b, part);
	buf_adds(&b, tail);
	return buf_steal(&b);
}

static void test_bounds(void **state)
{
	static const struct {
		const char *head, *part;
		size_t n;
		const char *tail, *error;
	} at[] = {
		{ "", "accept if tls\n", POLICY_RULES_MAX, "", NULL },
		{ "", "accept if tls\n", POLICY_RULES_MAX + 1, "",
		  "p:10001:1: too many rules, expected at most 10000\n" },
		{ "", "score +1 if tls\n", POLICY_SCORES_MAX, "", NULL },
		{ "", "score +1 if tls\n", POLICY_SCORES_MAX + 1, "", "p:1025:1: too many score rules, expected at most 1024\n" },
		{ "reject if ", "(", 49, "tls",
		  "p:1:63: the end of the file inside parentheses, expected and, or or )\n" },
		{ "reject if ", "(", 51, "tls",
		  "p:1:62: a condition nested too deeply, expected at most 50 levels\n" },
		{ "reject if ", "not ", 50, "tls", NULL },
		{ "reject if ", "not ", 51, "tls",
		  "p:1:215: a condition nested too deeply, expected at most 50 levels\n" },
		{ "reject if ", "not ", 100000, "tls",
		  "p:1:215: a condition nested too deeply, expected at most 50 levels\n" },
		{ "reject if tls", " or tls", 100000, "", NULL },
		{ "reject if tls", " or tls", 200000, "",
		  "p:1:1400004: too many comparisons, expected at most 200000 in all conditions\n" },
		{ "reject if dnsbl.score in (1", ", 1", POLICY_VALUES_MAX - 1, ")", NULL },
		{ "reject if dnsbl.score in (1", ", 1", POLICY_VALUES_MAX, ")",
		  "p:1:30027: too many values, expected at most 10000 here (more: list NAME = file \"...\")\n" },
		{ "list a = {", " a.example,", POLICY_VALUES_MAX + 1, "}",
		  "p:1:110012: too many entries, expected at most 10000 here (more: file \"...\")\n" },
		{ "list a = { ", "a", 321, "}",
		  "p:1:12: an entry of 321 bytes, expected 1 to 320\n" },
		{ "reject if header.subject ~ /", "a", 1000, "/", NULL },
		{ "reject if header.subject ~ /", "a", 1001, "/",
		  "p:1:28: a regular expression of 1001 bytes, expected 1 to 1000\n" },
		{ "reject if header.subject ~ /", "(", 60, "/",
		  "p:1:80: parentheses are too deeply nested, expected a Perl regular expression\n" },
		{ "reject if header.subject = \"", "a", 1001, "\"",
		  "p:1:28: a value of 1003 bytes, expected at most 1000\n" },
		{ "reject \"", "a", 460, "\"", NULL },
		{ "reject \"", "a", 461, "\"",
		  "p:1:8: a reply of 461 characters, expected at most 460\n" },
		{ "reject \"", "a", 3000, "\"",
		  "p:1:8: a text of 3000 bytes, expected fewer than 500\n" },
		{ "tag \"", "a", 101, "\"",
		  "p:1:5: a subject prefix of 101 bytes, expected 1 to 100 characters of printable ASCII (others as an RFC 2047 word)\n" },
		{ "reject ", "a", 41, ": if tls",
		  "p:1:8: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa: cannot be a label, expected letters, digits, - and _ that are no word of the language\n" },
		{ "", "#", POLICY_TEXT_MAX, "", NULL },
		{ "", "#", POLICY_TEXT_MAX + 1, "",
		  "p:1:1: a policy of 4194305 bytes, expected at most 4194304\n" },
	};

	policy_facts_register();
	for (size_t i = 0; i < sizeof(at) / sizeof(*at); i++) {
		AUTO(buf) struct buf errors = BUF_INIT(16 * 1024);
		char *text = repeated(at[i].head, at[i].part, at[i].n, at[i].tail);
		struct policy *p = policy_parse("p", text, strlen(text), NULL, &errors, NULL);

		if (!!p != !at[i].error ||
		    strcmp(buf_str(&errors), at[i].error ? at[i].error : "") != 0)
			fail_msg("%s%s...\ngot:    %swanted: %s", at[i].head, at[i].part,
				 buf_str(&errors), at[i].error ? at[i].error : "nothing\n");
		policy_free(p);
		free(text);
	}
}

/* What people are shown of a rule: all of it, or of one without end a part that says so. */
static void test_shown(void **state)
{
	for (size_t len = 1900; len < 6000; len += 2000) {
		AUTO(buf) struct buf errors = BUF_INIT(10000);
		char text[6100];
		size_t n = (size_t)sprintf(text, "accept if sender.null");
		struct policy *p;

		while (n < len)
			n += (size_t)sprintf(text + n, " or sender.null");
		p = policy_parse("p", text, n, NULL, &errors, NULL);
		assert_non_null(p);
		if (len < 2000) {
			assert_string_equal(policy_rule(p, 0)->text, text);
		} else {
			assert_memory_equal(policy_rule(p, 0)->text, text, 2000);
			assert_string_equal(policy_rule(p, 0)->text + 2000, "...");
		}
		policy_free(p);
	}
}

static void test_many_errors(void **state)
{
	AUTO(buf) struct buf errors = BUF_INIT(16 * 1024);
	char *text = repeated("", "reject if x\n", 100, "");
	size_t lines = 0;

	policy_facts_register();
	assert_null(policy_parse("p", text, strlen(text), NULL, &errors, NULL));
	for (const char *p = buf_str(&errors); (p = strchr(p, '\n')); p++)
		lines++;
	assert_int_equal(lines, POLICY_ERRORS_MAX + 1);
	assert_non_null(strstr(buf_str(&errors), "\np: 80 more errors\n"));
	free(text);
}

static void write_file(const char *dir, const char *name, const char *text)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

/* policy_load, and list files beside the policy. */
static void test_files(void **state)
{
	char dir[] = "/tmp/test_policy.XXXXXX", path[256];
	AUTO(buf) struct buf errors = BUF_INIT(16 * 1024), want = BUF_INIT(1000);
	struct policy *p;

	policy_facts_register();
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/policy.conf", dir);
	write_file(dir, "policy.conf", "list a = file \"list.txt\"\naccept if client.ip in a\n");
	write_file(dir, "list.txt",
		   "# known\n192.0.2.0/24   # ours\n\n  \"any text\"  # said so\r\nb.example\n");
	p = policy_load(path, &errors, NULL);
	assert_non_null(p);
	assert_int_equal(policy_rule_count(p), 1);
	policy_free(p);

	write_file(dir, "list.txt", "192.0.2.0/24\n  a b\n\"x\n\"x\" y\n");
	assert_null(policy_load(path, &errors, NULL));
	assert_string_equal(buf_str(&errors),
		"list.txt:2:3: a b is no entry, expected a domain, a mailbox, an address, a network, a /regular expression/, or any text in double quotes\n"
		"list.txt:3:1: a text without its end, expected \" on the same line\n"
		"list.txt:4:1: something after the text, expected the end of the line\n");

	write_file(dir, "policy.conf", "list a = file \"none.txt\"\naccept if client.ip in a\n");
	buf_clear(&errors);
	assert_null(policy_load(path, &errors, NULL));
	buf_addf(
		&want,
		"%s:1:15: \"none.txt\" cannot be read (No such file or directory), expected a list file\n",
		path);
	buf_addf(&want, "%s:2:24: ", path);
	assert_memory_equal(buf_str(&errors), buf_str(&want),
			    strchr(buf_str(&want), '\n') - buf_str(&want));

	buf_clear(&errors);
	assert_null(policy_load(dir, &errors, NULL));
	assert_non_null(strstr(buf_str(&errors), ": not a file, expected a policy file\n"));
	buf_clear(&errors);
	assert_null(policy_load("/nonexistent/policy.conf", &errors, NULL));
	assert_string_equal(
		buf_str(&errors),
		"/nonexistent/policy.conf: No such file or directory, expected a policy file\n");
	unlink(path);
	snprintf(path, sizeof(path), "%s/list.txt", dir);
	unlink(path);
	rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_warnings),
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_shown),
		cmocka_unit_test(test_many_errors),
		cmocka_unit_test(test_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
