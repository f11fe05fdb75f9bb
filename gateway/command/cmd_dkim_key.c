#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "command/command.h"
#include "command/dkim_published.h"
#include "filters/domain.h"

enum { PEM_MAX = 64 * 1024, RECORD_MAX = 4096 };

static const char usage[] =
	"usage: gatepost dkim-key [--type rsa|ed25519] [--bits N] [-o FILE] DOMAIN SELECTOR\n"
	"       gatepost dkim-key --show FILE DOMAIN SELECTOR\n"
	"\n"
	"Makes a key that messages of DOMAIN are signed with (dkim_sign), or mail from outside is sealed with (arc_seal), and prints\n"
	"the DNS record that publishes it and the lines for gatepost.conf. A file that is there is never written over.\n"
	"\n"
	"      --type TYPE     rsa (default: every receiver knows it), or ed25519 (short; as a second key beside RSA)\n"
	"      --bits N        of an RSA key: 1024 to 4096 (2048)\n"
	"  -o, --output FILE   where the private key goes, readable by its owner alone (DOMAIN.SELECTOR.pem)\n"
	"      --show FILE     make none: print the record of the key in FILE\n"
	"  -h, --help          this text\n";

struct dkim_key_command {
	enum dkim_key_type type;
	unsigned bits;
	const char *output, *show;
	char domain[DOMAIN_MAX], selector[DOMAIN_MAX], name[DOMAIN_MAX];
	char path[PATH_MAX];            /* of the key, for the configuration */
};

static int fail(const char *what, const char *why)
{
	fprintf(stderr, "gatepost dkim-key: %s: %s\n", what, why);
	return 1;
}

static int parse_number(const char *text, unsigned *out)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || n > UINT_MAX)
		return -EINVAL;
	*out = (unsigned)n;
	return 0;
}

/* 0, 1 (said), or -1: help was printed. */
static int parse_options(struct dkim_key_command *x, int argc, char **argv)
{
	static const struct option options[] = {
		{ "type", required_argument, NULL, 't' }, { "bits", required_argument, NULL, 'b' }, { "output", required_argument, NULL, 'o' },
		{ "show", required_argument, NULL, 's' }, { "help", no_argument, NULL, 'h' }, { 0 },
	};
	bool bits = false;
	int c;

	while ((c = getopt_long(argc, argv, "o:h", options, NULL)) != -1) {
		switch (c) {
		case 't':
			if (strcmp(optarg, "rsa") != 0 && strcmp(optarg, "ed25519") != 0)
				return fail(optarg, "is no type of key, expected rsa or ed25519");
			x->type = strcmp(optarg, "rsa") == 0 ? DKIM_KEY_RSA : DKIM_KEY_ED25519;
			break;
		case 'b':
			bits = true;
			if (parse_number(optarg, &x->bits) < 0 || x->bits < DKIM_PRIVATE_BITS_MIN || x->bits > DKIM_PRIVATE_BITS_MAX)
				return fail(optarg, "is no size of an RSA key, expected 1024 to 4096");
			break;
		case 'o': x->output = optarg; break;
		case 's': x->show = optarg; break;
		case 'h': fputs(usage, stdout); return -1;
		default: fputs(usage, stderr); return 1;
		}
	}
	if (optind + 2 != argc || (x->show && (x->output || bits))) {
		fputs(usage, stderr);
		return 1;
	}
	if (bits && x->type == DKIM_KEY_ED25519)
		return fail("--bits", "an Ed25519 key has one size, expected it with RSA only");
	if (domain_canonical(argv[optind], strlen(argv[optind]), x->domain) < 0 || domain_labels(x->domain) < 2)
		return fail(argv[optind], "is no domain, expected one such as example.com");
	if (domain_canonical(argv[optind + 1], strlen(argv[optind + 1]), x->selector) < 0 ||
	    dkim_published_name(x->selector, x->domain, x->name) < 0)
		return fail(argv[optind + 1], "is no selector, expected a word such as 2026a");
	return 0;
}

/* The key in a file, wiped from memory but for the key itself. */
static struct dkim_private *read_key(const char *path)
{
	struct dkim_private *key = NULL;
	const char *why = "it is too large to be a key";
	char *text = calloc(1, PEM_MAX);
	FILE *f = fopen(path, "re");
	size_t n = text && f ? fread(text, 1, PEM_MAX, f) : 0;

