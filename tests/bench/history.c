/*
 * A history of many records, and how fast it is written, asked and read.
 *
 *     history fill FILE COUNT      COUNT records over 30 days into a new FILE
 *     history day FILE COUNT       COUNT records of one day into a new FILE, read for aggregate reports as the keeper does, while records come
 *     history ask FILE             each kind of question, twice
 *     history read FILE            all records, decoded
 *     history encode COUNT         what the message path pays: making the bytes
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "policy/rua_job.h"

enum { COMMIT_EVERY = 200, SENDERS = 200000, RECIPIENTS = 2000, NETWORKS = 50000 };

static double now_s(clockid_t which)
{
	struct timespec t;

	clock_gettime(which, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static unsigned chance(unsigned n)
{
	static uint64_t x = 88172645463325252u;

	x ^= x << 13, x ^= x >> 7, x ^= x << 17;
	return (unsigned)(x >> 20) % n;
}

static const char *text(char out[128], const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(out, 128, fmt, ap);
	va_end(ap);
	return out;
}

/* What a site with all checks on knows of a message. */
static void client_facts(struct facts *f, const char *ip, const char *helo)
{
	facts_set(f, "client.ip", ip);
	facts_set_bool(f, "client.early_talker", false);
	facts_add(f, "client.rdns", helo);
	facts_set_why(f, "client.fcrdns", "pass", "%s has the address", helo);
	facts_set_num(f, "dnsbl.score", 0);
	facts_set_empty(f, "dnsbl.zones");
	facts_set_empty(f, "dnsbl.codes");
	facts_set_empty(f, "dnsbl.benched");
}

static void message_facts(struct facts *f, const char *helo, const char *from, const char *domain, const char *subject, const char *id)
{
	char rua[128], result[128];

	facts_set(f, "helo", helo);
	facts_set(f, "helo.syntax", "ok");
	facts_set_bool(f, "helo.bare", false);
	facts_set_bool(f, "helo.ours", false);
	facts_set_bool(f, "tls", true);
	facts_set(f, "tls.version", "TLSv1.3");
	facts_set(f, "sender", from);
	facts_set(f, "sender.domain", domain);
	facts_set_bool(f, "sender.null", false);
	facts_set(f, "direction", "inbound");
	facts_set_why(f, "spf", "pass", "%s: v=spf1 ip4:192.0.2.0/24 -all: ip4:192.0.2.0/24 matched", domain);
	facts_set(f, "spf.domain", domain);
	facts_set(f, "spf.mechanism", "ip4:192.0.2.0/24");
	facts_set_num(f, "rcpt.count", 1);
	facts_set_bool(f, "message.header_broken", false);
	facts_set(f, "message.id", id);
	facts_set(f, "header.subject", subject);
	facts_set(f, "header.to", "Somebody <somebody@example.com>");
	facts_set_num(f, "received.count", 2);
	facts_set_num(f, "from.count", 1);
	facts_set_bool(f, "from.valid", true);
	facts_add(f, "from.addresses", from);
	facts_add(f, "from.domains", domain);
	facts_set_num(f, "from.domain_count", 1);
	facts_set(f, "from.domain", domain);
	facts_set_why(f, "dkim", "pass", "%s s=s2026 rsa-sha256: good signature", domain);
	facts_add(f, "dkim.pass_domains", domain);
	facts_add(f, "dkim.domains", domain);
	facts_add(f, "dkim.selectors", "s2026");
	facts_add(f, "dkim.algorithms", "rsa-sha256");
	facts_set_num(f, "dkim.signatures", 1);
	facts_set_why(f, "dmarc", "pass", "_dmarc.%s: v=DMARC1; p=reject; rua=mailto:dmarc@%s", domain, domain);
	facts_set(f, "dmarc.policy", "reject");
	facts_set(f, "dmarc.record_domain", domain);
	facts_set(f, "dmarc.org_domain", domain);
	facts_set_bool(f, "dmarc.testing", false);
	facts_add(f, "dmarc.aligned", "dkim");
	facts_add(f, "dmarc.aligned", "spf");
	facts_add(f, "dmarc.published", "p=reject");
	facts_add(f, "dmarc.rua", text(rua, "mailto:dmarc@%.90s", domain));
	facts_add(f, "dkim.results", text(result, "pass d=%.60s s=s2026 a=rsa-sha256 b=Qm9keQAA k=2048; ", domain));
	facts_set_num(f, "message.size", 18233);
	facts_set_bool(f, "message.8bit", false);
	facts_set_num(f, "mime.parts", 2);
	facts_set_num(f, "mime.depth", 1);
	facts_set_bool(f, "mime.broken", false);
	facts_set_empty(f, "attachment.name");
}

