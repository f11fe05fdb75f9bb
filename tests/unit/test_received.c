/* received: who had connected, by the Received fields of those who write them */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "filters/received.h"

#define DATE "; Sun, 22 Nov 2026 10:00:00 +0000"

static const struct row {
	const char *name, *in, *addr, *helo;
	bool esmtp, tls;
	const char *version;
} clients[] = {
	/* Postfix: smtpd writes HELO, then the name that DNS confirms, or unknown */
	{ "postfix", " from mail.example.net (mail.example.net [192.0.2.7])\r\n\tby mx2.example.com (Postfix) with ESMTP id 4XyZ1a2b3c\r\n\tfor <a@example.com>" DATE " (UTC)",
	  "192.0.2.7", "mail.example.net", true, false, NULL },
	{ "postfix tls", " from mail.example.net (unknown [192.0.2.7])\r\n\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)\r\n\t key-exchange X25519 server-signature "
	  "RSA-PSS (2048 bits) server-digest SHA256)\r\n\t(No client certificate requested)\r\n\tby mx2.example.com (Postfix) with ESMTPS id 4XyZ1a\r\n\tfor <a@example.com>" DATE,
	  "192.0.2.7", "mail.example.net", true, true, "TLSv1.3" },
	{ "postfix ipv6", " from m.example.net (m.example.net [IPv6:2001:db8::7])\r\n\tby mx2.example.com (Postfix) with ESMTPS id 1" DATE, "2001:db8::7", "m.example.net", true, true, NULL },
	{ "postfix literal HELO", " from [198.51.100.9] (unknown [192.0.2.7])\r\n\tby mx2.example.com (Postfix) with SMTP id 1" DATE, "192.0.2.7", "[198.51.100.9]", false, false, NULL },
	{ "postfix login", " from [10.0.0.5] (dsl.example.net [192.0.2.7])\r\n\t(Authenticated sender: 198.51.100.9x)\r\n\tby mx2.example.com (Postfix) with ESMTPSA id 1" DATE,
	  "192.0.2.7", "[10.0.0.5]", true, true, NULL },
	{ "postfix smtputf8", " from m.example.net (m.example.net [192.0.2.7]) by mx2 (Postfix) with UTF8SMTPS id 1" DATE, "192.0.2.7", "m.example.net", true, true, NULL },
	{ "postfix mapped", " from m.example.net (m.example.net [IPv6:::ffff:192.0.2.7]) by mx2 (Postfix) with ESMTP id 1" DATE, "192.0.2.7", "m.example.net", true, false, NULL },
	/* Sendmail */
	{ "sendmail", " from mail.example.net (dsl-7.example.org [192.0.2.7])\r\n\tby mx2.example.com (8.17.1/8.17.1) with ESMTPS id 4AMA0\r\n\t(version=TLSv1.2 cipher=X bits=256 verify=NO)\r\n"
	  "\tfor <a@example.com>" DATE, "192.0.2.7", "mail.example.net", true, true, "TLSv1.2" },
	{ "sendmail forged", " from mail.example.net (dsl.example.org [192.0.2.7] (may be forged)) by mx2 (8.14.4/8.14.4) with ESMTP id 1" DATE, "192.0.2.7", "mail.example.net", true,
	  false, NULL },
	{ "sendmail no name", " from mail.example.net ([192.0.2.7]) by mx2 (8.14.4/8.14.4) with SMTP id 1" DATE, "192.0.2.7", "mail.example.net", false, false, NULL },
	{ "sendmail ident", " from mail.example.net (root@dsl.example.org [192.0.2.7]) by mx2 (8.14.4/8.14.4) with SMTP id 1" DATE, "192.0.2.7", "mail.example.net", false, false, NULL },
	{ "sendmail ipv6", " from m.example.net (m.example.net [IPv6:2001:db8:0:0:0:0:0:7]) by mx2 (8.17.1/8.17.1) with ESMTP id 1" DATE, "2001:db8::7", "m.example.net", true, false, NULL },
	/* Exim: host, address, and what else it knows */
	{ "exim", " from mail.example.net ([192.0.2.7])\r\n\tby mx2.example.com with esmtps  (TLS1.3) tls TLS_AES_256_GCM_SHA384\r\n\t(Exim 4.96)\r\n\t(envelope-from <b@example.net>)\r\n"
	  "\tid 1rA2b3-0001\r\n\tfor a@example.com" DATE, "192.0.2.7", "mail.example.net", true, true, "TLSv1.3" },
	{ "exim helo", " from dsl.example.org ([192.0.2.7] helo=mail.example.net)\r\n\tby mx2 with esmtp (Exim 4.94.2)\r\n\tid 1" DATE, "192.0.2.7", "mail.example.net", true, false, NULL },
	{ "exim port", " from dsl.example.org ([192.0.2.7]:50123 helo=mail.example.net ident=mail)\r\n\tby mx2 with smtp (Exim 4.94)\r\n\tid 1" DATE, "192.0.2.7", "mail.example.net", false,
	  false, NULL },
	{ "exim no name", " from [192.0.2.7] (helo=mail.example.net)\r\n\tby mx2 with esmtp (Exim 4.96)\r\n\tid 1" DATE, "192.0.2.7", "mail.example.net", true, false, NULL },
	{ "exim no name, port", " from [192.0.2.7] (port=4321 helo=[198.51.100.9])\r\n\tby mx2 with esmtp (Exim 4.96) id 1" DATE, "192.0.2.7", "[198.51.100.9]", true, false, NULL },
	{ "exim address alone", " from [192.0.2.7]\r\n\tby mx2 with smtp (Exim 4.96) id 1" DATE, "192.0.2.7", "[192.0.2.7]", false, false, NULL },
	{ "exim ipv6", " from m.example.net ([2001:db8::7] helo=x.example.net)\r\n\tby mx2 with esmtps (TLS1.2) (Exim 4.96) id 1" DATE, "2001:db8::7", "x.example.net", true, true, "TLSv1.2" },
	/* qmail */
	{ "qmail", " from unknown (HELO mail.example.net) (192.0.2.7)\n  by mx2.example.com with SMTP; 22 Nov 2026 10:00:00 -0000", "192.0.2.7", "mail.example.net", false, false, NULL },
	{ "qmail ident", " from dsl.example.org (HELO mail.example.net) (joe@192.0.2.7)\r\n  by mx2 with SMTP; 22 Nov 2026 10:00:00 -0000", "192.0.2.7", "mail.example.net", false, false, NULL },
	{ "qmail same name", " from mail.example.net (192.0.2.7)\r\n  by mx2 with SMTP; 22 Nov 2026 10:00:00 -0000", "192.0.2.7", "mail.example.net", false, false, NULL },
	{ "qmail no name", " from unknown (192.0.2.7)\r\n  by mx2 with SMTP; 22 Nov 2026 10:00:00 -0000", "192.0.2.7", "", false, false, NULL },
	{ "EHLO", " from 198.51.100.9  (EHLO mail.example.net) (192.0.2.7)\r\n  by mta1.example.com with SMTPS" DATE, "192.0.2.7", "mail.example.net", false, true, NULL },
	/* Exchange, Exchange Online */
	{ "exchange 2010", " from mail.example.net (192.0.2.7) by EX01.corp.example\r\n (10.1.1.2) with Microsoft SMTP Server id 14.3.498.0" DATE, "192.0.2.7", "mail.example.net", true, false, NULL },
	{ "exchange 2019", " from mail.example.net (192.0.2.7) by EX01.corp.example (10.1.1.2) with Microsoft SMTP\r\n Server (version=TLS1_2, cipher=TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384) id\r\n"
	  " 15.2.1544.11 via Frontend Transport" DATE, "192.0.2.7", "mail.example.net", true, true, "TLSv1.2" },
	{ "exchange online", " from mail.example.net (192.0.2.7) by\r\n DB5EUR01FT042.mail.protection.outlook.com (10.152.4.218) with Microsoft SMTP\r\n Server (version=TLS1_3, "
	  "cipher=TLS_AES_256_GCM_SHA384) id 15.20.7159.15\r\n via Frontend Transport" DATE, "192.0.2.7", "mail.example.net", true, true, "TLSv1.3" },
	{ "exchange online ipv6", " from AM0PR01CA0001.eurprd01.prod.exchangelabs.com (2603:10a6:208::1)\r\n by AM9PR02MB1.eurprd02.prod.outlook.com (2603:10a6:20b::2) with Microsoft SMTP\r\n"
	  " Server (version=TLS1_2, cipher=X) id 15.20.7159.15" DATE, "2603:10a6:208::1", "AM0PR01CA0001.eurprd01.prod.exchangelabs.com", true, true, "TLSv1.2" },
	/* Domino: two lines, and its release */
	{ "domino", " from mail.example.net ([192.0.2.7])\r\n          by notes.example.com (Lotus Domino Release 8.5.3FP6)\r\n          with ESMTP id 2026112211000000-1" DATE, "192.0.2.7",
	  "mail.example.net", true, false, NULL },
	{ "domino 12", " from mail.example.net ([192.0.2.7])\r\n          by notes.example.com (HCL Domino Release 12.0.2)\r\n          with ESMTPS id 1" DATE, "192.0.2.7",
	  "mail.example.net", true, true, NULL },
	{ "domino ipv6", " from mail.example.net ([2001:db8::7]) by notes (IBM Domino Release 9.0.1FP10) with ESMTP id 1" DATE, "2001:db8::7", "mail.example.net", true, false, NULL },
	/* Google */
	{ "google", " from mail.example.net (mail.example.net. [192.0.2.7])\r\n        by mx.google.com with ESMTPS id a1-2002\r\n        for <a@example.com>\r\n"
	  "        (version=TLS1_3 cipher=TLS_AES_256_GCM_SHA384 bits=256/256)" DATE, "192.0.2.7", "mail.example.net", true, true, "TLSv1.3" },
	{ "google ipv6", " from m.example.net (m.example.net. [2001:db8::7])\r\n        by mx.google.com with ESMTP id 1" DATE, "2001:db8::7", "m.example.net", true, false, NULL },
	/* What there is besides */
	{ "no with", " from m.example.net (m.example.net [192.0.2.7]) by mx2" DATE, "192.0.2.7", "m.example.net", false, false, NULL },
	{ "upper case", " FROM m.example.net (M.EXAMPLE.NET [192.0.2.7]) BY mx2 WITH ESMTP" DATE, "192.0.2.7", "m.example.net", true, false, NULL },
	{ "quoted parenthesis", " from m.example.net (x\\)y [192.0.2.7]) by mx2 with SMTP" DATE, "192.0.2.7", "m.example.net", false, false, NULL },
};

