/*
 * keys - the process that has the private keys, and signs with them
 *
 * One for each generation of workers, started before them. It reads the files that the configuration names (as root, where the site was started so), compares each
 * key with its public half, which was found when the configuration was read, confines itself, and is asked by workers (keys_wire.h). It is a keeper in
 * how it lives (keeper.h), with nothing on disk; a worker gets one answer before the others get their turn.
 *
 * Each key is good for what it was named for: one of TLS signs handshakes of a TLS server, one of a CA certificates for servers, one of DKIM hashes. Who asks for
 * anything else has been taken over: its channel is closed, and a line says so.
 *
 * At a start every key has to be there. Where the process follows one that has died, a file may have changed meanwhile, for a later generation: a key that is not
 * the one of before is left out, and said; what it would sign fails.
 */
#ifndef KEYS_H
#define KEYS_H

#include "policy/key_list.h"
#include "process/keeper.h"

struct held_keys;

/* The keys of the list; again: as of a process that follows another. 0 and *out (held_keys_free), or -errno, said in the log. */
int held_keys_read(const struct key_list *list, bool again, struct held_keys **out);
void held_keys_free(struct held_keys *h);

/*
 * Answer a request: 0 and what was asked for, added to out (of KEYS_ANSWER_MAX bytes); -EPROTO: that is nothing that a worker of ours asks for; -ENOKEY: the key has been
 * left out; -EINVAL: the key cannot sign so; -ENOMEM.
 */
int held_keys_answer(struct held_keys *h, unsigned type, const void *data, size_t len, struct buf *out);

enum { KEYS_ANSWER_MAX = 60 * 1024 };

#endif
