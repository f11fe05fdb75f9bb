/*
 * command - the subcommands of gatepost
 *
 * Each is a function that gets its own argv (argv[0] is its name) and returns the exit status: 0; 1
 * for a wrong option, a wrong configuration or anything that did not work, said on stderr. --help
 * prints its usage.
 */
#ifndef COMMAND_H
#define COMMAND_H

/* conf/gatepost.conf of the installation. */
#ifndef GATEPOST_CONFIG
#define GATEPOST_CONFIG "/etc/gatepost/gatepost.conf"
#endif

struct site;

int cmd_run(int argc, char **argv);
int cmd_advise(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_dkim_key(int argc, char **argv);
int cmd_login(int argc, char **argv);
int cmd_recipients(int argc, char **argv);
int cmd_replay(int argc, char **argv);
int cmd_report(int argc, char **argv);
int cmd_routes(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_upgrade(int argc, char **argv);
int cmd_version(int argc, char **argv);

/*
 * The options of most commands: -c FILE (--config), -h (--help). *path: the file. The index of the
 * first argument; or -1: the usage has been printed, on stdout and *status 0 for --help, on stderr
 * and 1 for a wrong option.
 */
int command_options(int argc, char **argv, const char *usage, const char **path, int *status);

/* The configuration, for a command that has nothing to say about its warnings. NULL: what is wrong is said on stderr. */
struct site *command_site(const char *path);

/* Commands of a command: `gatepost quarantine list`. Each gets its own argv; argv[0] is its whole name. The last one has no name. */
struct subcommand {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help;
};

/* Run the one that argv[1] names; help, or what is wrong, is printed. note: what the help closes with. The exit status. */
int command_run(const char *command, const struct subcommand *subcommands, const char *note, int argc, char **argv);

#endif
