/*
 * run_spf_diff - generated SPF records through both engines, and through pyspf where it is installed
 *
 * Zones and records are made from a seeded grammar, some of them slightly broken. Engines may disagree only where a known
 * deviation of libspf2 (or of pyspf) explains it; what stays unexplained fails and is printed with its zone.
 *
 * SPF_DIFF_COUNT (default 3000) and SPF_DIFF_SEED (default 1) choose how many and which.
 */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "filters/spf_engine.h"
#include "support/dns_table.h"

enum { DOMAINS = 5, SHOWN_MAX = 10, ZONE_MAX = 64 * 1024 };

struct sample {
	char *zone, *client, *why[2];
	enum spf_code code[2];
	char local[16];
};

/* Why two of them may differ; holds() looks at the sample, other is libspf2's or pyspf's reason. */
struct deviation {
	const char *name;
	bool (*holds)(const struct sample *s, const char *code, const char *other);
	int count;
};

static uint64_t seed;

static unsigned pick(unsigned n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned)(seed >> 20) % n;
}

static const char *one_of(const char *const *list, size_t count)
{
	return list[pick((unsigned)count)];
}

#define ONE_OF(list) one_of(list, sizeof(list) / sizeof(*(list)))

/* ---- making records ---- */

static void add_domain(struct buf *b)
{
	static const char *const odd[] = {
		"gone1.example", "gone2.example", "gone3.example", "down.example", "%{d}", "h%{l}.example", "%{d2}", "%{ir}.%{v}.arpa.x.example",
		"%{l-}.%{o}", "x..example", "mx.%{o2}", "%{h}", "alias.example", "%{p}.known.example", "%{s}.x.example", "h1.example.",
	};

	if (pick(3) == 0)
		buf_adds(b, ONE_OF(odd));
	else if (pick(3) == 0)
		buf_addf(b, "d%u.example", pick(DOMAINS));
	else
		buf_addf(b, "h%u.example", pick(6));
}

static void add_cidr(struct buf *b)
{
	static const char *const lengths[] = { "/24", "/32", "/30", "//64", "//128", "/24//64", "/31//126", "/8", "/1//1", "/0", "//0" };

	if (pick(3) == 0)
		buf_adds(b, ONE_OF(lengths));
}

static void add_term(struct buf *b)
{
	static const char *const qualifiers[] = { "", "", "", "+", "-", "~", "?" };
	static const char *const broken[] = {
		"ip4:192.0.2", "ip4:192.0.2.1/33", "a:", "include", "exists:", "all:x", "mx/129", "foo", "foo:bar.example", "redirect=", "exp=",
		"a:%{x}.example", "a:%(d)", "a:example", "a:1.2.3.4", "ip6:1::2::3", "ptr/24", "=x", "1x=y", "a:x.example/24/64", "ip4:192.0.2.1/",
	};

	buf_addc(b, ' ');
	if (pick(40) == 0) {
		buf_adds(b, ONE_OF(broken));
		return;
	}
	switch (pick(12)) {
	case 0:
		buf_addf(b, "%sip4:192.0.2.%u", ONE_OF(qualifiers), pick(8));
		if (pick(2))
			buf_addf(b, "/%u", 24 + pick(9));
		break;
	case 1:
		buf_addf(b, "%sip6:2001:db8::%u/%u", ONE_OF(qualifiers), pick(4), 120 + pick(9));
		break;
	case 2:
	case 3:
		buf_addf(b, "%sa", ONE_OF(qualifiers));
		if (pick(4)) {
			buf_addc(b, ':');
			add_domain(b);
		}
		add_cidr(b);
		break;
	case 4:
		buf_addf(b, "%smx", ONE_OF(qualifiers));
		if (pick(2)) {
			buf_addc(b, ':');
			add_domain(b);
		}
		add_cidr(b);
		break;
	case 5:
	case 6:
	case 7:
		buf_addf(b, "%sinclude:", ONE_OF(qualifiers));
		if (pick(8))
			buf_addf(b, "d%u.example", pick(DOMAINS));
		else
			add_domain(b);
		break;
	case 8:
		buf_addf(b, "%sexists:", ONE_OF(qualifiers));
		add_domain(b);
		break;
	case 9:
		buf_addf(b, "%sptr", ONE_OF(qualifiers));
		if (pick(2))
			buf_adds(b, ":h1.example");
		break;
	case 10:
		buf_addf(b, "x-%u.y_z=%%{d}/anything", pick(9));
		break;
	default:
		if (pick(3) == 0)
			buf_adds(b, "exp=why.example");
		else
			buf_addf(b, "redirect=d%u.example", pick(DOMAINS));
		break;
	}
}

