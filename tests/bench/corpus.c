/*
 * corpus - the messages of the bench, and the zones that vouch for them
 *
 *     corpus DIR DOMAINS MESSAGES SEED KEY.pem
 *
 * writes below DIR
 *     root.zone                the root zone: SPF, DKIM keys, DMARC, PTR, two DNSBLs
 *     cold.dat, cold.idx       one message of every sender domain, in order: nothing is in any cache
 *     warm.dat, warm.idx       MESSAGES messages of domains chosen by Zipf's law
 *
 * The same arguments give the same bytes (the Date field and the signatures' t= are constants). A line of an index is
 * "offset bytes source helo sender recipient"; the bytes are what is sent between DATA's 354 and the final dot, with
 * nothing to stuff.
 *
 * Sizes are lognormal, median 15 KB and 95th percentile 500 KB, at most 10 MB; they are taken from the distribution's
 * quantiles and shuffled, so that a small corpus has the same mean as a large one.
 *
 * Domain dNNNN.bench.example sends from its own address in 198.18.0.0/15 (RFC 2544). Its SPF record includes a record
 * that includes the record with that address. Of the domains a quarter has its key behind a CNAME, an eighth signs with
 * ed25519 too, a sixth writes as a.b.c.dNNNN, so that DMARC walks up four names.
 */
#include <assert.h>
#include <math.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <opendkim/dkim.h>

enum {
	MESSAGE_MAX = 10 * 1000 * 1000,
	FILLER_BYTES = 1 << 20,
	CUSTOMERS = 200,                /* recipients */
	MOMENT = 1700000000,
};

static const double median_bytes = 15e3, p95_bytes = 500e3;

static uint64_t seed;

static uint64_t random64(void)          /* splitmix64 */
{
	uint64_t z = seed += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static size_t random_below(size_t n)
{
	return random64() % n;
}

static double random_unit(void)
{
	return (double)(random64() >> 11) / 9007199254740992.0;
}

/* What a message is made of: lines of words, and lines of 76 letters as base64 has them. */

static char text_filler[FILLER_BYTES + 128], base64_filler[FILLER_BYTES + 128];

static void fillers_make(void)
{
	static const char *const words[] = { "the", "invoice", "meeting", "of", "and", "to", "quarter", "please",
		"find", "attached", "regards", "server", "Thursday", "report", "a", "is", "customer", "delivery" };
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t at = 0;

	while (at < FILLER_BYTES) {
		size_t line = at + 40 + random_below(32);

		while (at < line) {
			const char *w = words[random_below(sizeof words / sizeof *words)];

			at += (size_t)sprintf(text_filler + at, "%s ", w);
		}
		memcpy(text_filler + at - 1, "\r\n", 2);
		at++;
	}
	for (at = 0; at < FILLER_BYTES; at += 2) {
		for (int i = 0; i < 76; i++)
			base64_filler[at++] = letters[random_below(64)];
		memcpy(base64_filler + at, "\r\n", 2);
	}
}

struct text {
	char *p;
	size_t len;
};

static void text_add(struct text *t, const char *s)
{
	size_t n = strlen(s);

	memcpy(t->p + t->len, s, n);
	t->len += n;
}

/* Whole lines out of a filler, from a line's start somewhere in it, about `bytes` of them. */
static void text_fill(struct text *t, const char *filler, size_t bytes)
{
	size_t end = t->len + bytes;

	while (t->len < end) {
		const char *p = strchr(filler + random_below(FILLER_BYTES / 2), '\n') + 1;
		size_t n = end - t->len;
		const char *stop;

		if (n > FILLER_BYTES / 4)
			n = FILLER_BYTES / 4;
		stop = strchr(p + n, '\n') + 1;
		memcpy(t->p + t->len, p, (size_t)(stop - p));
		t->len += (size_t)(stop - p);
	}
}

/* Sizes */

/* The x with P(X < x) = p of the standard normal distribution, by bisection. */
static double normal_quantile(double p)
{
	double low = -9, high = 9;

	for (int i = 0; i < 60; i++) {
		double mid = (low + high) / 2;

		if (erfc(-mid / M_SQRT2) / 2 < p)
			low = mid;
		else
			high = mid;
	}
	return low;
}

static size_t *sizes_make(size_t count)
{
	size_t *size = calloc(count, sizeof *size);
	double sigma = log(p95_bytes / median_bytes) / normal_quantile(0.95);

	assert(size);
	for (size_t i = 0; i < count; i++) {
		double s = median_bytes * exp(sigma * normal_quantile(((double)i + 0.5) / (double)count));

		size[i] = s < 400 ? 400 : s > MESSAGE_MAX ? MESSAGE_MAX : (size_t)s;
	}
	for (size_t i = count; i > 1; i--) {
		size_t j = random_below(i), keep = size[i - 1];

		size[i - 1] = size[j];
		size[j] = keep;
	}
	return size;
}

/* Domains */

static bool domain_cnamed(size_t d)
{
	return d % 4 == 2;
}

static bool domain_dual(size_t d)
{
	return d % 8 == 3;
}

static bool domain_walks(size_t d)
{
	return d % 6 == 1;
}

static void domain_address(size_t d, char out[32])
{
	snprintf(out, 32, "198.%zu.%zu.%zu", 18 + d / 50000, d / 200 % 250, d % 200 + 2);
}

/* Keys */

struct keys {
	char *rsa_pem, *ed25519_pem;
	char *rsa_public, *ed25519_public;      /* as p= has them */
};

static char *pem_text(EVP_PKEY *key)
{
	BIO *b = BIO_new(BIO_s_mem());
	char *p, *out;
	long n;

	assert(PEM_write_bio_PrivateKey(b, key, NULL, NULL, 0, NULL, NULL) == 1);
	n = BIO_get_mem_data(b, &p);
	out = strndup(p, (size_t)n);
	BIO_free(b);
	return out;
}

static char *base64(const unsigned char *p, size_t len)
{
	char *out = malloc(len * 2 + 8);

	assert(out);
	EVP_EncodeBlock((unsigned char *)out, p, (int)len);
	return out;
}

static void keys_load(struct keys *k, const char *path)
{
	static const unsigned char secret[32] = "the secret of the bench, 32 long";
	unsigned char *der = NULL, raw[32];
	size_t raw_len = sizeof raw;
	FILE *f = fopen(path, "r");
	EVP_PKEY *rsa, *ed;
	int n;

	assert(f);
	rsa = PEM_read_PrivateKey(f, NULL, NULL, NULL);
	fclose(f);
	ed = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, secret, sizeof secret);
	assert(rsa && ed);
	k->rsa_pem = pem_text(rsa);
	k->ed25519_pem = pem_text(ed);
	n = i2d_PUBKEY(rsa, &der);
	assert(n > 0 && EVP_PKEY_get_raw_public_key(ed, raw, &raw_len) == 1);
	k->rsa_public = base64(der, (size_t)n);
	k->ed25519_public = base64(raw, raw_len);
	OPENSSL_free(der);
	EVP_PKEY_free(rsa);
	EVP_PKEY_free(ed);
}

