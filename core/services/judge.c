/* SPDX-License-Identifier: Apache-2.0 */
/* judge.c - whether the answer of a callback counts. */
#include "services/host.h"

#include <stdio.h>
#include <string.h>

static sendit_verdict blame(struct sendit_why *why, sendit_verdict verdict, const char *code,
                            const char *text)
{
    return sendit_because(why, verdict, code, "%s", text);
}

static bool is_known(sendit_verdict verdict)
{
    return verdict >= SENDIT_FAIL && verdict <= SENDIT_RETRY;
}

/* Whatever the stage wrote ends with a NUL; a code it must have, and not one of the host's. */
static sendit_verdict name_reason(const struct host *host, sendit_verdict verdict,
                                  struct sendit_why *why)
{
    why->code[sizeof(why->code) - 1] = why->text[sizeof(why->text) - 1] = '\0';
    if (verdict != SENDIT_PASS && (!why->code[0] || !strncmp(why->code, "host.", 5)))
        snprintf(why->code, sizeof(why->code), "%.22s.unknown", host->stage->plugin->name);
    return verdict;
}

static sendit_verdict blame_misuse(struct sendit_why *why)
{
    return blame(why, SENDIT_FAIL, "host.misuse",
                 "The stage asked the host for something that its descriptor does not allow.");
}

static sendit_verdict blame_fork(struct sendit_why *why, sendit_verdict verdict)
{
    return blame(why, verdict, "host.forked", "The stage left a process of its own behind.");
}

sendit_verdict host_judge(const struct host *host, sendit_verdict verdict, struct sendit_why *why)
{
    if (host->bug)
        return blame_misuse(why);
    if (host->forked)
        return blame_fork(why, SENDIT_FAIL);
    if (!is_known(verdict) || verdict == SENDIT_QUARANTINE)
        return blame(why, SENDIT_FAIL, "host.verdict",
                     "The stage answered with a verdict that does not fit here.");
    return name_reason(host, verdict, why);
}

sendit_verdict host_judge_finish(const struct host *host, sendit_verdict verdict,
                                 struct sendit_why *why)
{
    bool later = verdict == SENDIT_LATER && host->stage->plugin->settle;
    sendit_verdict judged = host_judge(host, later ? SENDIT_PASS : verdict, why);

    return later && judged == SENDIT_PASS ? SENDIT_LATER : judged;
}

sendit_verdict host_judge_settle(const struct host *host, sendit_verdict verdict,
                                 struct sendit_why *why)
{
    return host_judge(host, verdict == SENDIT_SKIP ? SENDIT_QUARANTINE : verdict, why);
}

sendit_verdict host_judge_item(const struct host *host, const struct dicom_object *object,
                               sendit_verdict verdict, struct sendit_why *why)
{
    if (host->bug)
        return blame_misuse(why);
    if (host->forked)
        return blame_fork(why, SENDIT_QUARANTINE);
    if (dicom_tampered(object))
        return blame(why, SENDIT_QUARANTINE, "host.undeclared",
                     "The stage edits and does not declare MUTATES.");
    if (!dicom_is_sound(object))
        return blame(why, SENDIT_QUARANTINE, "host.native",
                     "The stage left what cannot be written in DCMTK's own object.");
    if (!is_known(verdict))
        return blame(why, SENDIT_QUARANTINE, "host.verdict",
                     "The stage answered with an unknown verdict.");
    return name_reason(host, verdict, why);
}