static void recipient_facts(struct facts *f, const char *to)
{
	facts_set(f, "rcpt", to);
	facts_set(f, "rcpt.domain", "example.com");
	facts_set_bool(f, "rcpt.postmaster", false);
}

struct sample {
	char ip[128], helo[128], from[128], domain[128], to[128], id[128], code[128], subject[128], reply[128];
	const char *rcpt[1];
	struct facts client, message, own;
	struct history_record r;
};

static void sample_release(struct sample *s)
{
	facts_release(&s->client);
	facts_release(&s->message);
	facts_release(&s->own);
}

static void sample_make(struct sample *s, unsigned i, int64_t at_ms)
{
	static const char *const ran[] = { "conn", "helo", "envelope", "dnsbl", "spf", "from", "content", "attachment", "dkim", "dmarc", NULL };
	unsigned sender = chance(SENDERS), dice = chance(100);

	*s = (struct sample){ .client = { 0 } };
	text(s->ip, "10.%u.%u.%u", sender % NETWORKS >> 8, sender % 256, sender % 250);
	text(s->domain, "sender%u.example", sender / 10);
	text(s->helo, "mail.%s", s->domain);
	text(s->from, "person%u@%s", sender, s->domain);
	text(s->to, "user%u@example.com", chance(RECIPIENTS));
	text(s->id, "<%08x.%u@%s>", chance(1u << 31), i, s->domain);
	text(s->code, "%08x%u-1", i * 2654435761u, i % 10);
	text(s->subject, "About the matter of last week, part %u", i);
	text(s->reply, "250 2.0.0 ok queued as %08X (%s)", i, s->code);
	client_facts(&s->client, s->ip, s->helo);
	message_facts(&s->message, s->helo, s->from, s->domain, s->subject, s->id);
	recipient_facts(&s->own, s->to);
	s->rcpt[0] = s->to;
	s->r = (struct history_record){
		.at_ms = at_ms, .code = s->code, .client = s->ip, .helo = s->helo, .from = s->from, .rcpt = s->rcpt, .rcpt_count = 1,
		.message_id = s->id, .subject = s->subject, .bytes = 18233, .stage = STAGE_DATA,
		.verdict = dice < 60 ? "accept" : dice < 90 ? "reject" : dice < 95 ? "greylist" : "quarantine",
		.action = dice < 60 ? "accept" : "reject", .rule = dice < 60 ? "line 40" : "spoofed", .rule_line = 12,
		.rule_text = "reject if from.domain in local and dmarc != pass", .reply = s->reply, .backend = "exchange",
		.ms_data = 12, .ms_checks = 3, .ms_backend = 40, .ms = 80, .ran = ran,
		.facts = { &s->client, &s->message, &s->own },
	};
}

static int fill(const char *path, unsigned count, int64_t end_ms, int64_t span_ms)
{
	struct history_store *h;
	AUTO(buf) struct buf out = BUF_INIT(HISTORY_RECORD_MAX);
	double cpu = 0, bytes = 0, wall = now_s(CLOCK_MONOTONIC);
	struct stat st = { 0 };

	unlink(path);
	if (history_store_open(path, true, &h) < 0)
		return 1;
	for (unsigned i = 0; i < count; i++) {
		struct sample s;
		double begun;
		int rc;

		sample_make(&s, i, end_ms - span_ms + (int64_t)((double)span_ms * i / count));
		buf_clear(&out);
		if (history_encode(&s.r, &out) < 0)
			return 1;
		begun = now_s(CLOCK_PROCESS_CPUTIME_ID);
		rc = history_store_add(h, out.data, out.len);
		if (rc == 0 && i % COMMIT_EVERY == 0)
			rc = history_store_commit(h);
		cpu += now_s(CLOCK_PROCESS_CPUTIME_ID) - begun;
		bytes += (double)out.len;
		sample_release(&s);
		if (rc < 0) {
			fprintf(stderr, "%s\n", strerror(-rc));
			return 1;
		}
	}
	history_store_close(h);
	stat(path, &st);
	printf("records=%u cpu_us=%.2f bytes=%.0f file_bytes=%.0f wall_s=%.1f\n", count, cpu / count * 1e6, bytes / count,
	       (double)st.st_size / count, now_s(CLOCK_MONOTONIC) - wall);
	return 0;
}

