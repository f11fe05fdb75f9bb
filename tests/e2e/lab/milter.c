/*
 * A mail filter for the tests, built on libmilter: does what a script says and notes what it hears.
 *
 *     milter SOCKET SCRIPT LOG
 *
 * The script is read anew for each connection. Its first line is a number, which stands before each line of the log that comes of such a connection: who reads it knows
 * what a session of before has still said. A line is a moment, what to do there, and arguments, with tabs between; in arguments \n and \r and \t are
 * escaped. A moment is connect, helo, mail, rcpt, data, header, eoh, body, eom, or rcpt=ADDRESS. What to do: continue, accept, reject, tempfail, discard,
 * skip, reply CODE XCODE TEXT, wait MS, die, progress; at eom the changes; and "negotiate steps N", "negotiate symbols STAGE NAMES".
 * The log has a line for each thing heard, with the macros that are known then.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <libmilter/mfapi.h>

enum { LINES = 64, PARTS = 6 };

struct script {
	char *text, *number, *part[LINES][PARTS];
	int lines;
};

static const char *script_path;
static FILE *out;

static char *slurp(const char *path)
{
	FILE *f = fopen(path, "r");
	char *text = calloc(1, 1 << 20);

	if (!f || !text || fread(text, 1, (1 << 20) - 1, f) == 0) {
		if (f)
			fclose(f);
		return text;
	}
	fclose(f);
	return text;
}

static void unescape(char *p)
{
	char *to = p;

	for (; *p; p++) {
		if (*p == '\\' && p[1]) {
			p++;
			*to++ = *p == 'n' ? '\n' : *p == 'r' ? '\r' : *p == 't' ? '\t' : *p;
		} else {
			*to++ = *p;
		}
	}
	*to = '\0';
}

static struct script *script_read(void)
{
	struct script *s = calloc(1, sizeof(*s));
	char *line, *rest, *part;

	s->text = rest = slurp(script_path);
	s->number = strsep(&rest, "\n");
	while (s->lines < LINES && (line = strsep(&rest, "\n"))) {
		int n = 0;

		while (n < PARTS && (part = strsep(&line, "\t"))) {
			unescape(part);
			s->part[s->lines][n++] = part;
		}
		if (n >= 2)
			s->lines++;
	}
	return s;
}

static void note_text(const char *p)
{
	for (; p && *p; p++) {
		if (*p == '\n')
			fputs("\\n", out);
		else if (*p == '\r')
			fputs("\\r", out);
		else if (*p == '\t')
			fputs("\\t", out);
		else if (*p == '\\')
			fputs("\\\\", out);
		else
			fputc(*p, out);
	}
}

/* macros: with those that are known now. */
static void note(SMFICTX *ctx, bool macros, const char *what, const char *a, const char *b, char **argv)
{
	static const char *const names[] = {
		"j", "_", "{daemon_name}", "{daemon_addr}", "{tls_version}", "{cipher}", "i", "{auth_type}", "{auth_authen}", "{mail_addr}", "{mail_host}", "{mail_mailer}",
		"{rcpt_addr}", "{rcpt_host}", "{rcpt_mailer}", "{client_addr}", "{client_name}", "v", NULL,
	};
	const struct script *s = smfi_getpriv(ctx);

	flockfile(out);
	fprintf(out, "%s\t%s", s && s->number ? s->number : "", what);
	if (a)
		fputc('\t', out), note_text(a);
	if (b)
		fputc('\t', out), note_text(b);
	for (; argv && *argv; argv++)
		fputc('\t', out), note_text(*argv);
	for (int i = 0; macros && names[i]; i++) {
		const char *value = smfi_getsymval(ctx, (char *)names[i]);

		if (value)
			fprintf(out, "\t%s=", names[i]), note_text(value);
	}
	fputc('\n', out);
	fflush(out);
	funlockfile(out);
}

