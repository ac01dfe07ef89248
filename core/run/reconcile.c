/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reconcile.c - `sendit reconcile`: one worker calls compare() of each stage, and nothing is
 * written.
 */
#include "run/supervisor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

/* ---- what the worker says ---- */

static void differs(struct supervisor *sv, struct wire_msg *msg)
{
    const char *stage = wire_str(msg), *code = wire_str(msg), *subject = wire_str(msg);
    const char *text = wire_str(msg);

    sv->differences++;
    if (!msg->bad)
        sv->compare->differs(sv->compare->ctx, stage, code, subject, text);
}

static void counted(struct supervisor *sv, struct wire_msg *msg)
{
    const char *stage = wire_str(msg), *what = wire_str(msg);
    uint64_t n = wire_u64(msg);

    if (!msg->bad)
        sv->compare->counted(sv->compare->ctx, stage, what, n);
}

static int status_of(sendit_verdict verdict, const char *code)
{
    if (verdict == SENDIT_RETRY)
        return ERR_AWAY;
    return run_is_place(code) ? ERR_PLACE : ERR_REFUSED;
}

static void compared(struct supervisor *sv, struct slot *slot, struct wire_msg *msg)
{
    const struct plan *plan = sv->options->plan;
    int64_t index = wire_i64(msg);
    sendit_verdict verdict = (sendit_verdict)wire_i64(msg);
    const char *code = wire_str(msg), *text = wire_str(msg);

    if (index < 0) /* all of them have */
        slot->state = SLOT_CLOSING;
    else if (verdict != SENDIT_PASS && (uint64_t)index < plan->n_stages && !sv->signal)
        supervisor_fatal(sv, status_of(verdict, code), "stage \"%s\" did not compare all: %s (%s)",
                         plan->stages[index].id, *text ? text : "it did not say why", code);
    answer_result(slot, 0);
}

void reconcile_message(struct supervisor *sv, struct slot *slot, struct wire_msg *msg)
{
    switch (msg->type) {
    case WIRE_DIFFERS:
        differs(sv, msg);
        break;
    case WIRE_COUNTED:
        counted(sv, msg);
        break;
    case WIRE_COMPARED:
        compared(sv, slot, msg);
        break;
    default:
        supervisor_fatal(sv, ERR_BATCH, "a worker sent a message that is unknown here");
        break;
    }
}

/* ---- the way of it ---- */

static bool compares(const struct plan *plan)
{
    for (size_t i = 0; i < plan->n_stages; i++)
        if (plan->stages[i].enabled && plan->stages[i].plugin->compare)
            return true;
    return false;
}

/* The key that the state was made with, if it is there; none is made. */
static int find_key(struct supervisor *sv)
{
    const char *known = ledger_known_key(sv->ledger);
    bool by_default;

    if (run_key_path(sv->options->plan, &sv->key_path, &by_default, sv->err))
        return -1;
    if (sv->key_path && by_default && access(sv->key_path, F_OK)) {
        free(sv->key_path);
        sv->key_path = NULL;
    }
    if (!sv->key_path)
        return 0;
    if (identity_load(sv->key_path, &sv->key, sv->err))
        return -1;
    if (known[0] && strcmp(known, sv->key.fingerprint))
        return err_set(sv->err, ERR_REFUSED,
                       "the site key is another one (fingerprint %s) than the one that this state "
                       "was made with (%s): put that key back",
                       sv->key.fingerprint, known);
    return 0;
}

/* What a run that died left in it is the next run's. */
static int find_scratch(struct supervisor *sv)
{
    sv->scratch = file_join(sv->options->plan->state, "scratch");
    if (sv->scratch && (!mkdir(sv->scratch, 0700) || errno == EEXIST))
        return 0;
    return err_set(sv->err, ERR_PLACE, "the folder scratch in the state folder cannot be made");
}

static void work(struct supervisor *sv)
{
    pool_spawn(sv, WIRE_COMPARES);
    while (sv->slots) {
        if (sv->hurry)
            pool_kill(sv);
        supervisor_turn(sv, 250);
        pool_check_timeouts(sv);
    }
}

static int exit_status(const struct supervisor *sv)
{
    if (sv->fatal)
        return sv->err->code;
    if (sv->signal)
        return 128 + sv->signal;
    return sv->differences ? ERR_BATCH : 0;
}

int run_reconcile(const struct run_compare *compare, struct ledger *ledger, struct err *err)
{
    const struct rlimit no_core = {0, 0};
    const struct run_options options = {
        .request = compare->request, .plan = compare->plan, .workers = 1};
    struct supervisor sv = {
        .options = &options, .ledger = ledger, .err = err, .compare = compare, .signals = -1};
    sigset_t old;
    int status;

    if (!compares(compare->plan)) {
        err_set(err, ERR_REFUSED, "%s: no enabled stage can compare what is there with the ledger",
                compare->plan->path);
        return ERR_REFUSED;
    }
    setrlimit(RLIMIT_CORE, &no_core);
    sigprocmask(SIG_BLOCK, NULL, &old);
    sv.filters = run_filters_folder();
    if (!sv.filters)
        err_set(err, ERR_PLACE, "no memory");
    if (!sv.filters || supervisor_signals(&sv, &old) || find_key(&sv) || find_scratch(&sv))
        sv.fatal = true;
    else
        work(&sv);
    status = exit_status(&sv);
    free(sv.key_path);
    free(sv.scratch);
    free(sv.filters);
    identity_wipe(&sv.key);
    if (sv.signals >= 0)
        close(sv.signals);
    sigprocmask(SIG_SETMASK, &old, NULL);
    return status;
}
