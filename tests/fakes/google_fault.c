/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The faults of the fake Google: which rule of the script a request meets, and what it does; the
 * instructions that Google's own retry tests give (POST /retry_test, then x-retry-test-id).
 */
#include "fake_server.h"
#include "google.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define MAX_RULES 256

static struct {
    unsigned seen[MAX_RULES]; /* requests that each rule fits */
    struct stat script;
    json_t *retries; /* id: {"instructions": {...}} */
    unsigned n_retries;
} faults;

void wait_ms(int64_t ms)
{
    struct timespec left = {ms / 1000, (long)(ms % 1000) * 1000000};

    while (ms > 0 && nanosleep(&left, &left) && errno == EINTR)
        ;
}

void fault_load(void)
{
    struct stat now;
    json_error_t error;
    json_t *script;

    if (google.script && !stat(google.script_path, &now) && now.st_ino == faults.script.st_ino &&
        now.st_size == faults.script.st_size &&
        !memcmp(&now.st_mtim, &faults.script.st_mtim, sizeof(now.st_mtim)))
        return;
    script = json_load_file(google.script_path, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(script) || stat(google.script_path, &faults.script) ||
        json_array_size(json_object_get(script, "faults")) > MAX_RULES) {
        fprintf(stderr, "the script is not one: %s\n", error.text);
        exit(3);
    }
    json_decref(google.script);
    google.script = script;
    memset(faults.seen, 0, sizeof(faults.seen));
}

/* ---- which ---- */

static int fits(const struct call *call, const json_t *rule)
{
    const char *on = json_string_value(json_object_get(rule, "on"));
    const char *path = json_string_value(json_object_get(rule, "path"));

    if (!on || !call->route)
        return 0;
    if (fnmatch(on, call->op, 0) && fnmatch(on, call->route->id, 0))
        return 0;
    return !path || !fnmatch(path, call->path, 0);
}

/* One of several, by the number of the request. */
static const char *pick(const json_t *names, unsigned number, unsigned seed)
{
    size_t n = json_array_size(names);
    unsigned at = (number * 2246822519u + seed * 3266489917u) >> 13;

    return n ? json_string_value(json_array_get(names, at % n)) : json_string_value(names);
}

static void meet(struct call *call, json_t *rule, const char *name)
{
    call->fault = json_incref(rule);
    call->fault_name = name ? name : "";
    if (fault_is(call, "cut_body") || fault_is(call, "status_after") ||
        fault_is(call, "stall_body"))
        call->after = fault_number(call, "after", 0);
}

/* What "return-503-after-256K" wants of a chunk: that the upload gets so far by it. */
static int64_t reach(const struct call *call, int64_t after)
{
    const char *range = call_header(call, "Content-Range");
    unsigned long long from = 0, to = 0;

    if (call->sink != SINK_SESSION || !range || sscanf(range, "bytes %llu-%llu/", &from, &to) != 2)
        return -1;
    return (int64_t)to + 1 > after && (int64_t)from <= after ? after - (int64_t)from : -1;
}

static json_t *instruction_rule(const struct call *call, const char *text)
{
    unsigned status = 0, after = 0;
    int64_t here;

    if (!strcmp(text, "return-reset-connection"))
        return json_pack("{s:s}", "fault", "reset");
    if (!strncmp(text, "return-broken-stream", 20)) {
        int n = sscanf(text + 20, "-after-%uK", &after);

        return json_pack("{s:s, s:I}", "fault", "cut_reply", "keep",
                         (json_int_t)(n == 1 ? after * 1024 : 4));
    }
    if (sscanf(text, "return-%u-after-%uK", &status, &after) == 2) {
        here = reach(call, (int64_t)after * 1024);
        return here < 0 ? NULL
                        : json_pack("{s:s, s:i, s:I}", "fault", "status_after", "status",
                                    (int)status, "after", (json_int_t)here);
    }
    if (sscanf(text, "return-%u", &status) == 1)
        return json_pack("{s:s, s:i}", "fault", "status", "status", (int)status);
    return NULL;
}

static int meet_instruction(struct call *call)
{
    const char *id = call_header(call, "x-retry-test-id");
    json_t *list, *rule;

    if (!id || !call->route)
        return 0;
    list = json_object_get(json_object_get(json_object_get(faults.retries, id), "instructions"),
                           call->route->id);
    if (!json_array_size(list))
        return 0;
    rule = instruction_rule(call, json_string_value(json_array_get(list, 0)));
    if (!rule)
        return 0;
    meet(call, rule, json_string_value(json_object_get(rule, "fault")));
    json_decref(rule);
    json_array_remove(list, 0);
    return 1;
}

