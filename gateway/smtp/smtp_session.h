/*
 * smtp_session - what the files of the client's leg share: one connection from a client
 *
 * smtp_session.c holds what all need; smtp_server.c is the dialogue: greeting, commands, replies. smtp_envelope.c does MAIL and RCPT, smtp_receive.c takes the message
 * by DATA or BDAT, smtp_verdict.c judges it and says what becomes of it, smtp_carry.c has it delivered and quarantined, smtp_log.c writes the
 * lines.
 */
#ifndef SMTP_SESSION_H
#define SMTP_SESSION_H

#include "base/connection.h"
#include "base/stream.h"
#include "filters/txn.h"
#include "hop/destination_hop.h"
#include "limit/limit.h"
#include "policy/judge.h"
#include "smtp/route.h"
#include "smtp/smtp_command.h"
#include "smtp/smtp_data.h"
#include "smtp/smtp_legs.h"
#include "smtp/smtp_reply.h"
#include "smtp/smtp_server.h"

enum smtp_state {
	SMTP_GREETED = 1,       /* before EHLO */
	SMTP_READY = 2,         /* after EHLO, no transaction */
	SMTP_MAIL = 4,          /* MAIL was accepted */
	SMTP_RCPT = 8,          /* and at least one recipient */
	SMTP_BDAT = 16,         /* chunks have begun */
	SMTP_CLOSING = 32,
};

/* Moments of a transaction that its log line tells. */
enum smtp_time { SMTP_TIME_RECEIVED, SMTP_TIME_CHECKED, SMTP_TIME_DELIVERED, SMTP_TIMES };

/* One transaction of a session; on the heap only while there is one. */
struct smtp_txn {
	struct txn txn;
	struct judge *judge;            /* one for each of txn.env.rcpt */
	size_t judge_cap;
	unsigned number;                /* in the session, from 1 */
	bool utf8, eightbit, prdr;      /* SMTPUTF8, BODY=8BITMIME, PRDR */
	unsigned rcpt_asked;            /* recipients that were judged, taken or not */
	int64_t start_ms, time_ms[SMTP_TIMES];
	struct smtp_leg *leg[SMTP_LEGS_MAX];    /* the next hops */
	size_t leg_count;
	unsigned char *way;             /* the leg of each recipient, or SMTP_NO_LEG */
	bool spooled;                   /* recipients have several routes, or the next hop is slow: all goes to the spool */
	const char *receive_reply;      /* the message is not wanted any more: what the client hears at its end; NULL: it is */
	bool bdat;                      /* came by BDAT */
	uint64_t received;              /* octets, also those that were not kept */
	size_t hashed;                  /* since others had their turn */
	struct smtp_data data;
	struct ledger_entry *earlier;   /* who has this message from an earlier attempt; NULL: nobody */
	struct client *origin;          /* of a session with a trusted relay: whose message it is (filters/boundary.h), txn.client; NULL: the session's */
	struct message *arrived;        /* while milters' copy stands in its place; NULL: none does */
	char *arrived_from, *arrived_params;    /* and the sender; NULL: as it was */
	bool *has;                      /* who has it now, by place in the envelope; NULL: nobody */
};

/* A client has come: how it is counted. */
struct smtp_admission {
	struct limit_client limit;
	struct limit_seat seat;         /* one of its sessions */
	int delay_ms;                   /* before the greeting */
};

struct smtp_session {
	struct smtp_service *svc;
	const struct listener_conf *listener;
	struct backend_group *group;    /* of its listener */
	struct stream *stream;
	struct client client;
	struct net_addr peer;           /* who has connected: the client, or a load balancer that tells who that is */
	struct net_addr local;          /* where the client has connected to */
	struct smtp_told *told;         /* what a trusted relay has said by XCLIENT, XFORWARD (smtp_told.h); NULL: nothing */
	bool trusted;                   /* the client is one of trusted_relays: it brings mail of others */
	bool check;                     /* a load balancer has connected for itself */
	bool admitted;                  /* the client is known, and there is room for it: */
	struct smtp_admission admission;
	struct net_addr destination;    /* inline: where the client wanted to go; family 0: here (smtp_inline.h) */
	enum smtp_state state;
	int64_t deadline_ms;            /* of the whole session, 0: none; while a message arrives the stream may have a nearer one */
	char id[CONNECTION_ID_MAX];
	unsigned transactions, errors;
	bool put_off;                   /* MAIL, or one of its RCPT, has been answered 4xx: what was sent along with it is no error of the client */
	struct smtp_txn *t;
	struct destination_line line;   /* inline, outbound: the connection with the destination, until it is needed */
	struct pump *passing;           /* inline: what passes untouched goes through it; NULL: nothing does */
	struct destination_ahead *ahead;        /* inline, tls = own-ca: the session with the destination that TLS began with; NULL: there was none */
	struct milters *milters;        /* mail filters of the site that hear what the client says; NULL: none */
	struct smtp_login *login;       /* the session with a backend in which the user has authenticated; NULL: nobody has */
	struct smtp_answer *answer;     /* the last message was taken, and whether the client heard it is not known; NULL: none */
	struct task *task;
	struct smtp_session *prev, *next;       /* all sessions of the service */
};