static const struct {
	const char *name, *in;
	enum received_kind kind;
} others[] = {
	{ "google inside", " by 2002:a05:6000:1a8f:b0:37d:1 with SMTP id f15csp1" DATE, RECEIVED_SILENT },
	{ "google out", " by mail-ej1-f53.google.com with SMTP id a640c23a62f3a" DATE, RECEIVED_SILENT },
	{ "qmail first", " (qmail 12345 invoked from network); 22 Nov 2026 10:00:00 -0000", RECEIVED_HANDED_ON },
	{ "qmail local", " (qmail 12345 invoked by uid 1000); 22 Nov 2026 10:00:00 -0000", RECEIVED_ORIGIN },
	{ "qmail alias", " (qmail 12345 invoked by alias); 22 Nov 2026 10:00:00 -0000", RECEIVED_ORIGIN },
	{ "postfix local", " by mx2.example.com (Postfix, from userid 1000)\r\n\tid 4XyZ1a2b3c" DATE, RECEIVED_ORIGIN },
	{ "sendmail local", " (from root@localhost)\r\n\tby mx2.example.com (8.17.1/8.17.1/Submit) id 4AMA0" DATE, RECEIVED_UNREADABLE },
	{ "exim local", " from root by mx2.example.com with local (Exim 4.96)\r\n\t(envelope-from <root@mx2>)\r\n\tid 1" DATE, RECEIVED_ORIGIN },
	{ "exchange mapi", " from EX01.corp.example ([fe80::1]) by EX01.corp.example\r\n ([fe80::1%15]) with mapi id 15.02.1544.011" DATE, RECEIVED_ORIGIN },
	{ "outlook web", " from AM9PR02MB1.eurprd02.prod.outlook.com ([fe80::1]) by AM9 with HTTPS" DATE, RECEIVED_ORIGIN },
	{ "fetchmail", " from pop.example.net (pop.example.net [192.0.2.7]) by mx2 with POP3 (fetchmail-6.4.37)" DATE, RECEIVED_ORIGIN },
	{ "empty", "", RECEIVED_UNREADABLE },
	{ "blanks", " \r\n\t ", RECEIVED_UNREADABLE },
	{ "date alone", DATE, RECEIVED_UNREADABLE },
	{ "from alone", " from", RECEIVED_UNREADABLE },
	{ "no by", " from m.example.net (m.example.net [192.0.2.7])" DATE, RECEIVED_UNREADABLE },
	{ "by behind the date", " from m.example.net (m.example.net [192.0.2.7]); x by mx2", RECEIVED_UNREADABLE },
	{ "two by", " from m.example.net (m [192.0.2.7]) by a by b with SMTP" DATE, RECEIVED_UNREADABLE },
	{ "no address", " from m.example.net (m.example.net) by mx2 with SMTP" DATE, RECEIVED_UNREADABLE },
	{ "no comment", " from m.example.net by mx2 with SMTP" DATE, RECEIVED_UNREADABLE },
	{ "the client's word", " from [192.0.2.7] by mx2 (Postfix) with SMTP" DATE, RECEIVED_UNREADABLE },
	{ "the client's word, helo", " from [192.0.2.7] (helo=m) by mx2 (Postfix) with SMTP" DATE, RECEIVED_UNREADABLE },
	{ "helo without address", " from m.example.net (helo=m) by mx2 with smtp (Exim 4.96)" DATE, RECEIVED_UNREADABLE },
	{ "exim with more", " from m ([192.0.2.7] helo=m x=y) by mx2 with smtp (Exim 4.96)" DATE, RECEIVED_UNREADABLE },
	{ "exim port of letters", " from m ([192.0.2.7]:smtp) by mx2 with smtp (Exim 4.96)" DATE, RECEIVED_UNREADABLE },
	{ "exim port too long", " from m ([192.0.2.7]:123456) by mx2 with smtp (Exim 4.96)" DATE, RECEIVED_UNREADABLE },
	{ "exim empty port", " from m ([192.0.2.7]: helo=m) by mx2 with smtp (Exim 4.96)" DATE, RECEIVED_UNREADABLE },
	{ "two addresses", " from evil (198.51.100.9) (192.0.2.7) by mx2 with Microsoft SMTP Server" DATE, RECEIVED_UNREADABLE },
	{ "two addresses, named", " from evil (good [198.51.100.9]) (evil [192.0.2.7]) by mx2 (Postfix) with SMTP" DATE, RECEIVED_UNREADABLE },
	{ "three comments", " from evil (HELO x) (198.51.100.9) (192.0.2.7) by mx2 with SMTP" DATE, RECEIVED_UNREADABLE },
	{ "address behind words", " from evil (x y [192.0.2.7]) by mx2 (Postfix) with SMTP" DATE, RECEIVED_UNREADABLE },
	{ "words behind address", " from evil (x [192.0.2.7] y) by mx2 (Postfix) with SMTP" DATE, RECEIVED_UNREADABLE },
	{ "name with bracket", " from evil ([x [192.0.2.7]) by mx2 (Postfix) with SMTP" DATE, RECEIVED_UNREADABLE },
	{ "HELO without address", " from x (HELO m) by mx2 with SMTP" DATE, RECEIVED_UNREADABLE },
	{ "HELO with a name", " from x (HELO m) (m.example.net) by mx2 with SMTP" DATE, RECEIVED_UNREADABLE },
	{ "octet too large", " from m (m [192.0.2.256]) by mx2 with SMTP" DATE, RECEIVED_UNREADABLE },
	{ "leading zero", " from m (m [192.0.2.07]) by mx2 with SMTP" DATE, RECEIVED_UNREADABLE },
	{ "three octets", " from m (m [192.0.2]) by mx2 with SMTP" DATE, RECEIVED_UNREADABLE },
	{ "a network", " from m (m [192.0.2.0/24]) by mx2 with SMTP" DATE, RECEIVED_UNREADABLE },
	{ "a zone", " from m (m [fe80::1%eth0]) by mx2 with SMTP" DATE, RECEIVED_UNREADABLE },
	{ "unknown address", " from m (unknown [unknown]) by mx2 (Postfix) with SMTP" DATE, RECEIVED_UNREADABLE },
	{ "unix socket", " from m (m [unix:/run/x]) by mx2 with SMTP" DATE, RECEIVED_UNREADABLE },
	{ "empty brackets", " from m (m []) by mx2 with SMTP" DATE, RECEIVED_UNREADABLE },
	{ "open bracket", " from m (m [192.0.2.7) by mx2 with SMTP" DATE, RECEIVED_UNREADABLE },
	{ "open comment", " from m (m [192.0.2.7] by mx2 with SMTP" DATE, RECEIVED_UNREADABLE },
	{ "closed too often", " from m (m [192.0.2.7])) by mx2 with SMTP" DATE, RECEIVED_UNREADABLE },
	{ "closed first", " from ) (m [192.0.2.7]) by mx2 with SMTP" DATE, RECEIVED_UNREADABLE },
	{ "ends in a backslash", " from m (m [192.0.2.7]\\", RECEIVED_UNREADABLE },
	{ "nested deep", " from m ((((((m [192.0.2.7])))))) by mx2 with SMTP" DATE, RECEIVED_UNREADABLE },
	{ "comment for a name", " from (m [192.0.2.7]) by mx2 with SMTP" DATE, RECEIVED_UNREADABLE },
	{ "words before from", " x from m (m [192.0.2.7]) by mx2 with SMTP" DATE, RECEIVED_UNREADABLE },
	{ "words before by", " from m (m [192.0.2.7]) x by mx2 with SMTP" DATE, RECEIVED_UNREADABLE },
	{ "comments without end", " from m (m [192.0.2.7]) (a)(a)(a)(a)(a)(a)(a)(a)(a)(a)(a)(a)(a)(a)(a)(a)(a) by mx2 with SMTP" DATE, RECEIVED_UNREADABLE },
};