struct seen {
	size_t count;
	struct history_record last;
	char from[128], to[128], client[128], id[128], code[128];
};

static int see(void *arg, const struct history_record *r, const char *const *cut, const char *const *lost)
{
	struct seen *s = arg;

	s->count++;
	text(s->from, "%s", r->from);
	text(s->to, "%s", r->rcpt[0]);
	text(s->client, "%s", r->client);
	text(s->id, "%s", r->message_id);
	text(s->code, "%s", r->code);
	return 0;
}

static void timed(const char *path, const char *name, const struct history_query *q)
{
	struct seen seen = { 0 };

	printf("%-28s", name);
	for (int turn = 0; turn < 3; turn++) {
		struct history_store *h = NULL;
		double begun = now_s(CLOCK_MONOTONIC);

		seen.count = 0;
		if (history_store_open(path, false, &h) < 0 || history_store_find(h, q, see, &seen) != 0)
			exit(1);
		printf(" %8.2f ms", (now_s(CLOCK_MONOTONIC) - begun) * 1e3);
		history_store_close(h);
	}
	printf("  %zu found\n", seen.count);
}

static int ask(const char *path)
{
	int64_t now_ms = (int64_t)time(NULL) * 1000, day_ms = 86400 * 1000;
	struct seen seen = { 0 };
	struct history_store *h;
	struct history_query any = { .until_ms = now_ms - 15 * day_ms, .limit = 1 };
	char domain[130];

	/* One from the middle. */
	if (history_store_open(path, false, &h) < 0 || history_store_find(h, &any, see, &seen) != 0 || !seen.count)
		return 1;
	history_store_close(h);
	snprintf(domain, sizeof(domain), "%s", strchr(seen.from, '@'));
	timed(path, "code", &(struct history_query){ .code = seen.code });
	timed(path, "message-id", &(struct history_query){ .message_id = seen.id });
	timed(path, "sender", &(struct history_query){ .from = seen.from });
	timed(path, "sender's domain", &(struct history_query){ .from = domain });
	timed(path, "recipient", &(struct history_query){ .to = seen.to });
	timed(path, "recipient, first 50", &(struct history_query){ .to = seen.to, .limit = 50 });
	timed(path, "sender, recipient", &(struct history_query){ .from = seen.from, .to = seen.to });
	timed(path, "sender, recipient, day", &(struct history_query){ .from = seen.from, .to = seen.to,
			.since_ms = now_ms - 16 * day_ms, .until_ms = now_ms - 15 * day_ms });
	timed(path, "client", &(struct history_query){ .client = seen.client });
	timed(path, "verdict, first 50", &(struct history_query){ .verdict = "quarantine", .limit = 50 });
	timed(path, "verdict, domain, never", &(struct history_query){ .verdict = "none", .to = "@example.com" });
	timed(path, "an hour, first 50", &(struct history_query){ .since_ms = now_ms - 15 * day_ms - 3600000,
			.until_ms = now_ms - 15 * day_ms, .limit = 50 });
	timed(path, "nobody", &(struct history_query){ .from = "nobody@nowhere.example" });
	return 0;
}

static int read_all(const char *path)
{
	struct history_store *h;
	struct seen seen = { 0 };
	double begun = now_s(CLOCK_MONOTONIC);

	if (history_store_open(path, false, &h) < 0 || history_store_each(h, 0, 0, see, &seen) != 0)
		return 1;
	printf("records=%zu s=%.2f\n", seen.count, now_s(CLOCK_MONOTONIC) - begun);
	history_store_close(h);
	return 0;
}

