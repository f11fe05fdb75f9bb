/*
 * conf_table - what gatepost.conf can hold: sections of options, each with its kind, bounds and
 * default, and where its value goes
 *
 * The tables stand in conf_*.c by subject. Defaults are text and go through the same readers as
 * what the file says; the man page and the shipped file are held against these tables by a test.
 */
#ifndef CONF_TABLE_H
#define CONF_TABLE_H

#include <setjmp.h>

#include "policy/conf.h"

enum conf_kind {
	CONF_TEXT,              /* char *, as it is */
	CONF_PATH,              /* char *, relative to the directory of the file */
	CONF_FILE,              /* char *, what is in the file of that name; path NULL: none */
	CONF_DURATION_MS,       /* int; "500ms", "30s", "5m", "4h", "7d", or 0 */
	CONF_DURATION_S,        /* int */
	CONF_SIZE,              /* size_t; "2048", "256K", "50M", "1G" */
	CONF_SIZE64,            /* uint64_t */
	CONF_INT,               /* int */
	CONF_BOOL,              /* bool; yes or no */
	CONF_WORD,              /* an enum; its values are the places in words */
	CONF_CUSTOM,            /* read() takes it */
	CONF_LIST,              /* { "a", "b" }: read() takes each */
};

struct conf;

struct conf_option {
	const char *name;
	enum conf_kind kind;
	size_t offset;                  /* in what the section's open() gives */
	const char *value;              /* default as text; NULL: none, as of every list */
	int64_t min, max;               /* of numbers, durations in their unit, sizes in bytes */
	const char *const *words;       /* NULL last */
	/* CONF_CUSTOM, CONF_LIST: errors are said with conf_error. */
	void (*read)(struct conf *c, void *at, const char *value, int line);
};

/* Lines of a table: name, kind, offset, default; and bounds. */
#define CONF_OPTION(n, k, o, v) { .name = n, .kind = k, .offset = o, .value = v }
#define CONF_NUMBER(n, k, o, v, low, high)                                                         \
	{                                                                                          \
		.name = n, .kind = k, .offset = o, .value = v, .min = low, .max = high             \
	}

struct conf_section {
	const char *name;               /* "" is the top level */
	const char *titled;             /* what its title is: "zone"; NULL: none, it comes once */
	const struct conf_option *options;      /* name NULL last */
	/* A new one, with its title: where options go. NULL: an error has been said. For sections
	 * without title: NULL stands for the site. */
	void *(*open)(struct conf *c, const char *title, int line);
	/* After its options. line is where it begins, 0 when it is not in the file (those without
	 * title are closed always). */
	void (*close)(struct conf *c, void *at, int line);
};

extern const struct conf_section conf_clamd, conf_rspamd, conf_spamd;
extern const struct conf_section conf_domain;
extern const struct conf_section conf_directory;
extern const struct conf_section conf_milter;
extern const struct conf_section conf_sni, conf_uribl;
/* conf_dns.c, for both kinds of DNS lists: one more (NULL: said), a code, and what codes without a weight weigh. */
struct dnsbl_conf *conf_dnsbl_add(struct conf *c, const char *section, const char *title, int line);
void conf_dnsbl_code_read(struct conf *c, void *at, const char *value, int line);
void conf_dnsbl_weights(struct dnsbl_conf *d);
extern const struct conf_section conf_outbound, conf_tls_policy, conf_dkim_sign, conf_arc_seal, conf_rate, conf_srs;
extern const struct conf_section conf_top, conf_listener, conf_backend, conf_recipients, conf_tls,
	conf_dns, conf_zone, conf_dnsbl, conf_spf, conf_dkim, conf_dmarc, conf_greylist, conf_smtp, conf_auth,
	conf_state, conf_history, conf_quarantine, conf_quarantine_class, conf_spool, conf_limits, conf_client_limits, conf_site_limits, conf_timeouts;
