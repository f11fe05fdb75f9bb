/*
 * conf - the configuration file, read once into a read-only struct site
 *
 * gatepost.conf(5) describes the file; libconfuse reads it. Every error is "file:line: what is wrong, what was expected". A struct site is
 * complete and checked: whoever holds one need not check again. Files that it names (certificate, key, policy) are read here too, by the parent
 * or the command, so that workers open no path.
 */
#ifndef CONF_H
#define CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/net.h"
#include "base/proxy_header.h"
#include "base/tls.h"
#include "base/tls_peer.h"
#include "filters/arc_sealer.h"
#include "filters/dkim_signer.h"
#include "filters/message.h"
#include "filters/milter_wire.h"
#include "policy/client_use.h"
#include "policy/directory_conf.h"
#include "policy/key_list.h"
#include "policy/greylist.h"
#include "policy/login_guard.h"
#include "policy/policy.h"
#include "policy/rate.h"
#include "policy/srs.h"
#include "policy/spool_schedule.h"
#include "policy/state_redis.h"
#include "policy/store_retention.h"

enum { SITE_LISTENERS_MAX = 240 };        /* each worker has a descriptor of each: process/child.c, process/handover.h */

enum listener_protocol { LISTENER_SMTP, LISTENER_TCP, LISTENER_POP3, LISTENER_IMAP };
enum listener_direction {
	DIRECTION_INBOUND,              /* from the world (25, 2525) */
	DIRECTION_SUBMISSION,           /* from users, who authenticate (587, 465) */
	DIRECTION_OUTBOUND,             /* from our own servers, known by relay_networks */
};
/* The last three: of inline outbound listeners, where the client would look for the far end's certificate. */
enum listener_tls { LISTENER_TLS_OFF, LISTENER_TLS_STARTTLS, LISTENER_TLS_IMPLICIT, LISTENER_TLS_HIDE, LISTENER_TLS_OWN_CA, LISTENER_TLS_PASS };

enum plaintext { PLAINTEXT_PASS, PLAINTEXT_REFUSE };

struct listener_conf {
	char *name;
	enum listener_protocol protocol;
	struct net_addr address;
	enum listener_direction direction;
	enum listener_tls tls;
	bool transparent;               /* takes connections to other hosts' addresses (TPROXY), and reaches those from the client's */
	int intercept;                  /* transparent: the port that those connections are to; 0: that of address */
	char **backends;                /* names; none: all those that no listener names */
	size_t backend_count;
	struct net_prefix *proxy_from;  /* load balancers whose connections begin with a PROXY header */
	size_t proxy_from_count;
	/* of all but LISTENER_SMTP */
	int max_connections, max_per_client;    /* over all workers */
	int idle_timeout_ms;            /* 1 h; POP3, IMAP: after login */
	/* LISTENER_POP3, LISTENER_IMAP */
	int login_timeout_ms;           /* all that comes before the login (3 min) */
	enum plaintext plaintext;       /* passwords without TLS: as the server behind has it, or never */
	bool scan;                      /* messages that are fetched are judged */
	int line;
};

struct backend_conf {
	char *name;
	enum listener_protocol protocol;        /* SMTP, POP3 or IMAP: what is spoken there */
	char *host;                     /* a literal address, or a host name resolved at use */
	unsigned short port;
	int priority;                   /* lower first; equal: shared by turns */
	int max_sessions;               /* 0: no limit; over all workers */
	int max_sessions_wait_ms;       /* bounded wait for a free one (10 s) */
	enum tls_mode tls;
	bool implicit_tls;              /* from the first octet (RFC 8314), unless tls is off */
	char *tls_name;                 /* verified name; default host */
	char *tls_ca_pem;               /* NULL: the system's */
	enum tls_version tls_min;       /* 1.2 */
	int tls_level;                  /* of OpenSSL; TLS_LEVEL_DEFAULT */
	char *tls_ciphers;              /* NULL: our own */
	struct tls_pin *tls_pin;        /* what its certificate is known by, instead of CA and name */
	size_t tls_pin_count;
	bool xclient;                   /* it is told the client's address and HELO by XCLIENT, where it offers that */
	enum proxy_version proxy;       /* each connection begins with a PROXY header that tells the client's address */
	bool reuse;                     /* idle sessions are kept */
	int reuse_idle_ms, reuse_max;   /* for how long (30 s), how many messages (100) */
	int connect_timeout_ms;         /* 10 s */
	int probe_interval_ms;          /* EHLO probe (60 s; back-off from 1 s to that while away) */
	bool spool;                     /* while it is away its mail is taken and kept for it, instead of 451 */
	int line;
};