static int encode(unsigned count)
{
	AUTO(buf) struct buf out = BUF_INIT(HISTORY_RECORD_MAX);
	struct sample s;
	double begun;

	sample_make(&s, 1, (int64_t)time(NULL) * 1000);
	begun = now_s(CLOCK_PROCESS_CPUTIME_ID);
	for (unsigned i = 0; i < count; i++) {
		buf_clear(&out);
		(void)history_encode(&s.r, &out);
	}
	printf("encode_us=%.2f bytes=%zu\n", (now_s(CLOCK_PROCESS_CPUTIME_ID) - begun) / count * 1e6, out.len);
	sample_release(&s);
	return 0;
}

static double larger(double a, double b)
{
	return a > b ? a : b;
}

/* One record, as a worker's notice brings it. */
static double write_one(struct history_store *h, const struct buf *record)
{
	double begun = now_s(CLOCK_MONOTONIC);

	if (history_store_add(h, record->data, record->len) < 0 || history_store_commit(h) < 0)
		exit(1);
	return now_s(CLOCK_MONOTONIC) - begun;
}

/* A turn of the keeper, a record that is written, and so on. */
static int read_day(const char *path, unsigned count)
{
	int64_t day = (int64_t)time(NULL) / RUA_DAY_S - 1;
	AUTO(buf) struct buf record = BUF_INIT(HISTORY_RECORD_MAX);
	double cpu, most = 0, written = 0, begun;
	struct rua_job_sum sum;
	struct history_store *h;
	struct rua_job *j;
	struct rusage before, after;
	struct sample s;
	int rc, turns = 0;

	if (fill(path, count, (day + 1) * RUA_DAY_S * 1000, RUA_DAY_S * 1000LL))
		return 1;
	sample_make(&s, 1, (int64_t)time(NULL) * 1000);
	if (history_encode(&s.r, &record) < 0 || history_store_open(path, true, &h) < 0 || rua_job_new(path, day, NULL, &j) < 0)
		return 1;
	getrusage(RUSAGE_SELF, &before);
	cpu = now_s(CLOCK_PROCESS_CPUTIME_ID);
	do {
		begun = now_s(CLOCK_PROCESS_CPUTIME_ID);
		rc = rua_job_step(j, h, 5);
		most = larger(most, now_s(CLOCK_PROCESS_CPUTIME_ID) - begun);
		turns++;
		written = larger(written, write_one(h, &record));
	} while (rc > 0);
	cpu = now_s(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	getrusage(RUSAGE_SELF, &after);
	rua_job_sum(j, &sum);
	printf("read=%llu reports=%zu cpu_s=%.2f us_each=%.2f turns=%d most_cpu_of_a_turn_ms=%.1f longest_write_ms=%.1f more_kib=%ld\n", (unsigned long long)sum.records,
	       sum.reports, cpu, cpu / count * 1e6, turns, most * 1e3, written * 1e3, after.ru_maxrss - before.ru_maxrss);
	rua_job_free(j);
	history_store_close(h);
	sample_release(&s);
	return rc < 0;
}

int main(int argc, char **argv)
{
	fact_register_all();
	if (argc == 4 && strcmp(argv[1], "day") == 0)
		return read_day(argv[2], (unsigned)atoi(argv[3]));
	if (argc == 4 && strcmp(argv[1], "fill") == 0)
		return fill(argv[2], (unsigned)atoi(argv[3]), (int64_t)time(NULL) * 1000, 30LL * 86400 * 1000);
	if (argc == 3 && strcmp(argv[1], "ask") == 0)
		return ask(argv[2]);
	if (argc == 3 && strcmp(argv[1], "read") == 0)
		return read_all(argv[2]);
	if (argc == 3 && strcmp(argv[1], "encode") == 0)
		return encode((unsigned)atoi(argv[2]));
	fprintf(stderr, "usage: history fill FILE COUNT | day FILE COUNT | ask FILE | read FILE | encode COUNT\n");
	return 2;
}
