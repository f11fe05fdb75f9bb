/* advise_ptr - the names of the addresses that mail leaves from: many receivers want one that leads back, RFC 1912 section 2.1 */
#include <stdio.h>
#include <string.h>

#include "command/advise.h"

enum { NAMES_MAX = 10 };

static const char NAME[] = "PTR";

struct found {
	enum dns_status status;
	char name[DOMAIN_MAX];          /* the one that leads back, else the first; "": none that is one */
	bool confirmed, unknown;        /* it has the address; that could not be asked */
};

static bool has_address(const struct dns_answer *answer, const struct net_addr *addr)
{
	size_t len = addr->family == AF_INET6 ? 16 : 4;

	for (size_t i = 0; i < answer->count; i++)
		if (answer->rr[i].len == len && memcmp(answer->rr[i].data, addr->ip, len) == 0)
			return true;
	return false;
}

/* may wait */
static void find(struct advise *a, const struct net_addr *addr, struct found *out)
{
	AUTO(dns_lookup) struct dns_lookup *ptr = NULL;
	const struct dns_answer *names;
	struct sockaddr_storage sa;
	char reverse[DNS_NAME_MAX];

	*out = (struct found){ .status = DNS_TEMPFAIL };
	net_to_sockaddr(addr, &sa);
	if (dns_reverse((struct sockaddr *)&sa, NULL, reverse, sizeof(reverse)) < 0 || dns_start(a->dns, reverse, DNS_PTR, &ptr) < 0)
		return;
	names = dns_wait(ptr);
	out->status = names->status;
	for (size_t i = 0; i < names->count && i < NAMES_MAX && !out->confirmed; i++) {
		AUTO(dns_lookup) struct dns_lookup *forward = NULL;
		char text[DNS_NAME_MAX], name[DOMAIN_MAX];
		const struct dns_answer *answer;

		if (dns_name(&names->rr[i], 0, text) < 0 || domain_canonical(text, strlen(text), name) < 0 ||
		    dns_start(a->dns, name, addr->family == AF_INET6 ? DNS_AAAA : DNS_A, &forward) < 0)
			continue;
		answer = dns_wait(forward);
		out->confirmed = has_address(answer, addr);
		out->unknown |= answer->status == DNS_TEMPFAIL;
		if (out->confirmed || !out->name[0])
			memcpy(out->name, name, sizeof(name));
	}
}

/* sends: mail leaves from there, as far as is known; else an MX, which may send or not. */
static void judge(struct advise *a, const struct net_addr *addr, bool sends, const struct found *f)
{
	enum advice_level level = sends ? ADVICE_BAD : ADVICE_WARN;
	const char *unless = sends ? "" : ", if mail leaves from there";
	char ip[NET_TEXT_MAX];

	net_text(addr, ip);
	if (f->confirmed)
		advise_say(a, ADVICE_OK, NAME, "%s is %s, and that is %s", ip, f->name, ip);
	else if (f->status == DNS_TEMPFAIL || f->unknown)
		advise_say(a, ADVICE_WARN, NAME, "the DNS gives no answer for the name of %s", ip);
	else if (f->status != DNS_OK || !f->name[0])
		advise_say(a, level, NAME, "%s has no name: many receivers refuse mail from it. Ask whoever gave you the address for a PTR record%s", ip, unless);
	else
		advise_say(a, level, NAME, "%s is called %s, but that name does not have the address: many receivers refuse mail from it; make both agree%s", ip,
			   f->name, unless);
}

/* may wait */
static void look(struct advise *a, const struct net_addr *addr, bool sends)
{
	struct found f;

	find(a, addr, &f);
	judge(a, addr, sends, &f);
}

void advise_ptr(struct advise *a)
{
	for (size_t i = 0; i < a->from_count; i++)
		look(a, &a->from[i], true);
	if (a->from_count)
		return;
	for (size_t i = 0; i < a->host_count; i++)
		for (size_t k = 0; k < a->host[i].count; k++)
			look(a, &a->host[i].address[k], false);
}