/* What a client is shown who asks for a name (TLS's SNI), and where it is led. */
struct sni_conf {
	char *name;                     /* lower-case, "*.example.org" for one label more; the first member: tls_sni_find */
	char *cert_pem;                 /* NULL: the site's */
	int key;                        /* its place in keys; -1: the site's */
	char **backends;                /* names; a listener takes those that speak as it does; none: its own */
	size_t backend_count;
	int line;
};

/* Servers that stand for each other: they have the same mailboxes. */
struct domain_owner {
	char *name;                     /* theirs, in the order of the file of backends: "a+b" */
	char **backends;
	size_t backend_count;
};

/* A domain of ours with servers of its own, and those who say by RCPT which of them a mailbox lies on. */
struct domain_conf {
	char *domain;                   /* canonical; ".example.org" for all below */
	struct domain_owner *owner;     /* without learn: one */
	size_t owner_count;
	bool learn;
	int line;
};

enum { DOMAIN_OWNERS_MAX = 8, DOMAIN_OWNER_NAME_MAX = 200 };

enum rcpt_verify { VERIFY_BACKEND, VERIFY_CALLOUT, VERIFY_FILE, VERIFY_NONE, VERIFY_DIRECTORY };
enum engine { ENGINE_NATIVE, ENGINE_LIBRARY };
enum bare_lf { BARE_NORMALISE, BARE_REFUSE };
/* What a greylist rule does when the state does not answer. */
enum state_away { AWAY_OPEN, AWAY_DEFER };
enum site_mode { MODE_ENFORCE, MODE_OBSERVE };

/* What a list of domains is asked for. */
enum dnsbl_use { DNSBL_USE_LINKS = 1, DNSBL_USE_FROM = 2, DNSBL_USE_HELO = 4, DNSBL_USE_DKIM = 8, DNSBL_USE_RDNS = 16 };

struct dnsbl_conf {
	char *zone;                     /* "zen.example.org" */
	int weight;                     /* of any accepted code; negative for an allow list */
	struct { struct net_prefix codes; int weight; unsigned char bit; } code[16];   /* accepted answers; none: 127.0.0.0/8 */
	size_t code_count;
	bool ipv4, ipv6;                /* asked for which clients */
	int timeout_ms;
	bool test;                      /* RFC 5782 test points (default yes) */
	unsigned use;                   /* a list of domains (uribl): bits of enum dnsbl_use; 0: of the client's address */
	int registrable;                /* asked for the registrable domain (1), or for the whole name (0) */
	bool addresses;                 /* for addresses in links, too */
	char *listed, *clean;           /* names that it must have, and must not have */
	char **skip;                    /* domains that it is not asked for, sorted */
	size_t skip_count;
	int line;
};

struct dns_zone_forward {
	char *zone;                     /* "." for all */
	char **servers;                 /* "10.0.0.1@53" */
	size_t server_count;
};

struct dns_conf {
	struct dns_zone_forward *forward;
	size_t forward_count;           /* none: full recursion */
	char **local_data;              /* "name. TYPE data" lines; names under a zone of local_zone */
	size_t local_data_count;
	char **local_zone;              /* "example. static" */
	size_t local_zone_count;
	int timeout_ms;                 /* one lookup (5 s) */
	bool dnssec;
	char *trust_anchor;             /* DS or DNSKEY lines as text; default the built-in root anchor */
	size_t cache_bytes;
};

struct smtp_timeouts {                  /* RFC 5321 4.5.3.2 */
	int command_ms, data_block_ms;  /* server: 5 min, 3 min */
	int session_ms, transaction_ms; /* budgets: 0 none; 1 h, 30 min */
	int greeting_ms, helo_ms, mail_ms, rcpt_ms, data_ms, block_ms, dot_ms, quit_ms;  /* backend leg */
	int budget_ms, dot_budget_ms;   /* backend leg per client command: 4 min, 8 min */
};

struct drain_times {                    /* how long sessions have that are open, */
	int stop_s;                     /* at a stop (30 s), */
	int reload_s;                   /* after a reload or an upgrade (1 h) */
};