/*
 * smtp_arrival.c. Whether this peer is a load balancer, which says who the client is; nobody is admitted before that is known. Whether there is room for
 * one session more at all, and of this client, who is told when there is not. And, in the session, the first thing: false: it is over. may wait
 */
bool smtp_session_proxied(const struct listener_conf *l, const struct net_addr *peer);
bool smtp_room_enter(struct smtp_service *svc);
void smtp_room_leave(struct smtp_service *svc);
bool smtp_admit(struct smtp_service *svc, const struct listener_conf *l, int fd, const struct net_addr *client, const char *sid, struct smtp_admission *out);
bool smtp_session_arrive(struct smtp_session *s);
/* We are busy; the caller closes it. */
void smtp_say_busy(const struct listener_conf *l, int fd, const struct net_addr *client, const char *why);

/* Who the client is, and with it whether it is one of ours. */
void smtp_session_know(struct smtp_session *s, const struct net_addr *client);

/* What every backend can do, so that it can be offered. */
struct smtp_caps;
void smtp_offered(const struct smtp_session *s, struct smtp_caps *out);
/* The largest message: our limit, or that of a backend, less what we add. */
uint64_t smtp_size_max(const struct smtp_session *s, const struct smtp_caps *caps);

/* A reply to the client, "250 2.1.0 text", cleaned and cut; collected until the next read. 0 or an error of the stream. may wait */
int smtp_say(struct smtp_session *s, const char *text);
int smtp_sayf(struct smtp_session *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A refusal of the client's doing: counts. When there were too many, the next command hears 421. */
int smtp_refuse(struct smtp_session *s, const char *text);
/* A refusal, text, of what makes no sense since something before it was refused: if that was for now, so is this, and it does not count. */
int smtp_refuse_following(struct smtp_session *s, const char *text);

/* A refusal of ours with the id of the transaction (or session), which the sender's postmaster can quote. out: DELIVERY_REPLY_MAX */
const char *smtp_with_id(const struct smtp_session *s, const char *reply, char *out);

/* The state's key for "mail from this client's network has passed". */
struct state_op;
void smtp_seen_key(struct smtp_session *s, struct state_op *op);

/* Observe mode: what the policy would do is only logged. */
bool smtp_observing(const struct smtp_session *s);

/* The transaction ends, whatever became of it. */
void smtp_transaction_end(struct smtp_session *s);
void smtp_txn_free(struct smtp_txn *t);

/*
 * smtp_limit.c: before a command (last: QUIT), MAIL, RCPT: whether the client's network is within its limits, and the wait where it is near. 0: go on; 1: the
 * client has its answer; or an error of its stream. may wait. And what has happened, counted.
 */
int smtp_limit_command(struct smtp_session *s, bool last);
int smtp_limit_mail(struct smtp_session *s);
int smtp_limit_rcpt(struct smtp_session *s);
void smtp_limit_note(struct smtp_session *s, enum use_kind kind);
void smtp_limit_bytes(struct smtp_session *s, size_t n);
/* Whether a server's refusal of a recipient, "550 5.1.1 text", says that there is no such one. */
bool smtp_reply_unknown(const char *reply);

/* smtp_envelope.c. Each: 0, or an error of the client's stream. may wait */
int smtp_do_mail(struct smtp_session *s, struct smtp_command *c);
int smtp_do_rcpt(struct smtp_session *s, struct smtp_command *c);

/*
 * smtp_milter.c: what milters have changed. smtp_milter_begin: a transaction begins. smtp_milter_change: the verdicts are there: the copy that leaves takes the
 * place of the message until smtp_milter_restore, as does the sender; of the groups that get it those whom milters have added or deleted. NULL, or the reply:
 * they could not be asked, and nobody gets it now. may wait
 */
struct smtp_groups;
int smtp_milter_begin(struct smtp_session *s);
const char *smtp_milter_change(struct smtp_session *s, struct smtp_groups *groups);
void smtp_milter_restore(struct smtp_session *s);

/* smtp_receive.c: the message arrives, filters see it; then smtp_judge_message. may wait */
int smtp_do_data(struct smtp_session *s, struct smtp_command *c);
int smtp_do_bdat(struct smtp_session *s, struct smtp_command *c);

/* smtp_verdict.c: the message is complete: judge, act, reply. may wait */
int smtp_judge_message(struct smtp_session *s);

/*
 * smtp_carry.c: what is to be done for each group is done, and logged: delivered, quarantined, thrown away. Each group's result and reply
 * are set. each: the client hears each recipient's reply, so each group is tried for itself; NULL. Else, at the first delivery that fails, or
 * when there is no room for what is quarantined, the rest is left undone: the client hears the reply that is returned and comes again. may wait
 */
struct smtp_groups;
struct smtp_group;
const char *smtp_carry_out(struct smtp_session *s, struct smtp_groups *groups, bool each);

/*
 * smtp_spool.c: what cannot be delivered while the client waits is kept in the spool. smtp_spool_several: whether a transaction may have recipients of this
 * route beside those of its own. smtp_spool_away: whether a recipient whose next hop did not answer, with this reply, is taken nevertheless; known: somebody
 * else than the server behind says that he exists. smtp_spool_begin: from now on nobody is asked any more; smtp_spool_leg: nobody of this leg, which is one
 * to servers behind us.
 */
bool smtp_spool_several(const struct smtp_session *s, const struct route *r);
bool smtp_spool_away(const struct smtp_session *s, const struct route *r, const char *reply, bool known);
void smtp_spool_begin(struct smtp_session *s, const char *why);
void smtp_spool_leg(struct smtp_session *s, struct smtp_leg *leg, const char *why);
/* Keep the message, with this header, for the group's targets; its result and reply are set. TAKEN: it is on stable storage. may wait */
void smtp_spool_group(struct smtp_session *s, struct smtp_group *g, const struct buf *header);

/*
 * A group has been delivered in session: who asked to hear of success (NOTIFY=SUCCESS), and was handed to a server that sends no notifications, hears
 * that it was relayed (RFC 3461 5.2.2), by way of the spool. may wait
 */
void smtp_spool_relayed(struct smtp_session *s, const struct smtp_group *g);

/* smtp_etrn.c: RFC 1985, from the servers behind and other hosts of ours. may wait */
bool smtp_may_etrn(const struct smtp_session *s);
int smtp_do_etrn(struct smtp_session *s, struct smtp_command *c);

/* What the header tells is established; and nobody gets anything: all hear this reply, which is logged for each and returned. may wait */
void smtp_carry_know(struct smtp_session *s);
const char *smtp_carry_none(struct smtp_session *s, struct smtp_groups *groups, const char *reply);

/* smtp_prdr.c: the reply for each recipient, and the one for the message. may wait */
int smtp_prdr_say(struct smtp_session *s, const struct smtp_groups *groups);

/*
 * smtp_answer.c: whether the client got the answer to a message that somebody has now, s->t->has. What happens then is known only by what the client does
 * next: a command shows that it did. If it did not, the ledger gets an entry, so that the retry is not delivered again.
 */
/* Who has the message is in the ledger while the client is told to come again. may wait */
void smtp_answer_partial(struct smtp_session *s);
/* The answer has been written. early: what was there to be read before that says nothing of it. s->t is taken over. */
void smtp_answer_await(struct smtp_session *s, bool early);
void smtp_answer_heard(struct smtp_session *s);         /* a command has come */
void smtp_answer_rest(struct smtp_session *s);          /* the client takes its time: the message is given up, its hash remains. may wait */
void smtp_answer_settle(struct smtp_session *s);        /* the session ends. may wait */
void smtp_answer_free(struct smtp_session *s);

/* smtp_log.c: one line for one verdict, on rcpt[from..from+count) of the envelope or on a recipient that was refused. */
struct smtp_verdict_line {
	const char *verdict;            /* "accept", "reject"... what was done */
	const char *would;              /* observe mode: what the policy would have done, or NULL */
	const struct verdict *v;        /* NULL: no policy was asked */
	const char *reply;              /* what the client heard */
	const char *backend;            /* name, or NULL */
	const char *backend_tls;        /* how the session with it was encrypted, where that is worth a word; or NULL */
	const char *quarantine_id;      /* or NULL */
	const struct recipient *const *rcpt;
	size_t rcpt_count;
	const char *duplicate;          /* of which transaction this is a retry, or NULL */
	struct judge *judge;            /* for its facts, may be NULL */
};
void smtp_log_verdict(struct smtp_session *s, const struct smtp_verdict_line *line);
/*
 * Lines for a group, one for each rule and set of effects in it. quarantine_id: or NULL. reply NULL: of a group that is refused or deferred each
 * verdict's own. verdict NULL: the policy's.
 */
void smtp_log_group(struct smtp_session *s, const struct smtp_group *g, const char *verdict, const char *reply, const char *quarantine_id);
/* A transaction that ended without a verdict, and why; reply may be NULL. */
void smtp_log_broken(struct smtp_session *s, const char *why, const char *reply);

#endif