/* What a port is for: what is spoken there, and whether TLS begins with the first octet. */
enum listener_protocol conf_protocol_by_port(int port);
bool conf_implicit_by_port(int port);
const char *conf_protocol_word(enum listener_protocol p);
/* A listener, a backend, when they are read, and the rules: what reads well, and yet is not what anybody wants. */
void conf_mailbox_listener(struct conf *c, const struct listener_conf *l, int line);
void conf_mailbox_backend(struct conf *c, const struct backend_conf *b, int line);
void conf_mailbox_policy(struct conf *c);
/* conf_backend_tls.c: TLS with a backend. */
void conf_tls_level_read(struct conf *c, void *at, const char *value, int line);
void conf_tls_ciphers_read(struct conf *c, void *at, const char *value, int line);
void conf_tls_pin_read(struct conf *c, void *at, const char *value, int line);
void conf_backend_tls_check(struct conf *c, const struct backend_conf *b, int line);
void conf_backend_tls_free(struct backend_conf *b);
/* conf_relays.c: of trusted_relays, when the policy is there. */
void conf_relays_check(struct conf *c);
/* Of all listeners, when backends are known. */
void conf_listener_check(struct conf *c);
/* Of the sections sni and the map of users, when listeners and backends are known. */
void conf_sni_check(struct conf *c);
void conf_sni_free(struct site *s);
/* Of directories, when all is known. */
void conf_directory_check(struct conf *c);
void conf_directory_free(struct site *s);
void conf_user_map_read(struct conf *c, void *at, const char *value, int line);
void conf_user_map_check(struct conf *c);
/* Whether one of them leads to this backend. */
bool conf_led_to(const struct site *s, const struct backend_conf *b);
/* Of the sections domain, when listeners and backends are known, and before conf_listener_check. */
void conf_domain_check(struct conf *c);
void conf_domain_free(struct site *s);
/* Of outbound, when all is known. */
void conf_outbound_check(struct conf *c);
extern const char *const conf_outbound_tls_words[];
extern const struct conf_section *const conf_sections[];        /* all, NULL last; conf_top first */

enum { CONF_ERRORS_MAX = 100, CONF_TEXT_MAX = 1024 * 1024, CONF_VALUES_MAX = 20000 };

struct conf_instance {                  /* a section as it stands in the file */
	const struct conf_section *section;
	char *title;
	int line;
};

struct conf_value {                     /* one value, as libconfuse read it */
	const void *section;            /* its cfg_t */
	const char *name;               /* of the option, a literal of the tables */
	char *text;
	int line;
};

struct conf_message {
	int line;
	char *text;
};

struct conf_key {                       /* a private key that the file names, at the same place as in site->keys; looked at when all has been read */
	const char *option;
	char *path;                     /* as the file says it */
	int line;
	char *section;                  /* "tls", and where that begins: of keys that belong to a certificate */
	int section_line;
	const char *cert_pem;
};

/* One reading of a file. */
struct conf {
	struct site *site;
	const char *path;
	char *dir;                      /* of the file, "." at least */
	struct conf_instance *section;
	size_t section_count;
	struct conf_value *value;
	size_t value_count;
	struct conf_message error[CONF_ERRORS_MAX];
	size_t error_count;
	bool command;                   /* site_load_command */
	struct conf_key *key;
	size_t key_count;
	const char *user_map;           /* its path as the file says it (in value), or NULL */
	int user_map_line;
	const void *current;            /* the cfg_t of the section being read; or NULL */
	struct buf *warnings, *other;   /* warnings; errors of other files, complete lines */
};

