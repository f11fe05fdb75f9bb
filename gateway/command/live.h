/*
 * live - `gatepost check --live`: how the site really is, on one page
 *
 * Subjects are looked at side by side, each in a task of its own (live_*.c), and say what they find in lines: a level and a sentence that says what to do.
 * Every wait is bounded, and so is the whole. No mail is sent: sessions with servers end before DATA.
 */
#ifndef LIVE_H
#define LIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dns.h"
#include "base/net.h"

struct advise;
struct backend_conf;
struct site;
struct x509_st;

enum live_level { LIVE_OK, LIVE_WARN, LIVE_FAIL };
enum { LIVE_STEP_MS = 8000, LIVE_PART_MS = 40000, LIVE_LINES_MAX = 100, LIVE_DOMAINS_MAX = 20, LIVE_OURS_MAX = 32 };

struct live_line {
	enum live_level level;
	char *text;                     /* may hold bytes from outside */
};

struct live;

struct live_part {
	struct live *live;
	char *title;
	void (*look)(struct live_part *p);      /* may wait, until until_ms at most */
	const struct backend_conf *backend;     /* or NULL */
	const char *domain;                     /* or NULL */
	const void *arg;                        /* struct daemon_conf, struct directory_conf */
	int64_t until_ms;
	struct live_line *line;
	size_t count;
	struct task *task;              /* NULL: it has ended, or not begun */
};

struct live {
	const struct site *site;
	struct dns *dns;
	bool running;                   /* a gateway with this configuration runs here */
	struct live_part *part;
	size_t count, left;             /* parts, and those that have not ended */
};

/* Look, and print the page. The exit status: 1 if something failed. */
int live_run(const struct site *s, bool json);

void live_say(struct live_part *p, enum live_level level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* One more part, before the tasks begin; title is taken over. NULL: out of memory. */
struct live_part *live_add(struct live *l, char *title, void (*look)(struct live_part *p));

/* The subjects. live_here does not wait for the loop: it runs before it. */
void live_here(struct live_part *p);            /* this machine: the gateway, its ports, disk, clock, own certificates, state */
void live_dns(struct live_part *p);             /* the resolver */
void live_lists(struct live_part *p);           /* the DNSBL zones */
void live_name(struct live_part *p);            /* our own name, both ways */
void live_domain(struct live_part *p);          /* one of the site's domains: MX and SPF */
void live_backend(struct live_part *p);         /* one server: reach, TLS, recipients, the client's address */
void live_callout(struct live_part *p);         /* where recipients are asked for */

void live_daemon(struct live_part *p);          /* a scanner or another filter beside us */
void live_directory(struct live_part *p);       /* where the recipients stand */

/* live_name.c: the addresses of our name and those that mail leaves from. How many (LIVE_OURS_MAX). may wait */
size_t live_ours(struct live *l, struct net_addr *out);

/* live_cert.c: days, names, issuer; whose: "its certificate"; name: to be carried, or NULL; counts: whether it must hold. */
void live_certificate(struct live_part *p, const struct x509_st *cert, const char *whose, const char *name, bool counts);
void live_certificate_pem(struct live_part *p, const char *pem, const char *whose, const char *name);

#endif