/* What the script says for the end of a message. */
static int change(SMFICTX *ctx, char **p)
{
	if (strcmp(p[1], "addheader") == 0)
		return smfi_addheader(ctx, p[2], p[3] ? p[3] : "");
	if (strcmp(p[1], "insheader") == 0)
		return smfi_insheader(ctx, atoi(p[2]), p[3], p[4] ? p[4] : "");
	if (strcmp(p[1], "chgheader") == 0)
		return smfi_chgheader(ctx, p[3], atoi(p[2]), p[4] && *p[4] ? p[4] : NULL);
	if (strcmp(p[1], "replacebody") == 0)
		return smfi_replacebody(ctx, (unsigned char *)p[2], (int)strlen(p[2]));
	if (strcmp(p[1], "largebody") == 0) {
		for (int i = 0, n = atoi(p[2]); i < n; i++) {
			char line[1001];

			memset(line, 'a' + i % 26, 998);
			memcpy(line + 998, "\r\n", 3);
			if (smfi_replacebody(ctx, (unsigned char *)line, 1000) != MI_SUCCESS)
				return MI_FAILURE;
		}
		return MI_SUCCESS;
	}
	if (strcmp(p[1], "addrcpt") == 0)
		return p[3] ? smfi_addrcpt_par(ctx, p[2], p[3]) : smfi_addrcpt(ctx, p[2]);
	if (strcmp(p[1], "delrcpt") == 0)
		return smfi_delrcpt(ctx, p[2]);
	if (strcmp(p[1], "chgfrom") == 0)
		return smfi_chgfrom(ctx, p[2], p[3]);
	if (strcmp(p[1], "quarantine") == 0)
		return smfi_quarantine(ctx, p[2]);
	return smfi_progress(ctx);
}

static sfsistat act(SMFICTX *ctx, const char *moment, const char *argument)
{
	struct script *s = smfi_getpriv(ctx);
	sfsistat verdict = SMFIS_CONTINUE;

	for (int i = 0; s && i < s->lines; i++) {
		char **p = s->part[i];
		size_t len = strlen(moment);

		if (strncmp(p[0], moment, len) != 0 || (p[0][len] && (p[0][len] != '=' || !argument || strcasecmp(p[0] + len + 1, argument) != 0)))
			continue;
		if (strcmp(p[1], "accept") == 0)
			verdict = SMFIS_ACCEPT;
		else if (strcmp(p[1], "reject") == 0)
			verdict = SMFIS_REJECT;
		else if (strcmp(p[1], "tempfail") == 0)
			verdict = SMFIS_TEMPFAIL;
		else if (strcmp(p[1], "discard") == 0)
			verdict = SMFIS_DISCARD;
		else if (strcmp(p[1], "skip") == 0)
			verdict = SMFIS_SKIP;
		else if (strcmp(p[1], "wait") == 0)
			usleep((useconds_t)atoi(p[2]) * 1000);
		else if (strcmp(p[1], "die") == 0)
			_exit(1);
		else if (strcmp(p[1], "reply") == 0) {
			if (smfi_setreply(ctx, p[2], p[3] && *p[3] ? p[3] : NULL, p[4]) == MI_SUCCESS)
				verdict = p[2][0] == '5' ? SMFIS_REJECT : SMFIS_TEMPFAIL;
		} else if (strcmp(p[1], "continue") != 0 && change(ctx, p) != MI_SUCCESS) {
			note(ctx, false, "failed", p[1], NULL, NULL);
		}
	}
	return verdict;
}

static sfsistat on_negotiate(SMFICTX *ctx, unsigned long f0, unsigned long f1, unsigned long f2, unsigned long f3, unsigned long *pf0, unsigned long *pf1,
			     unsigned long *pf2, unsigned long *pf3)
{
	struct script *s = script_read();

	smfi_setpriv(ctx, s);
	*pf0 = f0 & 0x1ff;
	*pf1 = 0;
	*pf2 = *pf3 = 0;
	for (int i = 0; i < s->lines; i++) {
		if (strcmp(s->part[i][0], "negotiate") != 0)
			continue;
		if (strcmp(s->part[i][1], "steps") == 0)
			*pf1 = strtoul(s->part[i][2], NULL, 0) & f1;
		else
			smfi_setsymlist(ctx, atoi(s->part[i][2]), s->part[i][3]);
	}
	return SMFIS_CONTINUE;
}

