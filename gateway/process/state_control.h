/*
 * state_control - operations on the state in the JSON of the control socket
 *
 *     request: {"cmd":"state.run", "ops":[{"verb":"count","space":"login","key":"account ann","ttl":3600,"add":1,"text":""}, ...]}
 *     answer:  {"ok":true, "results":[{"found":true,"first":1763800000,"last":1763800100,"count":3,"text":""}, ...]}
 *
 * For an administrator's command while the keeper has the database open. Pure. Deleting a whole space is not among what can be asked so.
 */
#ifndef STATE_CONTROL_H
#define STATE_CONTROL_H

#include <jansson.h>

#include "policy/state.h"

/* NULL: no memory, or a key or text that is no UTF-8. */
json_t *state_control_request(const struct state_op *ops, size_t count);

/* ops has room for STATE_OPS_MAX. How many, or -EINVAL; nothing is trusted. */
int state_control_read_request(const json_t *request, struct state_op *ops);

/* Into answer. 0, -ENOMEM. */
int state_control_answer(json_t *answer, const struct state_op *ops, size_t count);

/* Fills in the results of the `count` operations that were asked. 0 or -EBADMSG. */
int state_control_read_answer(const json_t *answer, struct state_op *ops, size_t count);

#endif