/* A copy with nothing behind it, so that a step too far is seen. */
static void parse(const char *in, size_t len, struct received *r)
{
	char *p = malloc(len ? len : 1);

	assert_non_null(p);
	memcpy(p, in, len);
	received_parse(p, len, r);
	free(p);
}

static void forms(void **state)
{
	for (size_t i = 0; i < sizeof(clients) / sizeof(*clients); i++) {
		const struct row *row = &clients[i];
		struct net_addr want;
		struct received r;
		char ip[NET_TEXT_MAX];

		parse(row->in, strlen(row->in), &r);
		assert_int_equal(net_parse(row->addr, &want), 0);
		if (r.kind != RECEIVED_CLIENT)
			fail_msg("%s: kind %d", row->name, r.kind);
		if (!net_same_ip(&r.addr, &want) || strcmp(r.helo, row->helo) != 0)
			fail_msg("%s: %s %s", row->name, net_text(&r.addr, ip), r.helo);
		if (r.esmtp != row->esmtp || r.tls != row->tls || (r.tls_version ? !row->version || strcmp(r.tls_version, row->version) != 0 : row->version != NULL))
			fail_msg("%s: esmtp %d tls %d %s", row->name, r.esmtp, r.tls, r.tls_version ? r.tls_version : "-");
	}
}

