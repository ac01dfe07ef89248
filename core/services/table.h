/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.h - what the tables of services/ share.  Nobody else includes it but harness/, whose tables
 * stand in for some.
 *
 * A function that is handed a host begins with table_enter(), unless services.h marks it [any]; one
 * that is handed a data set alone, with table_may_use().
 */
#ifndef SENDIT_SERVICES_TABLE_H
#define SENDIT_SERVICES_TABLE_H

#include "services/host.h"

/* The host behind a handle, which may be NULL. */
struct host *table_host(const struct sendit_host *handle);
/* The same, if it may be called now: in a callback, on its thread.  NULL otherwise, which is noted
 * as misuse: answer EINVAL. */
struct host *table_enter(const struct sendit_host *handle);
/* Is it a data set, and is a callback under way on this thread?  It is nobody's else. */
bool table_may_use(const struct sendit_dataset *ds);
/* The same, and whose callback it is; NULL if it may not. */
struct host *table_here(const struct sendit_dataset *ds);
/* The stage made a mistake of its own: its answer counts as FAIL.  `text` is a sentence that names
 * the function; `name` is what the stage asked for, a literal of its code, or NULL.  Returns
 * SENDIT_EINVAL. */
sendit_result table_misuse(struct host *host, const char *text, const char *name);

/* A copy, NUL-terminated, that lives until the callback returns; a secret one is wiped then.  NULL
 * `data` makes room.  NULL without memory. */
void *table_copy(struct host *host, const void *data, size_t length, bool secret);
/* A string to hand out: SENDIT_OK or ENOMEM. */
sendit_result table_text(struct host *host, const char *text, const char **ret_text);

/* Is it a word of up to HOST_MAX_WORD of [a-z0-9._-] that does not begin with a dot? */
bool table_is_word(const char *word);

/* The value behind a SECRET option, also for a stage that may not see it; NULL if the site left it
 * out.  It lives, and is wiped, as table_copy() says. */
sendit_result secrets_value(struct host *host, const char *option, const char **ret_value);

/* The time of the callback counts from now on. */
void host_begin_time(struct host *host);

/* What a host_leave() and a host_end_batch() have to undo. */
void table_free_memory(struct host *host);
void spool_close(struct host *host);
void deid_plans_free(struct host *host);
void http_leave(struct host *host); /* frees what send() gave, and lets others go on */
uint32_t http_in_flight(const struct host *host);
void http_fini(struct host *host); /* `done` is not called any more: see host_cancel() */
void ids_trim(struct host_env *env, size_t max);

#endif