static sfsistat on_connect(SMFICTX *ctx, char *host, _SOCK_ADDR *addr)
{
	char text[INET6_ADDRSTRLEN] = "none";

	if (addr && addr->sa_family == AF_INET)
		inet_ntop(AF_INET, &((struct sockaddr_in *)addr)->sin_addr, text, sizeof(text));
	else if (addr && addr->sa_family == AF_INET6)
		inet_ntop(AF_INET6, &((struct sockaddr_in6 *)addr)->sin6_addr, text, sizeof(text));
	note(ctx, true, "connect", host, text, NULL);
	return act(ctx, "connect", NULL);
}

static sfsistat on_helo(SMFICTX *ctx, char *helo)
{
	note(ctx, true, "helo", helo, NULL, NULL);
	return act(ctx, "helo", NULL);
}

static sfsistat on_mail(SMFICTX *ctx, char **argv)
{
	note(ctx, true, "mail", NULL, NULL, argv);
	return act(ctx, "mail", NULL);
}

static sfsistat on_rcpt(SMFICTX *ctx, char **argv)
{
	char address[500];

	snprintf(address, sizeof(address), "%.*s", (int)strlen(argv[0]) - 2, argv[0] + 1);
	note(ctx, true, "rcpt", NULL, NULL, argv);
	return act(ctx, "rcpt", address);
}

static sfsistat on_data(SMFICTX *ctx)
{
	note(ctx, true, "data", NULL, NULL, NULL);
	return act(ctx, "data", NULL);
}

static sfsistat on_header(SMFICTX *ctx, char *name, char *value)
{
	note(ctx, false, "header", name, value, NULL);
	return act(ctx, "header", NULL);
}

static sfsistat on_eoh(SMFICTX *ctx)
{
	note(ctx, true, "eoh", NULL, NULL, NULL);
	return act(ctx, "eoh", NULL);
}

static sfsistat on_body(SMFICTX *ctx, unsigned char *p, size_t len)
{
	char text[64];
	unsigned sum = 0;

	for (size_t i = 0; i < len; i++)
		sum = sum * 31 + p[i];
	snprintf(text, sizeof(text), "%zu %08x", len, sum);
	note(ctx, false, "body", text, NULL, NULL);
	return act(ctx, "body", NULL);
}

static sfsistat on_eom(SMFICTX *ctx)
{
	note(ctx, true, "eom", NULL, NULL, NULL);
	return act(ctx, "eom", NULL);
}

static sfsistat on_abort(SMFICTX *ctx)
{
	note(ctx, false, "abort", NULL, NULL, NULL);
	return SMFIS_CONTINUE;
}

static sfsistat on_close(SMFICTX *ctx)
{
	struct script *s = smfi_getpriv(ctx);

	if (!s)                 /* nobody has spoken: who waited for it to start */
		return SMFIS_CONTINUE;
	note(ctx, false, "close", NULL, NULL, NULL);
	free(s->text);
	free(s);
	smfi_setpriv(ctx, NULL);
	return SMFIS_CONTINUE;
}

int main(int argc, char **argv)
{
	struct smfiDesc filter = {
		.xxfi_name = "scripted", .xxfi_version = SMFI_VERSION,
		.xxfi_flags = SMFIF_ADDHDRS | SMFIF_CHGBODY | SMFIF_ADDRCPT | SMFIF_DELRCPT | SMFIF_CHGHDRS | SMFIF_QUARANTINE | SMFIF_CHGFROM | SMFIF_ADDRCPT_PAR | SMFIF_SETSYMLIST,
		.xxfi_connect = on_connect, .xxfi_helo = on_helo, .xxfi_envfrom = on_mail, .xxfi_envrcpt = on_rcpt, .xxfi_header = on_header, .xxfi_eoh = on_eoh,
		.xxfi_body = on_body, .xxfi_eom = on_eom, .xxfi_abort = on_abort, .xxfi_close = on_close, .xxfi_data = on_data, .xxfi_negotiate = on_negotiate,
	};

	if (argc != 4)
		return 2;
	script_path = argv[2];
	out = fopen(argv[3], "a");
	if (!out || smfi_setconn(argv[1]) != MI_SUCCESS || smfi_register(filter) != MI_SUCCESS || smfi_opensocket(1) != MI_SUCCESS)
		return 1;
	smfi_settimeout(60);
	return smfi_main();
}