/* Zones */

static void zone_write_key(FILE *f, const char *name, const char *type, const char *p)
{
	fprintf(f, "%s TXT \"v=DKIM1; k=%s; p=\"", name, type);
	for (; *p; p += strlen(p) < 200 ? strlen(p) : 200)
		fprintf(f, " \"%.200s\"", p);
	fputc('\n', f);
}

static void zone_write_domain(FILE *f, size_t d, const struct keys *k)
{
	char ip[32], name[64], key[128];
	unsigned a[4];
	static const char *const policy[] = { "none", "quarantine", "reject" };

	domain_address(d, ip);
	assert(sscanf(ip, "%u.%u.%u.%u", &a[0], &a[1], &a[2], &a[3]) == 4);
	snprintf(name, sizeof name, "d%04zu.bench.example.", d);
	fprintf(f, "%s A %s\n%s MX 10 mail.%s\nmail.%s A %s\n", name, ip, name, name, name, ip);
	fprintf(f, "%u.%u.%u.%u.in-addr.arpa. PTR mail.%s\n", a[3], a[2], a[1], a[0], name);
	fprintf(f, "%s TXT \"v=spf1 include:_spf.d%04zu.bench.example -all\"\n", name, d);
	fprintf(f, "_spf.%s TXT \"v=spf1 ip4:192.0.2.0/24 include:_nets.d%04zu.bench.example ~all\"\n", name, d);
	fprintf(f, "_nets.%s TXT \"v=spf1 ip4:198.51.100.0/24 ip4:%s ~all\"\n", name, ip);
	snprintf(key, sizeof key, "s1._domainkey.%s", name);
	if (domain_cnamed(d)) {
		fprintf(f, "%s CNAME d%04zu.keys.bench.example.\n", key, d);
		snprintf(key, sizeof key, "d%04zu.keys.bench.example.", d);
	}
	zone_write_key(f, key, "rsa", k->rsa_public);
	if (domain_dual(d)) {
		snprintf(key, sizeof key, "e1._domainkey.%s", name);
		zone_write_key(f, key, "ed25519", k->ed25519_public);
	}
	fprintf(f, "_dmarc.%s TXT \"v=DMARC1; p=%s; rua=mailto:dmarc@d%04zu.bench.example\"\n", name, policy[d % 3], d);
	if (domain_walks(d))
		fprintf(f, "a.b.c.%s A %s\n", name, ip);
}