/* Say what is wrong on a line (0: of the file as a whole), and what was expected. */
void conf_error(struct conf *c, int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void conf_warning(struct conf *c, int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Read text as o says into at. Errors are said. */
void conf_read(struct conf *c, const struct conf_option *o, void *at, const char *text, int line);

/* Whether the file sets that option in the section that is being closed. */
bool conf_given(const struct conf *c, const char *name);

const struct conf_section *conf_section_find(const char *name, size_t len);
const struct conf_option *conf_option_find(const struct conf_section *s, const char *name,
                                           size_t len);

/* conf_dkim_sign.c, conf_arc_seal.c, conf_srs.c: for site_free. */
void conf_dkim_sign_free(struct site *s);
void conf_arc_seal_free(struct site *s);
void conf_srs_free(struct site *s);
/* conf_milter.c: when listeners are known, when the policy is there, and for site_free. */
void conf_milter_check(struct conf *c);
void conf_milter_policy(struct conf *c);
void conf_milter_free(struct site *s);
void conf_uribl_policy(struct conf *c);         /* when the policy is there */
/* conf_rua.c: when all is known, and for site_free. */
void conf_rua_check(struct conf *c);
void conf_rua_free(struct site *s);
/* conf_client_limits.c: when all is known. */
void conf_client_limits_check(struct conf *c);
/*
 * conf_keys.c. A key, of which this process will only know the public half, and not before conf_keys_check: its place in site->keys. What is wrong with it is
 * said then. One that belongs to a certificate is told so.
 */
int conf_key_add(struct conf *c, enum key_purpose purpose, const char *option, const char *path, int line);
void conf_key_certificate(struct conf *c, int key, const char *cert_pem, int line, const char *section);
void conf_keys_check(struct conf *c);
/* What is in a file, as conf_file, but private keys; *out is freed first. */
void conf_certificate(struct conf *c, const char *option, const char *path, int line, char **out);
/* The key itself, for a command that signs; NULL: said, or not readable for this user. */
struct dkim_private *conf_dkim_key(struct conf *c, const char *option, const char *path, int line);
/* conf_dkim_sign.c, conf_arc_seal.c: when keys have been looked at. */
void conf_dkim_sign_check(struct conf *c);
void conf_arc_seal_check(struct conf *c);
/* Whether that can be the name of a header field which a signature names. */
bool conf_field_name(const char *name);
/* conf_rate.c: when the policy is there. */
void conf_rate_check(struct conf *c);

/*
 * There is no memory: does not come back. The configuration is given up (conf.c), or, where there is nobody to come back to, the process ends.
 * conf_way_out: a process of its own that a configuration is read with has none.
 */
extern jmp_buf *conf_way_out;
__attribute__((noreturn)) void conf_no_memory(void);

/* For the tables: a copy that is there (conf_no_memory else), a longer list. */
char *conf_copy(const char *text);
/* The list with one more, zeroed; *count is raised. */
void *conf_grow(void *list, size_t *count, size_t size);
void conf_list_add(char ***list, size_t *count, const char *text);

/* "host:port" into a new *host (an older one is freed) and *port; 25 where there is none. false: said. */
bool conf_server(struct conf *c, const char *option, const char *value, int line, char **host, unsigned short *port);
/* One network more. False: said, option is its name. */
bool conf_prefix_add(struct conf *c, const char *option, struct net_prefix **list, size_t *count, const char *value, int line);
/*
 * conf_daemon.c: a section of a daemon beside us has these options, and others of its own. Its open() gives a struct whose first member is the struct
 * daemon_conf. conf_daemon_add: when that is not moved any more; one with addresses is then among site->daemon.
 */
#define CONF_DAEMON(connections, timeout, size)                                                                           \
	{ "address", CONF_LIST, 0, .read = conf_daemon_address },                                                         \
	CONF_NUMBER("max_connections", CONF_INT, offsetof(struct daemon_conf, max_connections), connections, 1, 1000),    \
	CONF_NUMBER("connect_timeout", CONF_DURATION_MS, offsetof(struct daemon_conf, connect_timeout_ms), "5s", 100, 60000), \
	CONF_NUMBER("timeout", CONF_DURATION_MS, offsetof(struct daemon_conf, timeout_ms), timeout, 100, 300000),         \
	CONF_NUMBER("idle_timeout", CONF_DURATION_MS, offsetof(struct daemon_conf, idle_ms), "15s", 0, 3600000),          \
	CONF_NUMBER("max_size", CONF_SIZE64, offsetof(struct daemon_conf, max_size), size, 1024, (int64_t)1 << 40),       \
	{ "away", CONF_WORD, offsetof(struct daemon_conf, away), "defer", .words = conf_daemon_away_words }
extern const char *const conf_daemon_away_words[];
void conf_daemon_address(struct conf *c, void *at, const char *value, int line);
void conf_daemon_add(struct conf *c, struct daemon_conf *d, const char *name, int line);
void conf_daemon_free(struct daemon_conf *d);
/* conf_scanners.c: when all is known; for site_free. */
void conf_scanners_check(struct conf *c);
void conf_scanners_policy(struct conf *c);      /* when the policy is there */
void conf_scanners_free(struct site *s);

/* Whether the title of a section is a word for logs; else said. */
bool conf_title_ok(struct conf *c, const char *section, const char *title, int line);

/* path, or dir/path when it is relative; the caller frees it. */
char *conf_path(const struct conf *c, const char *path);
/* What is in a file, at most 1 MiB, no NUL; NULL: said. */
char *conf_file(struct conf *c, const char *name, const char *path, int line, size_t *len);
/* The same, of at most max bytes. */
char *conf_file_large(struct conf *c, const char *name, const char *path, int line, size_t max, size_t *len);
/* The first line of a file, without its end, into *out (an older one is freed); else said. name: of the option. */
void conf_password(struct conf *c, const char *name, const char *path, int line, char **out);

#endif
