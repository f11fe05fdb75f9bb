/*
 * imap_scan_impl - what the parts of imap_scan share: imap_scan.c (the session, the client's commands), imap_scan_hear.c (the server's responses),
 * imap_scan_fetch.c (a FETCH that shows messages), imap_scan_own.c (what the gateway asks for itself), imap_scan_show.c (notices instead of content).
 * Nobody else includes it.
 *
 * One task does it all. Whoever has to wait for something calls imap_scan_move() until it has come: bytes of the server are heard and passed on meanwhile,
 * those of the client are kept.
 */
#ifndef IMAP_SCAN_IMPL_H
#define IMAP_SCAN_IMPL_H

#include "access/access_session.h"
#include "imap/imap_after.h"
#include "imap/imap_caps.h"
#include "imap/imap_fetch.h"
#include "imap/imap_response.h"
#include "imap/imap_runs.h"
#include "imap/imap_wire.h"
#include "retrieval/retrieval.h"

enum { IMAP_VALIDITY_MAX = 11 };

/* A command of the client's that the server has not answered yet. */
struct imap_pending {
	struct imap_pending *next;
	enum imap_deed deed;
	char *mailbox;                  /* SELECT */
	char tag[IMAP_TAG_MAX + 1];
};

/* What comes next from the client. */
enum imap_up {
	IMAP_UP_COMMAND,
	IMAP_UP_PLUS,                   /* nothing, until the server has said whether it takes it */
	IMAP_UP_LITERAL, IMAP_UP_MORE,  /* octets of a literal, and the line behind it */
	IMAP_UP_IDLE,                   /* DONE */
	IMAP_UP_SKIP, IMAP_UP_SKIP_MORE,        /* the same of a command that was refused */
};

/* A message that is not to be seen. */
struct imap_convict {
	uint32_t uid;
	char *header, *structure;       /* where it is asked for; NULL: not */
	size_t header_len, structure_len;
	char id[STORE_ID_MAX], reason[NOTICE_REASON_MAX];
};

/* A FETCH of the client's that shows messages. */
struct imap_job {
	char tag[IMAP_TAG_MAX + 1];
	bool uid;
	char *args;                     /* fetch points into it */
	struct imap_fetch fetch;
	struct imap_runs runs;          /* the messages that may be shown, convicted or not */
	struct imap_convict *convict;   /* by ascending UID */
	size_t convicts, cap;
	size_t held;                    /* octets of their headers and structures */
	int64_t told_ms;                /* when the client last heard that we are at it */
};

/* A command of our own. */
enum imap_own_kind { IMAP_OWN_UIDS, IMAP_OWN_MESSAGE, IMAP_OWN_DETAILS };
enum imap_own_item { IMAP_OWN_OTHER, IMAP_OWN_UID, IMAP_OWN_BODY, IMAP_OWN_HEADER, IMAP_OWN_STRUCTURE, IMAP_OWN_NOTHING };
struct imap_own {
	enum imap_own_kind kind;
	uint32_t number;                /* MESSAGE, DETAILS: the message's number or UID, as it was asked for */
	bool by_uid;
	char tag[24];
	bool done;
	enum imap_status status;
	char words[256];                /* its answer, from the status on */
	int rc;                         /* what went wrong here */
	struct imap_runs *runs;         /* UIDS */
	struct retrieval_scan *scan;    /* MESSAGE */
	bool got;                       /* the content has come */
	uint32_t expected;              /* the UID that it is known by; a server that says another one has another message there */
	struct buf header, structure;   /* DETAILS */
	/* the response that is being read */
	enum imap_own_item item;
	bool ours;                      /* it has what was asked for: no news of a message's flags */
	uint32_t uid;
	struct buf value, others;       /* the item as it came; those that are not for us, for the client */
};

struct imap_scan {
	struct access_session *s;
	struct imap_wire client, server;
	struct imap_response response;
	struct imap_view view;
	struct buf words;               /* our own, for the client, to be said between two responses of the server */
	struct imap_pending *first, **last;
	size_t pending;
	enum imap_up up, up_after;      /* up_after: of PLUS */
	uint64_t up_left;
	bool plus_ours;                 /* PLUS: the client does not wait for it, and does not hear it */
	struct imap_pending *current;   /* the command of which more comes; NULL: it has been answered */
	struct imap_pending *naming;    /* SELECT, whose literal is the mailbox */
	bool selected;
	char *mailbox;
	char validity[IMAP_VALIDITY_MAX], validity_new[IMAP_VALIDITY_MAX];
	struct imap_job *job;
	bool asked;                     /* the job's FETCH is with the server */
	struct imap_own *own;
	unsigned serial;                /* of our own tags */
	char prefix[9];                 /* of them */
	/* how what the server shows is shown: the response that is being read, and its item */
	enum { IMAP_SEEN_ALL, IMAP_SEEN_NOTICE, IMAP_SEEN_UNCHECKED } seen;
	const struct imap_convict *convict;
	struct imap_item item;
	bool replacing;
	struct imap_shower *shower;     /* while something is replaced */
	bool warned;
	bool farewell;                  /* the server has said BYE */
	int mistakes;
	int64_t moved_ms;
	int rounds;                     /* without a wait */
	bool news, waiting;
};

/* A round of reading and passing on; waits where nothing moves. 0; less when the session is over. may wait */
int imap_scan_move(struct imap_scan *x);
/* A line of our own. 0 or -ENOMEM. */
int imap_scan_say(struct imap_scan *x, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The session is over: "* BYE words". Returns -EPIPE. */
int imap_scan_bye(struct imap_scan *x, const char *end, const char *why, const char *words);
/* A command of the client's goes to the server. NULL: no memory. */
struct imap_pending *imap_scan_pending(struct imap_scan *x, const char *tag, enum imap_deed deed);

/* What has come from the server. may wait */
int imap_scan_hear(struct imap_scan *x);

/* A FETCH that shows something, whose arguments imap_fetch_parse takes, to its end; its line is eaten. may wait */
int imap_scan_fetch(struct imap_scan *x, const struct imap_after *a, size_t line_len);
void imap_job_free(struct imap_job *job);
/* From time to time, the client hears that we are still at it. */
int imap_job_tell(struct imap_scan *x);
const struct imap_convict *imap_job_convict(const struct imap_job *job, uint32_t uid);

/* Ask the server: "[UID ]FETCH what", and wait for the answer, which is in own then. 0; less when the session is over. may wait */
int imap_own_ask(struct imap_scan *x, struct imap_own *own, const char *what, size_t len);
int imap_own_piece(struct imap_scan *x, const struct imap_piece *p);    /* of a FETCH response. may wait */
void imap_own_init(struct imap_own *own, enum imap_own_kind kind, bool by_uid);
void imap_own_release(struct imap_own *own);

/* The pieces of a FETCH response for the client. p->p may be written to. */
int imap_show_piece(struct imap_scan *x, const struct imap_piece *p);
void imap_shower_free(struct imap_shower *w);

#endif