/* One byte of a record changed: often still a record. */
static void spoil(struct buf *b)
{
	static const char bytes[] = " :/.=%{}-+?~,;_@!aA0z";

	if (pick(25) == 0 && b->len > 7)
		b->data[7 + pick((unsigned)b->len - 7)] = bytes[pick(sizeof(bytes) - 1)];
}

static void add_record(struct buf *zone, unsigned domain)
{
	static const char *const ends[] = { " -all", " ~all", " ?all", " all", "", " -ALL", "  -all " };
	AUTO(buf) struct buf b = BUF_INIT(4096);
	unsigned terms = 1 + pick(5);

	buf_adds(&b, pick(30) ? "v=spf1" : "v=sPf1");
	while (terms-- > 0)
		add_term(&b);
	buf_adds(&b, ONE_OF(ends));
	spoil(&b);
	buf_addf(zone, "zone d%u.example TXT %s\n", domain, buf_str(&b));
}

static char *zone_make(void)
{
	struct buf z = BUF_INIT(ZONE_MAX);

	for (unsigned i = 0; i < DOMAINS; i++) {
		if (pick(20))
			add_record(&z, i);
		if (pick(60) == 0)
			add_record(&z, i);
		if (pick(2))
			buf_addf(&z, "zone d%u.example A 192.0.2.%u\n", i, pick(8));
		for (unsigned k = pick(4); k > 0; k--)
			buf_addf(&z, "zone d%u.example MX %u h%u.example\n", i, k, pick(7));
	}
	for (unsigned i = 0; i < 6; i++) {
		buf_addf(&z, "zone h%u.example A 192.0.2.%u\n", i, pick(8));
		if (pick(2))
			buf_addf(&z, "zone h%u.example AAAA 2001:db8::%u\n", i, pick(4));
		if (pick(2))
			buf_addf(&z, "zone %u.2.0.192.in-addr.arpa PTR h%u.example\n", i, pick(6));
		if (pick(3) == 0)
			buf_addf(&z, "zone %u.2.0.192.in-addr.arpa PTR d%u.example\n", i, pick(DOMAINS));
		if (pick(2))
			buf_addf(&z, "zone %u.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR h%u.example\n", i % 4, pick(6));
	}
	buf_adds(&z, "zone h1.d1.example A 192.0.2.3\nzone alias.example CNAME h2.example\nzone down.example SERVFAIL\n"
		     "zone mx.d1.example A 192.0.2.4\nzone unknown.known.example A 127.0.0.2\nzone why.example TXT because of %{i}\n");
	assert(!z.failed);
	return buf_steal(&z);
}

/* ---- running them ---- */

static void zone_load(struct dns_table *t, const char *zone)
{
	AUTO(buf) struct buf lines = BUF_INIT(ZONE_MAX);

	for (const char *p = zone; *p; p = strchr(p, '\n') + 1)
		buf_addf(&lines, "%.*s", (int)(strchr(p, '\n') + 1 - p) - 5, p + 5);
	dns_table_clear(t);
	dns_table_zone(t, buf_str(&lines));
}

static void sample_run(struct sample *s, struct dns_table *t)
{
	char from[64], client[NET_TEXT_MAX];
	struct spf_query q = { .helo = "h1.example", .sender = from, .receiver = "gw.example", .timeout_ms = 20000 };

	s->zone = zone_make();
	zone_load(t, s->zone);
	if (pick(3))
		snprintf(client, sizeof(client), "192.0.2.%u", pick(8));
	else
		snprintf(client, sizeof(client), "2001:db8::%u", pick(4));
	s->client = strdup(client);
	snprintf(s->local, sizeof(s->local), "%s", pick(2) ? "1" : "a-b");
	snprintf(from, sizeof(from), "%s@d0.example", s->local);
	assert(net_parse(client, &q.client) == 0);
	for (int e = 0; e < 2; e++) {
		struct spf_result r;
		int rc = spf_check((enum engine)e, &q, dns_table_dns(t), &r);

		assert(rc == 0);
		assert(r.terms <= SPF_TERMS_MAX && r.asked <= 1 + 2 * SPF_TERMS_MAX + SPF_TERMS_MAX * SPF_HOSTS_MAX);
		s->code[e] = r.code;
		s->why[e] = strdup(r.why);
		spf_result_release(&r);
	}
}