struct smtp_limits {
	size_t line_bytes;              /* command line (2048; at least 512; AUTH 12288) */
	uint64_t message_bytes;         /* SIZE (50 MiB) */
	int recipients;                 /* per transaction (1000; at least 100) */
	int transactions;               /* per session (LIMITS MAILMAX; 100) */
	int errors;                     /* then 421 (20) */
	int hops;                       /* Received fields (100) */
	int sessions;                   /* over all workers (10,000), beyond: 421 */
	int sessions_per_client;        /* of one IPv4 address or IPv6 /64, over all workers (50) */
	uint64_t memory_total;          /* of all processes together; base/load.h */
	int shed_from, shed_lag_ms;
	struct message_limits message;
};

struct client_limits {                  /* of each client network, and the whole site: so much in a period */
	struct use_conf client, site;
	uint64_t client_bytes, site_bytes;      /* as they are written; in load_conf they are counted in USE_BYTES_UNIT */
	int slowed;                     /* sessions of one network that are slowed down at once (25) */
	struct net_prefix *exempt;      /* who is not counted */
	size_t exempt_count;
};

struct outbound_via {
	char *host;                     /* a literal address, or a host name (no MX is asked for) */
	unsigned short port;
};

/* Required: encrypted, whoever that is. Verified: by a CA that is known, for the host's name. */
enum outbound_tls_mode { OUTBOUND_TLS_OFF, OUTBOUND_TLS_OPPORTUNISTIC, OUTBOUND_TLS_REQUIRED, OUTBOUND_TLS_VERIFIED };

struct outbound_tls_policy {
	char *domain;                   /* of recipients, or the name of a via, lower-case; ".example.com" for all below */
	enum outbound_tls_mode mode;
	bool dane, mta_sts;
	char *name;                     /* verified instead of the host's; NULL: the host's */
	int line;
};

struct outbound_tls_conf {
	enum outbound_tls_mode mode;
	bool dane, mta_sts;             /* what a domain publishes counts */
	char *ca_pem;                   /* NULL: the system's */
	struct outbound_tls_policy *policy;     /* a domain's own counts before that of those above it */
	size_t policy_count;
};

struct outbound_conf {                  /* mail of ours to domains that are not ours */
	struct outbound_via *via;       /* servers that take all of it, in order; none: the MX of each domain */
	size_t via_count;
	char *username, *password;      /* for via; NULL: none */
	int port;                       /* of MX hosts (25) */
	struct net_addr *source;        /* sessions come from there: at most one of each family, and only families that are named; none: any */
	size_t source_count;
	struct net_prefix *never;       /* networks that no MX leads to */
	size_t never_count;
	int max_sessions;               /* per destination and worker (20) */
	int max_sessions_wait_ms;       /* bounded wait for a free one (10 s) */
	int connect_timeout_ms;         /* 30 s */
	int wait_ms;                    /* a client waits for its recipient's next hop (20 s), then the message goes to the spool */
	int reuse_idle_ms, reuse_max;   /* an idle session is kept for so long (5 s), for so many messages (20) */
	struct outbound_tls_conf tls;
	int bench_ms;                   /* a host that does not answer is left alone for so long (2 min) */
};

struct rua_conf {                       /* aggregate reports to the owners of domains, RFC 9990 */
	bool send;
	char *from;                     /* their author, "postmaster@mx.example.com"; always there */
	char *org;                      /* who we are; always there */
	char *contact;                  /* how else one can reach us; NULL: not said */
	int destinations;               /* of one report, at most (5) */
	size_t max_bytes;               /* a larger message is sent to nobody (10 MiB) */
	int spread_s;                   /* the day's reports are sent within so long after its end (6 h) */
	int line;                       /* of section dmarc; 0: there is none */
};

struct history_conf {
	bool record;                    /* new ones */
	int keep_s;                     /* 30 days */
	uint64_t max_bytes;             /* 2 GiB */
};

/* One of the places where a daemon listens: a path, or host and port. */
struct daemon_address {
	char *text;                     /* as the file says it */
	char *path;                     /* of a unix socket; NULL: host and port */
	char *host;                     /* a literal address, or a host name */
	unsigned short port;
};

enum daemon_away { DAEMON_AWAY_DEFER, DAEMON_AWAY_PASS };

enum { DAEMON_ADDRESSES_MAX = 8 };