void fault_find(struct call *call)
{
    unsigned seed = (unsigned)script_number("seed", 1);
    json_t *rules = script_get("faults"), *rule;
    size_t i;

    if (meet_instruction(call))
        return;
    json_array_foreach(rules, i, rule)
    {
        const char *when = json_string_value(json_object_get(rule, "when"));

        if (!fits(call, rule) || !fake_is_due(when ? when : "1-", ++faults.seen[i], seed))
            continue;
        if (!call->fault)
            meet(call, rule, pick(json_object_get(rule, "fault"), faults.seen[i], seed));
    }
}

int fault_is(const struct call *call, const char *name)
{
    return call->fault_name && !strcmp(call->fault_name, name);
}

int64_t fault_number(const struct call *call, const char *name, int64_t otherwise)
{
    const json_t *value = json_object_get(call->fault, name);

    return json_is_integer(value) ? json_integer_value(value) : otherwise;
}

const char *fault_text(const struct call *call, const char *name)
{
    return json_string_value(json_object_get(call->fault, name));
}

/* ---- what it does ---- */

static const char *usual_reason(unsigned status)
{
    return status == 400   ? "invalid"
           : status == 401 ? "authError"
           : status == 403 ? "forbidden"
           : status == 404 ? "notFound"
           : status == 429 ? "rateLimitExceeded"
                           : "backendError";
}

int fault_answers(struct call *call)
{
    static const char html[] = "<!DOCTYPE html><html><title>Sign in</title></html>";
    unsigned status = (unsigned)fault_number(call, "status", 503);
    const char *reason = fault_text(call, "reason"), *message = fault_text(call, "message");
    json_t *body = json_object_get(call->fault, "body");

    if (fault_is(call, "html")) {
        call->answer.status = (unsigned)fault_number(call, "status", 200);
        call->answer.text = strdup(html);
        call->answer.length = sizeof(html) - 1;
        snprintf(call->answer.type, sizeof(call->answer.type), "text/html; charset=UTF-8");
        return 1;
    }
    if (fault_is(call, "expire_tokens")) {
        token_expire_all();
        return 0;
    }
    if (!fault_is(call, "status") && !fault_is(call, "status_after"))
        return 0;
    refuse(call, status, reason ? reason : usual_reason(status), "%s",
           message ? message : "as it was told");
    if (body)
        answer_json(call, status, json_deep_copy(body));
    if (fault_number(call, "retry_after", 0))
        answer_header(call, "Retry-After", "%lld", (long long)fault_number(call, "retry_after", 0));
    return 1;
}

/* "edit": members of the answer that are others. */
void fault_spoils(struct call *call)
{
    json_t *with = json_object_get(call->fault, "with"), *copy;

    if (!fault_is(call, "edit") || !json_is_object(call->answer.json))
        return;
    copy = json_deep_copy(call->answer.json);
    json_object_update_recursive(copy, with);
    json_decref(call->answer.json);
    call->answer.json = copy;
}

/* ---- Google's retry tests ---- */

void retry_create(struct call *call)
{
    json_t *body = call_json(call), *entry;
    char id[32];

    if (!body)
        return;
    if (!json_is_object(json_object_get(body, "instructions"))) {
        refuse(call, 400, "invalid", "There are no instructions.");
        return;
    }
    if (!faults.retries)
        faults.retries = json_object();
    snprintf(id, sizeof(id), "retry-%u", ++faults.n_retries);
    entry = json_pack("{s:s, s:O, s:s}", "id", id, "instructions",
                      json_object_get(body, "instructions"), "transport", "HTTP");
    json_object_set(faults.retries, id, entry);
    answer_json(call, 200, json_deep_copy(entry));
    json_decref(entry);
}

static json_t *find_retry(struct call *call)
{
    json_t *entry = json_object_get(faults.retries, call->args[0]);

    if (!entry)
        refuse(call, 404, "notFound", "There is no such retry test.");
    return entry;
}

void retry_get(struct call *call)
{
    json_t *entry = find_retry(call), *list;
    const char *method;
    int left = 0;

    if (!entry)
        return;
    json_object_foreach(json_object_get(entry, "instructions"), method, list) left +=
        json_array_size(list) != 0;
    entry = json_deep_copy(entry);
    json_object_set_new(entry, "completed", json_boolean(!left));
    answer_json(call, 200, entry);
}

void retry_delete(struct call *call)
{
    if (!find_retry(call))
        return;
    json_object_del(faults.retries, call->args[0]);
    answer_json(call, 200, json_object());
}