static void sample_write(const struct sample *s, size_t i, FILE *f)
{
	fprintf(f, "scenario\n%scase %zu\nclient %s\nhelo h1.example\nfrom %s@d0.example\nexpect\n", s->zone, i, s->client, s->local);
}

/* ---- explaining differences ---- */

/* Inside an include the library does not say so. */
static bool prefix_zero(const struct sample *s, const char *code, const char *other)
{
	if (strcmp(code, "permerror") != 0)
		return false;
	for (const char *p = strstr(s->zone, "/0"); p; p = strstr(p + 1, "/0"))
		if (p[2] == ' ' || p[2] == '\n' || p[2] == '/')
			return true;
	return false;
}

/* "%{d2}" of a name that has two labels loses its first letter. */
static bool keeps_all_labels(const struct sample *s, const char *code, const char *other)
{
	return strstr(s->zone, "%{d2}") || strstr(s->zone, "%{o2}");
}

static bool validated_name(const struct sample *s, const char *code, const char *other)
{
	return strstr(s->zone, "%{p}") != NULL;
}

static struct deviation libspf2_deviations[] = {
	{ "a prefix length of 0 is refused", prefix_zero, 0 },
	{ "%{d2} of a name of two labels loses a letter", keeps_all_labels, 0 },
	{ "the lookups for %{p} count as terms", validated_name, 0 },
};

static bool counts_all_voids(const struct sample *s, const char *code, const char *other)
{
	return strstr(other, "Void lookup limit") != NULL;
}

/* Some record includes its own domain. */
static bool includes_itself(const struct sample *s, const char *code, const char *other)
{
	char itself[32];

	if (strcmp(code, "permerror") != 0 || !strstr(other, "include:"))
		return false;
	if (strstr(s->zone, "include:%{d"))
		return true;
	for (const char *p = s->zone; *p; p = strchr(p, '\n') + 1) {
		char name[16], type[8];
		const char *found;

		if (sscanf(p, "zone %15s %7s", name, type) != 2 || strcmp(type, "TXT") != 0)
			continue;
		snprintf(itself, sizeof(itself), "include:%s", name);
		found = strstr(p, itself);
		if (found && found < strchr(p, '\n'))
			return true;
	}
	return false;
}

static bool repeats_modifier(const struct sample *s, const char *code, const char *other)
{
	return strcmp(code, "permerror") == 0 && strstr(other, "y_z=") != NULL;
}

static bool counts_unused_redirect(const struct sample *s, const char *code, const char *other)
{
	return strstr(other, "Too many DNS lookups") && strstr(s->zone, "redirect=");
}

static bool lax_macro(const struct sample *s, const char *code, const char *other)
{
	return s->code[0] == SPF_PERMERROR && strstr(s->why[0], "macro");
}

static struct deviation pyspf_deviations[] = {
	{ "lookups of MX and PTR hosts count as voids", counts_all_voids, 0 },
	{ "include of the own domain is an error even if it would not be reached again", includes_itself, 0 },
	{ "an unknown modifier may not be there twice", repeats_modifier, 0 },
	{ "a redirect= behind all counts as a lookup", counts_unused_redirect, 0 },
	{ "a macro that is not closed, or has odd delimiters, is text", lax_macro, 0 },
};

static const char *explain(struct deviation *list, size_t count, const struct sample *s, const char *code, const char *other)
{
	for (size_t i = 0; i < count; i++) {
		if (list[i].holds && list[i].holds(s, code, other)) {
			list[i].count++;
			return list[i].name;
		}
	}
	return NULL;
}

#define EXPLAIN(list, ...) explain(list, sizeof(list) / sizeof(*(list)), __VA_ARGS__)

static int unexplained, skipped;

static void complain(const struct sample *s, const char *who, const char *code, const char *why)
{
	if (++unexplained > SHOWN_MAX)
		return;
	printf("FAIL native %s (%s)\n     %s %s (%s)\n%sclient %s from %s@d0.example\n", spf_code_name(s->code[0]), s->why[0], who, code, why,
	       s->zone, s->client, s->local);
}

