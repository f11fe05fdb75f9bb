/*
 * directory_conf - a directory that knows the recipients, as the configuration has it: section `directory` of gatepost.conf(5)
 *
 * The password is not here: whoever reads a configuration only sees to it that its file is there. The process that asks directories reads it
 * (process/directory.h).
 */
#ifndef DIRECTORY_CONF_H
#define DIRECTORY_CONF_H

#include <stdbool.h>
#include <stddef.h>

enum { DIRECTORIES_MAX = 8, DIRECTORY_SERVERS_MAX = 8, DIRECTORY_ATTRIBUTES_MAX = 16 };

enum directory_schema { DIRECTORY_ACTIVE, DIRECTORY_DOMINO, DIRECTORY_INETORGPERSON };
enum directory_tls { DIRECTORY_TLS_OFF, DIRECTORY_TLS_STARTTLS, DIRECTORY_TLS_REQUIRED };
/* Recipients who want mail of authenticated senders only. */
enum directory_restricted { DIRECTORY_RESTRICTED_ACCEPT, DIRECTORY_RESTRICTED_REFUSE };

struct directory_server {
	char *host;                     /* a name, or a literal address */
	unsigned short port;
	bool implicit;                  /* ldaps: TLS from the first octet */
};

struct directory_conf {
	char *name;
	struct directory_server *server;
	size_t server_count;
	char *base, *bind_dn;           /* bind_dn NULL: nobody in particular */
	char *password_path;            /* relative to nothing any more; NULL: none */
	enum directory_tls tls;         /* of servers that are not ldaps; required: there is none */
	char *tls_ca_pem;               /* NULL: the system's */
	enum directory_schema schema;
	char *filter;
	char **attribute;               /* that hold addresses */
	size_t attribute_count;
	char **domain;                  /* lower-case; ".example.com" for all below; none: all of the site */
	size_t domain_count;
	char **catch_all;               /* domains where every local part is somebody */
	size_t catch_all_count;
	bool plus, subdomains;          /* user+tag is user; user@any.example.com is user@example.com */
	enum directory_restricted restricted;
	int refresh_s, keep_s, timeout_ms;
	int live;                       /* questions a second, at most */
	int line;
};

#endif
