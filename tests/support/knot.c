#include "tests/support/knot.h"

#include <arpa/inet.h>
#include <assert.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/dns.h"
#include "tests/support/port.h"

static const char *const paths[] = { "/usr/sbin/knotd", "/usr/bin/knotd", NULL };

struct knot {
	char dir[64];
	pid_t pid;
	unsigned short port;
};

static const char *knot_path(void)
{
	for (int i = 0; paths[i]; i++)
		if (access(paths[i], X_OK) == 0)
			return paths[i];
	return NULL;
}

bool knot_there(void)
{
	return knot_path() != NULL;
}

static FILE *open_in(const struct knot *k, const char *name, const char *mode)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", k->dir, name);
	f = fopen(path, mode);
	assert(f);
	return f;
}

static void zone_write(const struct knot *k, const struct knot_zone *z)
{
	char name[300];
	FILE *f;

	snprintf(name, sizeof(name), "%s.zone", z->name);
	f = open_in(k, name, "w");
	if (z->text[0] != ';')
		fprintf(f, "$ORIGIN %s.\n$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n", z->name);
	fputs(z->text, f);
	fclose(f);
}

static void conf_write(const struct knot *k, const struct knot_zone *zones)
{
	FILE *f = open_in(k, "knot.conf", "w");

	fprintf(f, "server:\n  rundir: %s\n  listen: 127.0.0.1@%u\n  udp-workers: 1\n  tcp-workers: 2\n  background-workers: 1\n", k->dir, k->port);
	fprintf(f, "log:\n - target: %s/log\n   any: info\ndatabase:\n  storage: %s\n", k->dir, k->dir);
	fprintf(f, "policy:\n - id: rsasha256\n   algorithm: rsasha256\n - id: ecdsap256sha256\n   algorithm: ecdsap256sha256\n   nsec3: on\n");
	fprintf(f, "zone:\n");
	for (const struct knot_zone *z = zones; z->name; z++) {
		fprintf(f, " - domain: %s\n   storage: %s\n   file: %s.zone\n   zonefile-sync: 0\n   journal-content: none\n", z->name, k->dir, z->name);
		if (z->sign)
			fprintf(f, "   dnssec-signing: on\n   dnssec-policy: %s\n", z->sign);
	}
	fclose(f);
}

/* Ask for the zone's SOA until it is answered: the zone is loaded. */
static bool zone_up(const struct knot *k, const char *name)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(k->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	uint8_t q[12 + DNS_WIRE_MAX + 4] = { 0, 1, 0, 0, 0, 1 }, a[512];
	int fd = socket(AF_INET, SOCK_DGRAM, 0), n = dns_name_wire(name, q + 12);
	bool up = false;

	assert(fd >= 0 && n > 0);
	q[12 + n + 1] = DNS_SOA;
	q[12 + n + 3] = 1;
	connect(fd, (struct sockaddr *)&sin, sizeof(sin));
	for (int tries = 0; tries < 2000 && !up && waitpid(k->pid, NULL, WNOHANG) == 0; tries++) {
		struct pollfd p = { .fd = fd, .events = POLLIN };

		if (send(fd, q, (size_t)(12 + n + 4), 0) < 0 || poll(&p, 1, 20) <= 0 || recv(fd, a, sizeof(a), 0) < 12 || (a[3] & 15) != 0)
			poll(NULL, 0, 10);      /* not listening yet, or not loaded */
		else
			up = true;
	}
	close(fd);
	return up;
}

/* Whether all zones are up. */
static bool run(struct knot *k, const struct knot_zone *zones)
{
	char conf[128], log[128];

	k->port = port_free();
	conf_write(k, zones);
	snprintf(conf, sizeof(conf), "%s/knot.conf", k->dir);
	snprintf(log, sizeof(log), "%s/out", k->dir);
	k->pid = fork();
	assert(k->pid >= 0);
	if (k->pid == 0) {
		int fd = open(log, O_CREAT | O_WRONLY, 0600);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(fd, 1);
		dup2(fd, 2);
		execl(knot_path(), "knotd", "-c", conf, (char *)NULL);
		_exit(127);
	}
	for (const struct knot_zone *z = zones; z->name; z++)
		if (!zone_up(k, z->name)) {
			fprintf(stderr, "knotd: zone %s does not come up, see %s\n", z->name, k->dir);
			return false;
		}
	return true;
}

/* It ends where a resolver, which may ask from any port, has ours at that moment: then once more, with another. */
struct knot *knot_start(const struct knot_zone *zones)
{
	struct knot *k = calloc(1, sizeof(*k));
	int tries = 1;

	assert(k);
	strcpy(k->dir, "/tmp/knot.XXXXXX");
	assert(mkdtemp(k->dir));
	for (const struct knot_zone *z = zones; z->name; z++)
		zone_write(k, z);
	while (!run(k, zones))
		if (kill(k->pid, 0) == 0 || tries++ == 5)
			abort();
	return k;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

void knot_stop(struct knot *k)
{
	if (!k)
		return;
	kill(k->pid, SIGKILL);
	waitpid(k->pid, NULL, 0);
	nftw(k->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	free(k);
}

unsigned short knot_port(const struct knot *k)
{
	return k->port;
}

char *knot_zone_text(const struct knot *k, const char *name)
{
	char file[300], *text;
	long size;
	FILE *f;

	snprintf(file, sizeof(file), "%s.zone", name);
	f = open_in(k, file, "r");
	fseek(f, 0, SEEK_END);
	size = ftell(f);
	rewind(f);
	text = calloc(1, (size_t)size + 1);
	assert(text && fread(text, 1, (size_t)size, f) == (size_t)size);
	fclose(f);
	return text;
}