static void print_list(const char *who, int agreed, int total, const struct deviation *list, size_t count)
{
	printf("native and %s: %d of %d agree\n", who, agreed, total);
	for (size_t i = 0; i < count; i++)
		if (list[i].name)
			printf("  %6d  %s\n", list[i].count, list[i].name);
}

#define PRINT_LIST(who, agreed, total, list) print_list(who, agreed, total, list, sizeof(list) / sizeof(*(list)))

/* That the samples are a mixture. */
static void print_results(const struct sample *samples, size_t count)
{
	int results[SPF_PERMERROR + 1] = { 0 };

	for (size_t i = 0; i < count; i++)
		results[samples[i].code[0]]++;
	printf("native:");
	for (int c = 0; c <= SPF_PERMERROR; c++)
		printf(" %s %d", spf_code_name((enum spf_code)c), results[c]);
	printf("\n");
}

static void compare_libspf2(const struct sample *samples, size_t count)
{
	int agreed = 0;

	for (size_t i = 0; i < count; i++) {
		const struct sample *s = &samples[i];
		const char *code = spf_code_name(s->code[1]);

		if (s->code[0] == s->code[1])
			agreed++;
		else if (!EXPLAIN(libspf2_deviations, s, code, s->why[1]))
			complain(s, "libspf2", code, s->why[1]);
	}
	PRINT_LIST("libspf2", agreed, (int)count, libspf2_deviations);
}

static void compare_pyspf(const struct sample *samples, size_t count, const char *path)
{
	char command[512], line[1024], code[16];
	size_t i = 0;
	int agreed = 0;
	FILE *f;

	snprintf(command, sizeof(command), "/usr/bin/python3 tests/conformance/spf_pyspf.py %s", path);
	f = popen(command, "r");
	assert(f);
	for (; i < count && fgets(line, sizeof(line), f); i++) {
		line[strcspn(line, "\n")] = '\0';
		assert(sscanf(line, "%15s", code) == 1);
		if (strcmp(code, spf_code_name(samples[i].code[0])) == 0)
			agreed++;
		else if (!EXPLAIN(pyspf_deviations, &samples[i], code, line))
			complain(&samples[i], "pyspf", code, line);
	}
	if (pclose(f) != 0 && i == 0) {
		printf("skipped: pyspf is not installed (python3-spf)\n");
		skipped++;
		return;
	}
	if (i < count) {
		printf("FAIL pyspf stopped at case %zu\n", i);
		unexplained++;
	}
	PRINT_LIST("pyspf", agreed, (int)i, pyspf_deviations);
}

int main(void)
{
	AUTO(dns_table) struct dns_table *t = dns_table_new();
	size_t count = getenv("SPF_DIFF_COUNT") ? (size_t)atoi(getenv("SPF_DIFF_COUNT")) : 3000;
	struct sample *samples = calloc(count, sizeof(*samples));
	char path[] = "/tmp/gatepost-spf-XXXXXX";
	int fd = mkstemp(path);
	FILE *f = fdopen(fd, "w");

	assert(samples && f);
	setvbuf(stdout, NULL, _IOLBF, 0);
	seed = 0x9e3779b97f4a7c15u * (getenv("SPF_DIFF_SEED") ? strtoull(getenv("SPF_DIFF_SEED"), NULL, 10) : 1);
	for (size_t i = 0; i < count; i++) {
		sample_run(&samples[i], t);
		sample_write(&samples[i], i, f);
	}
	fclose(f);
	print_results(samples, count);
	compare_libspf2(samples, count);
	compare_pyspf(samples, count, path);
	unlink(path);
	for (size_t i = 0; i < count; i++) {
		free(samples[i].zone);
		free(samples[i].client);
		free(samples[i].why[0]);
		free(samples[i].why[1]);
	}
	free(samples);
	/* A case is an engine to compare with, and a disagreement that nothing explains. */
	printf("%zu records, %d disagreements unexplained\n", count, unexplained);
	printf("spf-diff: %d passed, %d failed, %d skipped\n", unexplained ? 0 : 2 - skipped, unexplained, skipped);
	return unexplained ? 1 : 0;
}
