/*
 * rua_send - the aggregate report of one domain and day, put into the spool for those who may have it
 *
 * One message for all its addresses (all of them stand in the domain's DNS for everybody to see), so that it is kept whole or not at all. It comes from the null
 * sender: nothing ever answers it with a bounce, which would be mail to be reported in turn. Where a section dkim_sign signs for its author it does not
 * leave unsigned.
 *
 * Kept in the spool first, said to be reported then: who dies between the two has the same report sent once more, under the same Report-ID, Message-ID and
 * file name.
 */
#ifndef RUA_SEND_H
#define RUA_SEND_H

#include <stdbool.h>
#include <stdint.h>

struct channel;
struct gate;
struct rua_domain;
struct smtp_service;

enum rua_sent {
	RUA_SENT,               /* it is in the spool */
	RUA_SENT_NOT,           /* it never will be; said in the log */
	RUA_SENT_LATER,         /* not now; said in the log */
	RUA_SENT_ELSEWHERE,     /* it has been reported meanwhile */
};

struct rua_sender {
	struct smtp_service *svc;
	struct channel *history;
	struct gate *gate;              /* whom the DNS has answered: so many at once make their messages, as those are large */
};

/*
 * last: what cannot be found out now counts as no. *noted: of RUA_SENT and RUA_SENT_NOT: the history knows; else it is to be told (rua_day_done). may wait, and lets
 * others run
 */
enum rua_sent rua_send(const struct rua_sender *sender, int64_t day, const struct rua_domain *d, bool last, bool *noted);

#endif