static void zone_write(const char *path, size_t domains, const struct keys *k)
{
	FILE *f = fopen(path, "w");

	assert(f);
	/* Long lives, of negative answers too: what is cached stays so for a run. */
	fputs("$TTL 86400\n. SOA ns.root. admin.root. 1 3600 600 86400 86400\n. NS ns.root.\nns.root. A 127.0.0.1\n"
	      "2.0.0.127.bl1.bench.example. A 127.0.0.2\n2.0.0.127.bl1.bench.example. TXT \"listed\"\n"
	      "2.0.0.127.bl2.bench.example. A 127.0.0.2\n2.0.0.127.bl2.bench.example. TXT \"listed\"\n"
	      "site.example. A 127.0.0.1\ngate.site.example. A 127.0.0.1\n", f);
	for (size_t d = 0; d < domains; d++)
		zone_write_domain(f, d, k);
	assert(fclose(f) == 0);
}

/* Messages */

static void sign_with(DKIM_LIB *lib, const struct text *t, size_t headers, const char *pem, const char *selector,
		      const char *domain, dkim_alg_t algorithm, dkim_canon_t body, struct text *out)
{
	unsigned char field[4096];
	DKIM_STAT rc;
	DKIM *d = dkim_sign(lib, (const unsigned char *)"bench", NULL, (dkim_sigkey_t)pem, (const unsigned char *)selector,
			    (const unsigned char *)domain, DKIM_CANON_RELAXED, body, algorithm, -1, &rc);
	const char *p = t->p, *end = t->p + headers;

	assert(d && rc == DKIM_STAT_OK);
	while (p < end) {                       /* a field: up to a line that does not go on */
		const char *q = p;

		do
			q = strchr(q, '\n') + 1;
		while (*q == ' ' || *q == '\t');
		assert(dkim_header(d, (unsigned char *)p, (size_t)(q - p) - 2) == DKIM_STAT_OK);
		p = q;
	}
	assert(dkim_eoh(d) == DKIM_STAT_OK);
	assert(dkim_body(d, (unsigned char *)end + 2, t->len - headers - 2) == DKIM_STAT_OK);
	assert(dkim_eom(d, NULL) == DKIM_STAT_OK);
	assert(dkim_getsighdr(d, field, sizeof field, sizeof DKIM_SIGNHEADER + 1) == DKIM_STAT_OK);
	text_add(out, "DKIM-Signature: ");
	for (const char *s = (const char *)field; *s; s++) {
		if (*s == '\n' && out->p[out->len - 1] != '\r')
			out->p[out->len++] = '\r';
		out->p[out->len++] = *s;
	}
	text_add(out, "\r\n");
	dkim_free(d);
}

static size_t message_make(struct text *t, size_t d, size_t number, size_t bytes)
{
	bool attachment = bytes > 6000 && number % 3;
	char head[2048];
	size_t headers;

	t->len = 0;
	snprintf(head, sizeof head,
		 "Received: from inner.d%04zu.bench.example (inner.d%04zu.bench.example [10.1.2.3])\r\n"
		 "\tby mail.d%04zu.bench.example with ESMTPS id %zx for <c%zu@site.example>;\r\n"
		 "\tTue, 14 Nov 2023 22:13:18 +0000\r\n"
		 "Date: Tue, 14 Nov 2023 22:13:20 +0000\r\nFrom: Sender %zu <news@%sd%04zu.bench.example>\r\n"
		 "To: Customer <c%zu@site.example>\r\nSubject: Number %zu of the bench, with a subject of usual length\r\n"
		 "Message-ID: <%zu.%zu@d%04zu.bench.example>\r\nMIME-Version: 1.0\r\n"
		 "Content-Type: %s\r\nList-Unsubscribe: <https://d%04zu.bench.example/u/%zu>\r\n\r\n",
		 d, d, d, number, number % CUSTOMERS, d, domain_walks(d) ? "a.b.c." : "", d, number % CUSTOMERS, number,
		 number, d, d, attachment ? "multipart/mixed; boundary=\"=_part\"" : "text/plain; charset=utf-8", d, number);
	text_add(t, head);
	headers = t->len - 2;
	if (attachment) {
		text_add(t, "--=_part\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n");
		text_fill(t, text_filler, 1500);
		text_add(t, "\r\n--=_part\r\nContent-Type: application/pdf; name=report.pdf\r\n"
			    "Content-Transfer-Encoding: base64\r\n\r\n");
		if (bytes > t->len)
			text_fill(t, base64_filler, bytes - t->len);
		text_add(t, "--=_part--\r\n");
	} else {
		text_fill(t, text_filler, bytes > t->len ? bytes - t->len : 80);
	}
	t->p[t->len] = 0;
	return headers;
}

