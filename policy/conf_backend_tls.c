/* conf_backend_tls - gatepost.conf: TLS with one server behind us: how old it may be, and what its certificate is known by */
#include <stdlib.h>
#include <string.h>

#include "policy/conf_table.h"

void conf_tls_level_read(struct conf *c, void *at, const char *value, int line)
{
	struct backend_conf *b = at;

	if (strlen(value) == 1 && value[0] >= '0' && value[0] <= '5')
		b->tls_level = value[0] - '0';
	else
		conf_error(c, line, "tls_security_level: \"%s\" is no level of OpenSSL, expected 0 to 5", value);
}

void conf_tls_ciphers_read(struct conf *c, void *at, const char *value, int line)
{
	struct backend_conf *b = at;
	char none[TLS_SUITE_MAX];

	if (tls_suites_look(value, none) < 0) {
		conf_error(c, line, "tls_ciphers: \"%s\": OpenSSL knows none of these, expected a list as ciphers(1) has it, such as \"ECDHE+AESGCM:AES128-SHA\"", value);
		return;
	}
	free(b->tls_ciphers);
	b->tls_ciphers = conf_copy(value);
}

void conf_tls_pin_read(struct conf *c, void *at, const char *value, int line)
{
	struct backend_conf *b = at;
	struct tls_pin pin;

	if (!tls_pin_parse(value, &pin)) {
		conf_error(c, line, "tls_pin: \"%s\" is no fingerprint, expected \"sha256:\" and 64 hexadecimal digits of the certificate, or \"sha256-key:\" "
			   "and those of its public key", value);
		return;
	}
	if (b->tls_pin_count == TLS_PINS_MAX) {
		conf_error(c, line, "tls_pin: too many, expected at most %d", TLS_PINS_MAX);
		return;
	}
	b->tls_pin = conf_grow(b->tls_pin, &b->tls_pin_count, sizeof(*b->tls_pin));
	b->tls_pin[b->tls_pin_count - 1] = pin;
}

static void weaker(struct conf *c, const struct backend_conf *b, int line)
{
	static const char *const versions[] = { "1.0", "1.1" };
	char none[TLS_SUITE_MAX] = "";
	int own = tls_level_own();

	if (b->tls_min < TLS_VERSION_1_2)
		conf_warning(c, line, "backend %s: tls_min = %s: whoever is in the way may bring about TLS with SHA-1 signatures%s; take it away when the server "
			     "has learnt TLS 1.2", b->name, versions[b->tls_min], b->tls_ciphers ? "" : " and without forward secrecy");
	if (b->tls_min < TLS_VERSION_1_2 && b->tls_level != 0)
		conf_warning(c, line, "backend %s: tls_min = %s does nothing, since OpenSSL speaks it at level 0 only, expected tls_security_level = 0", b->name,
			     versions[b->tls_min]);
	if (b->tls_level == 0)
		conf_warning(c, line, "backend %s: tls_security_level = 0: keys and signatures of any strength are taken, and servers without secure "
			     "renegotiation", b->name);
	else if (b->tls_level > 0 && b->tls_level < own && b->tls == TLS_REQUIRED)
		conf_warning(c, line, "backend %s: tls_security_level = %d is below this system's %d: weaker keys and signatures are taken", b->name, b->tls_level, own);
	if (b->tls_ciphers && tls_suites_look(b->tls_ciphers, none) == 0 && none[0])
		conf_warning(c, line, "backend %s: tls_ciphers has %s, which is without forward secrecy: whoever gets the server's key reads what was recorded before",
			     b->name, none);
}

void conf_backend_tls_check(struct conf *c, const struct backend_conf *b, int line)
{
	bool any = b->tls_pin_count || conf_given(c, "tls_min") || conf_given(c, "tls_security_level") || conf_given(c, "tls_ciphers");

	if (b->tls_pin_count && b->tls != TLS_REQUIRED)
		conf_error(c, line, "backend %s: tls_pin without tls = required: who is in the way would leave TLS out, expected tls = required", b->name);
	if (b->tls_pin_count && (b->tls_ca_pem || conf_given(c, "tls_name")))
		conf_warning(c, line, "backend %s: tls_ca and tls_name play no part with tls_pin: what is pinned needs no CA and no name", b->name);
	if (any && (b->tls == TLS_OFF || b->protocol == LISTENER_TCP))
		conf_warning(c, line, "backend %s: tls_min, tls_security_level, tls_ciphers and tls_pin play no part without TLS%s", b->name,
			     b->protocol == LISTENER_TCP ? ", which is the client's own with protocol = tcp" : "");
	else
		weaker(c, b, line);
}

void conf_backend_tls_free(struct backend_conf *b)
{
	free(b->tls_name);
	free(b->tls_ca_pem);
	free(b->tls_ciphers);
	free(b->tls_pin);
}