struct daemon_conf {                    /* a daemon beside us that filters ask (filters/daemon.h) */
	char *name;                     /* in logs: of its section */
	struct daemon_address *address; /* they stand in for each other, in this order; none: there is no such daemon */
	size_t address_count;
	int max_connections;            /* at once, of each worker */
	int connect_timeout_ms;
	int timeout_ms;                 /* of one question, the wait for a free connection included */
	int idle_ms;                    /* a connection is kept for so long */
	uint64_t max_size;              /* a longer message is not sent */
	enum daemon_away away;          /* its facts then: temperror; or they are left out */
	int line;                       /* of its section */
};

struct clamd_conf {
	struct daemon_conf daemon;
};

struct rspamd_conf {
	struct daemon_conf daemon;
	char *password;                 /* or NULL */
};

struct spamd_conf {
	struct daemon_conf daemon;
	char *user;                     /* whose settings count; or NULL */
};

struct milter_conf {                    /* a mail filter of the milter kind (filters/milter.h) */
	struct daemon_conf daemon;
	int command_ms, content_ms;     /* for its answer to a command (30 s), to the message (4 min) */
	int protocol;                   /* the version that is offered, 2 to 6 */
	unsigned directions;            /* bit i: enum listener_direction i */
	char **listeners;               /* names; none: all */
	size_t listener_count;
	char *daemon_name;              /* {daemon_name}; NULL: the listener's name */
	char *macros[MILTER_MOMENTS];   /* "i {mail_addr}" */
};

struct auth_conf {                      /* logins by SASL, base/sasl.h */
	bool offer;                     /* on submission listeners */
	bool inbound;                   /* on inbound ones, too */
	bool plaintext;                 /* without TLS, too */
	unsigned mechanisms;            /* of those that the backends offer */
	struct login_guard_conf guard;
};

struct user_map;        /* policy/user_map.h */

struct site {
	char *path;                     /* of the file, for messages */
	char *hostname;                 /* ours: banner, EHLO, Received, authserv-id default */
	char *authserv_id;
	char **domains;                 /* accepted, lower-case; ".example.com" for all below */
	size_t domain_count;
	enum site_mode mode;
	struct net_prefix *relay_networks;      /* who may relay by address */
	size_t relay_network_count;
	struct net_prefix *trusted_relays;      /* who brings mail of others: filters/boundary.h */
	size_t trusted_relay_count;
	struct net_prefix *bypass;      /* whose connections pass untouched, inline */
	size_t bypass_count;
	char *client_header;            /* name of a header field that tells the client's address; NULL: none */
	char *user;                     /* of what talks to the network; NULL: as started */
	char *keeper_user, *key_user, *directory_user;  /* of what owns files, holds keys, asks directories; NULL: process/confine.h says */
	bool sandbox;
	int workers;                    /* 0 in the file: number of processors */
	char *state_dir;                /* quarantine, state.db, control socket, own certificate */
	char *control_path;

	struct listener_conf *listener;
	size_t listener_count;
	struct backend_conf *backend;
	size_t backend_count;

	struct domain_conf *domain;     /* sections domain, sorted */
	size_t domain_section_count;

	struct outbound_conf outbound;

	enum rcpt_verify verify;
	struct net_addr callout;        /* VERIFY_CALLOUT: host and port */
	char **verify_list;             /* VERIFY_FILE: addresses and @domains, lower-case, sorted */
	size_t verify_list_count;
	int verify_positive_s, verify_negative_s;   /* 7 days, 1 hour */
	struct directory_conf *directory;       /* VERIFY_DIRECTORY: known is whom one of them knows */
	size_t directory_count;

	struct key_list keys;           /* that are private; where they are, and their public halves */
	char *tls_cert_pem;             /* NULL: self-signed, kept in state_dir */
	int tls_key;                    /* its place in keys; -1: there is none yet */
	bool tls_offer;
	struct sni_conf *sni;                       /* sorted by name */
	size_t sni_count;
	struct user_map *users;                     /* whose mail lies where; NULL: all backends of a listener have all */
	char *tls_ca_cert_pem;          /* the site's own CA, for listeners with tls = own-ca; NULL: none */
	int tls_ca_key;                 /* its place in keys */
	struct auth_conf auth;

	struct dns_conf dns;
	struct dnsbl_conf *dnsbl;
	size_t dnsbl_count;
	int dnsbl_test_interval_s;      /* 3600 */