static void no_client(void **state)
{
	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
		struct received r;

		parse(others[i].in, strlen(others[i].in), &r);
		if (r.kind != others[i].kind || r.addr.family || r.helo[0])
			fail_msg("%s: kind %d family %d helo %s", others[i].name, r.kind, r.addr.family, r.helo);
	}
}

/* Cut anywhere it is another line, or none, and never a client with another address. */
static void cut(void **state)
{
	for (size_t i = 0; i < sizeof(clients) / sizeof(*clients); i++) {
		struct net_addr want;

		assert_int_equal(net_parse(clients[i].addr, &want), 0);
		for (size_t n = 0; n < strlen(clients[i].in); n++) {
			struct received r;

			parse(clients[i].in, n, &r);
			if (r.kind == RECEIVED_CLIENT && !net_same_ip(&r.addr, &want))
				fail_msg("%s cut to %zu: another address", clients[i].name, n);
		}
	}
}

static void bounds(void **state)
{
	char line[RECEIVED_MAX + 2] = " from m (m [192.0.2.7]) by mx2 with SMTP;", name[400];
	struct received r;
	size_t n = strlen(line);

	memset(line + n, 'x', sizeof(line) - n);
	parse(line, RECEIVED_MAX, &r);
	assert_int_equal(r.kind, RECEIVED_CLIENT);
	parse(line, RECEIVED_MAX + 1, &r);
	assert_int_equal(r.kind, RECEIVED_UNREADABLE);
	line[n] = '\0';
	parse(line, n + 1, &r);
	assert_int_equal(r.kind, RECEIVED_UNREADABLE);
	/* A name that is too long, or has odd octets, is no name; the address stands. */
	strcpy(name, " from ");
	memset(name + 6, 'a', 300);
	strcpy(name + 306, " (m [192.0.2.7]) by mx2 with SMTP");
	parse(name, strlen(name), &r);
	assert_int_equal(r.kind, RECEIVED_CLIENT);
	assert_string_equal(r.helo, "");
	parse(" from a\001\377b (m [192.0.2.7]) by mx2", 33, &r);
	assert_int_equal(r.kind, RECEIVED_CLIENT);
	assert_string_equal(r.helo, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(forms),
		cmocka_unit_test(no_client),
		cmocka_unit_test(cut),
		cmocka_unit_test(bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