	if (!text || !f || ferror(f))
		fail(path, strerror(errno));
	else if (n == PEM_MAX || !(key = dkim_private_read(text, n, &why)))
		fail(path, why);
	if (f)
		fclose(f);
	if (text)
		explicit_bzero(text, PEM_MAX);
	free(text);
	return key;
}

/* The key into the new file behind fd; a file that is not whole is removed. */
static int write_key(const struct dkim_private *key, int fd, const char *path)
{
	AUTO(buf) struct buf pem = BUF_INIT(PEM_MAX);
	int rc = dkim_private_pem(key, &pem);

	if (rc == 0)
		rc = file_write_all(fd, pem.data, pem.len);
	if (rc == 0 && fsync(fd) < 0)
		rc = -errno;
	if (pem.data)
		explicit_bzero(pem.data, pem.len);
	if (rc < 0) {
		unlink(path);
		fail(path, strerror(-rc));
	}
	return rc;
}

/* A new key in a file that was not there before. */
static struct dkim_private *make_key(struct dkim_key_command *x)
{
	int fd = open(x->output, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	struct dkim_private *key;

	if (fd < 0) {
		fail(x->output, errno == EEXIST ? "is there already, and a key is never written over; expected another file, with -o" : strerror(errno));
		return NULL;
	}
	key = dkim_private_make(x->type, x->bits);
	if (!key) {
		unlink(x->output);
		fail("key", "could not be made");
	} else if (write_key(key, fd, x->output) < 0) {
		dkim_private_free(key);
		key = NULL;
	}
	close(fd);
	return key;
}

static int print(const struct dkim_key_command *x, const struct dkim_private *key)
{
	AUTO(buf) struct buf record = BUF_INIT(RECORD_MAX), zone = BUF_INIT(2 * RECORD_MAX);
	bool rsa = dkim_private_type(key) == DKIM_KEY_RSA;

	if (dkim_private_record(key, &record) < 0 || dkim_published_zone(x->name, buf_str(&record), &zone) < 0)
		return fail("record", "out of memory");
	printf("%s: %s%s key", x->path, x->show ? "an " : "a new ", rsa ? "RSA" : "Ed25519");
	if (rsa)
		printf(" of %u bits", dkim_private_bits(key));
	printf("\n\nfor a zone file:\n\n%s", buf_str(&zone));
	printf("\nfor a form, type TXT, name and value (in one line):\n\n%s\n%s\n", x->name, buf_str(&record));
	printf("\nfor gatepost.conf, when the record can be looked up:\n\ndkim_sign %s {\n\tkeys = { \"%s=%s\" }\n}\n", x->domain, x->selector, x->path);
	if (rsa)
		printf("\nor, if it is for seals (ARC) of mail from outside:\n\narc_seal %s {\n\tselector = \"%s\"\n\tkey = \"%s\"\n}\n", x->domain, x->selector, x->path);
	if (!rsa)
		printf("\nNot every receiver knows Ed25519: keep an RSA key beside it.\n");
	else if (dkim_private_bits(key) < DKIM_PRIVATE_BITS_GOOD)
		printf("\nThis is a short key: 2048 bits are better.\n");
	return fflush(stdout) == 0 ? 0 : fail("output", strerror(errno));
}

int cmd_dkim_key(int argc, char **argv)
{
	struct dkim_key_command *x = calloc(1, sizeof(*x));
	struct dkim_private *key = NULL;
	char *made = NULL;
	int status = 1;

	if (!x)
		return fail("start", "out of memory");
	x->type = DKIM_KEY_RSA;
	x->bits = DKIM_PRIVATE_BITS_GOOD;
	status = parse_options(x, argc, argv);
	if (status == 0 && !x->show && !x->output) {
		status = asprintf(&made, "%s.%s.pem", x->domain, x->selector) < 0 ? fail("start", "out of memory") : 0;
		x->output = made;
	}
	if (status == 0) {
		key = x->show ? read_key(x->show) : make_key(x);
		status = key ? 0 : 1;
	}
	if (status == 0 && !realpath(x->show ? x->show : x->output, x->path))
		status = fail(x->show ? x->show : x->output, strerror(errno));
	if (status == 0)
		status = print(x, key);
	dkim_private_free(key);
	free(made);
	free(x);
	return status < 0 ? 0 : status;
}