	enum engine spf_engine, dkim_engine, dmarc_engine;
	int spf_timeout_ms;             /* the whole check (20 s) */
	int dkim_max_signatures;        /* 10 */
	struct dkim_sign_conf *dkim_sign;       /* domains that are signed for */
	size_t dkim_sign_count;
	struct arc_seal_conf *arc_seal; /* NULL: nothing is sealed */
	struct rate_conf rate[RATES_MAX];       /* how much one of ours may send */
	size_t rate_count;
	struct srs_conf srs;
	struct greylist_conf greylist;
	struct state_redis_conf redis;  /* no address: the state keeper of this machine */
	enum state_away state_away;
	struct history_conf history;
	struct rua_conf rua;
	struct store_retention quarantine;      /* 30 days, no bound */
	struct spool_settings spool;

	bool add_received_spf;
	bool eightbit_pass;             /* 8-bit bytes without 8BITMIME: passed or refused */
	enum bare_lf bare_lf;
	int banner_delay_ms;
	bool split_retry;               /* recipients of another class are told to come in a transaction of their own */
	int ledger_s;                   /* how long a retry is known (6 h); 0: no ledger */
	bool prdr;                      /* offered: a reply for each recipient */
	int temperror_max_s;            /* 4 h */
	int known_s;                    /* sender.known: so long after the last message to it (60 days); 0: never */

	struct smtp_timeouts timeouts;
	struct drain_times drain;
	struct smtp_limits limits;
	struct client_limits client_limits;

	struct clamd_conf clamd;
	struct rspamd_conf rspamd;
	struct spamd_conf spamd;
	const struct daemon_conf **daemon;      /* all that there are: of each a pool, and their unix sockets are what the parent connects to */
	size_t daemon_count;
	struct milter_conf **milter;    /* in the order of the file */
	size_t milter_count;

	char *policy_path;
	char *allow_path;               /* the file of the list `allowed`; it need not exist */
	struct policy *policy;
};

/* NULL, and every error found in errors, one per line; warnings are for `check`. */
struct site *site_load(const char *path, struct buf *errors, struct buf *warnings);
/*
 * For commands that only work on what is on disk: without the policy (policy is NULL) and its lists, so that a mistake in them is not in
 * the way; and files that only the parent may read (a key, a password) may be unreadable.
 */
struct site *site_load_command(const char *path, struct buf *errors, struct buf *warnings);
void site_free(struct site *s);

/*
 * The backend of that name, or NULL. Whether a listener's connections go to that one: it names it, or it names none, both speak the same protocol, and no
 * other listener names it. Where every backend of a protocol is named, those of the first listener of that protocol (of SMTP: an inbound one) stand for all.
 * A backend that a section domain names does not count as one that no listener names, as long as there are others. l NULL: of mail that comes through no
 * listener.
 */
const struct backend_conf *site_backend(const struct site *s, const char *name);
bool listener_has_backend(const struct site *s, const struct listener_conf *l, const struct backend_conf *b);

/* The section domain for a lower-case domain: its own, else that of the nearest domain above; NULL: there is none. Whether one of them names the backend. */
const struct domain_conf *site_domain(const struct site *s, const char *domain);
bool site_domain_names(const struct site *s, const struct backend_conf *b);
/* Whether mail for a lower-case domain of ours can go to the backend; and its owner there, NULL: the domain has no section. */
bool site_backend_serves(const struct site *s, const struct backend_conf *b, const char *domain, const struct domain_owner **owner);

/* The section sni for a name that a client asks for (NULL: for none), or NULL. */
const struct sni_conf *site_sni(const struct site *s, const char *name);

/* Whether clients of this listener can log in. */
bool site_offers_auth(const struct site *s, const struct listener_conf *l);

/* Whether an address is in one of these networks. */
bool site_in_networks(const struct net_prefix *list, size_t count, const struct net_addr *a);

/* Who does the site's DKIM: for dkim_verify.h and dkim_signer.h. */
static inline const struct dkim_engine *site_dkim_engine(const struct site *s)
{
	return s->dkim_engine == ENGINE_LIBRARY ? &dkim_engine_opendkim : &dkim_engine_native;
}

/* Whether a lower-case domain is one of ours. */
bool site_accepts(const struct site *s, const char *domain);

#endif