struct maker {
	DKIM_LIB *lib;
	struct keys keys;
	struct text body, signature;
};

static void message_write(struct maker *m, FILE *data, FILE *index, size_t *offset, size_t d, size_t number, size_t bytes)
{
	char domain[64], ip[32];
	size_t headers = message_make(&m->body, d, number, bytes), total;
	dkim_canon_t canon = number % 4 == 1 ? DKIM_CANON_SIMPLE : DKIM_CANON_RELAXED;

	snprintf(domain, sizeof domain, "d%04zu.bench.example", d);
	m->signature.len = 0;
	sign_with(m->lib, &m->body, headers, m->keys.rsa_pem, "s1", domain, DKIM_SIGN_RSASHA256, canon, &m->signature);
	if (domain_dual(d))
		sign_with(m->lib, &m->body, headers, m->keys.ed25519_pem, "e1", domain, DKIM_SIGN_ED25519SHA256, canon,
			  &m->signature);
	total = m->signature.len + m->body.len;
	assert(fwrite(m->signature.p, 1, m->signature.len, data) == m->signature.len);
	assert(fwrite(m->body.p, 1, m->body.len, data) == m->body.len);
	domain_address(d, ip);
	fprintf(index, "%zu %zu %s mail.%s news@%s c%zu@site.example\n", *offset, total, ip, domain, domain,
		number % CUSTOMERS);
	*offset += total;
}

static FILE *open_in(const char *dir, const char *name)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	f = fopen(path, "w");
	if (!f) {
		perror(path);
		exit(1);
	}
	return f;
}

/* zipf: cumulative weights of the domains, or NULL: each in turn. */
static void set_write(struct maker *m, const char *dir, const char *name, size_t domains, size_t count, const double *zipf)
{
	char file[64];
	FILE *data, *index;
	size_t offset = 0, *size = sizes_make(count);

	snprintf(file, sizeof file, "%s.dat", name);
	data = open_in(dir, file);
	snprintf(file, sizeof file, "%s.idx", name);
	index = open_in(dir, file);
	for (size_t i = 0; i < count; i++) {
		size_t d = i % domains;

		if (zipf) {
			double x = random_unit() * zipf[domains - 1];
			size_t low = 0, high = domains - 1;

			while (low < high) {
				size_t mid = (low + high) / 2;

				if (zipf[mid] < x)
					low = mid + 1;
				else
					high = mid;
			}
			d = low;
		}
		message_write(m, data, index, &offset, d, i, size[i]);
	}
	free(size);
	assert(fclose(data) == 0 && fclose(index) == 0);
}

int main(int argc, char **argv)
{
	struct maker m = { 0 };
	uint64_t moment = MOMENT;
	size_t domains, messages;
	char zone[4096];
	double *zipf, sum = 0;

	if (argc != 6) {
		fputs("usage: corpus DIR DOMAINS MESSAGES SEED KEY.pem\n", stderr);
		return 1;
	}
	domains = strtoul(argv[2], NULL, 10);
	messages = strtoul(argv[3], NULL, 10);
	seed = strtoull(argv[4], NULL, 10);
	assert(domains >= 1 && domains <= 9999 && messages >= 1);
	fillers_make();
	keys_load(&m.keys, argv[5]);
	m.lib = dkim_init(NULL, NULL);
	assert(m.lib);
	dkim_options(m.lib, DKIM_OP_SETOPT, DKIM_OPTS_FIXEDTIME, &moment, sizeof moment);
	m.body.p = malloc(MESSAGE_MAX + FILLER_BYTES);
	m.signature.p = malloc(16384);
	zipf = calloc(domains, sizeof *zipf);
	assert(m.body.p && m.signature.p && zipf);
	for (size_t d = 0; d < domains; d++)
		zipf[d] = sum += 1.0 / (double)(d + 1);

	snprintf(zone, sizeof zone, "%s/root.zone", argv[1]);
	zone_write(zone, domains, &m.keys);
	set_write(&m, argv[1], "cold", domains, domains, NULL);
	set_write(&m, argv[1], "warm", domains, messages, zipf);
	free(zipf);
	free(m.body.p);
	free(m.signature.p);
	free(m.keys.rsa_pem);
	free(m.keys.rsa_public);
	free(m.keys.ed25519_pem);
	free(m.keys.ed25519_public);
	dkim_close(m.lib);
	return 0;
}
