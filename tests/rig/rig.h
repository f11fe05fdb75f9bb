/*
 * rig - whole sessions of the gateway in one process: a client's end, the service between, the servers behind it, over wires of kernel.h
 *
 *     rig_open("/tmp-less configuration text", policy);        once in a process
 *     rig_begin();                                             for each session: nothing is left of the one before
 *     struct end *client = rig_connect("in", "198.51.100.7");
 *     script_begin(&rig.client.script, ...);
 *     rig_run();                                               until nothing more can happen; both ends have left
 *     ... rig.client.end.heard, rig.host, kernel_log() ...
 *     rig_finish();                                            asserts that nobody waits any more and that all is released
 *
 * The site, its policy and the TLS contexts are made once; service, backends, state and store are made anew for each session. State and store are
 * tables in memory; names are looked up in a table (tests/support/dns_table.h).
 */
#ifndef RIG_RIG_H
#define RIG_RIG_H

#include "policy/state.h"
#include "policy/store.h"
#include "rig/mailbox_host.h"
#include "rig/mailhost.h"
#include "rig/script.h"

struct dns_table;
struct site;

enum { RIG_CONNECTIONS = 24, RIG_RECORDS = 128 };

/* One connection of the gateway with a server. */
struct rig_server {
	struct end end;
	bool scripted;                  /* by rig.answers */
	bool smtp;
	struct mailhost mailhost;       /* SMTP */
	struct mailbox_host mailbox;    /* else, if it is not scripted */
};

struct rig {
	struct site *site;
	struct dns_table *dns;
	/* the ends */
	struct {
		struct end end;
		struct script script;
		/* Instead of the script; or NULL. */
		enum script_state (*step)(struct end *e);
	} client;
	struct rig_server server[RIG_CONNECTIONS];
	size_t servers;
	struct mailhost_site host;
	bool scripted;                  /* connections from now on are answered by `answers` */
	struct script answers;
	struct pace server_pace;
	bool unasked;                   /* servers are not asked for recipients that the gateway makes up; before rig_begin */
	bool refuse;                    /* no server answers any more */
	/* what was kept */
	struct state state;
	struct state_op record[RIG_RECORDS];
	size_t records;
	struct store store;
	int kept;                       /* in the quarantine */
	int jumps;
};

extern struct rig rig;

/* text: of gatepost.conf; policy: of policy.conf. Asserts that there is no mistake in them. */
void rig_open(const char *text, const char *policy);
void rig_close(void);

/* pace: of the servers' ends, those that are asked how they are at the start not included. */
void rig_begin(void);
struct end *rig_connect(const char *listener, const char *client);
void rig_run(void);
void rig_finish(void);

/* All that was said on both legs, to be compared or shown. */
void rig_transcript(struct buf *out);

#endif
