/* SPDX-License-Identifier: Apache-2.0 */
#include "run/link.h"

#include <string.h>
#include <time.h>

int link_ask(struct wire *wire, struct wire_msg *ret_answer, int64_t *ret_result)
{
    if (wire_send(wire) || wire_wait(wire, ret_answer) || ret_answer->type != WIRE_ANSWER)
        return -1;
    *ret_result = wire_i64(ret_answer);
    return ret_answer->bad ? -1 : 0;
}

/* Ask, and give back the result alone. */
static sendit_result ask(struct wire *wire, struct wire_msg *ret_answer)
{
    int64_t result;

    return link_ask(wire, ret_answer, &result) ? SENDIT_EIO : (sendit_result)result;
}

/* Keep a string of an answer beyond it. */
static sendit_result keep(struct buf *buf, const void *data, size_t len, const char **ret_text)
{
    buf->len = 0;
    buf->failed = false;
    buf_add(buf, data, len);
    if (buf->failed)
        return SENDIT_ENOMEM;
    *ret_text = buf->data;
    return SENDIT_OK;
}

static sendit_result fact_put(void *ctx, const char *item, const char *key, const char *value)
{
    struct link *link = ctx;

    if (!link->batch)
        return SENDIT_EINVAL;
    wire_begin(link->wire, WIRE_FACT);
    wire_put_str(link->wire, item);
    wire_put_str(link->wire, key);
    wire_put_str(link->wire, value);
    return wire_send(link->wire) ? SENDIT_EIO : SENDIT_OK;
}

static sendit_result store_get(void *ctx, const char *stage, const char *key,
                               const void **ret_value, size_t *ret_length, uint64_t *ret_revision)
{
    struct link *link = ctx;
    struct wire_msg answer;
    const char *text = NULL;
    const void *value;
    uint64_t revision;
    sendit_result r;
    size_t len;

    wire_begin(link->wire, WIRE_STORE_GET);
    wire_put_str(link->wire, stage);
    wire_put_str(link->wire, key);
    r = ask(link->wire, &answer);
    if (r != SENDIT_OK)
        return r;
    revision = wire_u64(&answer);
    value = wire_bytes(&answer, &len);
    if (answer.bad)
        return SENDIT_EIO;
    r = keep(&link->store_value, value, len, &text);
    if (r != SENDIT_OK)
        return r;
    *ret_value = text;
    *ret_length = len;
    *ret_revision = revision;
    return SENDIT_OK;
}

static sendit_result store_put(void *ctx, const char *stage, const char *key, const void *value,
                               size_t length, uint64_t expected)
{
    struct link *link = ctx;
    struct wire_msg answer;

    wire_begin(link->wire, WIRE_STORE_PUT);
    wire_put_str(link->wire, stage);
    wire_put_str(link->wire, key);
    wire_put_u64(link->wire, expected);
    wire_put_u64(link->wire, value != NULL);
    wire_put_bytes(link->wire, value, value ? length : 0);
    return ask(link->wire, &answer);
}

static sendit_result store_next(void *ctx, const char *stage, const char *key, const char **ret_key)
{
    struct link *link = ctx;
    struct wire_msg answer;
    const char *next;
    sendit_result r;

    wire_begin(link->wire, WIRE_STORE_NEXT);
    wire_put_str(link->wire, stage);
    wire_put_str(link->wire, key);
    r = ask(link->wire, &answer);
    if (r != SENDIT_OK)
        return r;
    next = wire_str(&answer);
    return answer.bad ? SENDIT_EIO : keep(&link->store_key, next, strlen(next), ret_key);
}

static sendit_result store_lock(void *ctx, const char *stage, const char *key)
{
    struct link *link = ctx;
    struct wire_msg answer;

    wire_begin(link->wire, key ? WIRE_STORE_LOCK : WIRE_STORE_UNLOCK);
    wire_put_str(link->wire, stage);
    wire_put_str(link->wire, key);
    if (!key)
        return wire_send(link->wire) ? SENDIT_EIO : SENDIT_OK;
    return ask(link->wire, &answer);
}

static sendit_result audit(void *ctx, const char *stage, const char *event, const char *json)
{
    struct link *link = ctx;
    struct wire_msg answer;

    wire_begin(link->wire, WIRE_AUDIT);
    wire_put_str(link->wire, stage);
    wire_put_str(link->wire, event);
    wire_put_str(link->wire, json);
    return ask(link->wire, &answer);
}

static sendit_result crosswalk_get(void *ctx, const char *domain, const char *original,
                                   const char **ret_pseudonym, int64_t *ret_since_ms)
{
    struct link *link = ctx;
    struct wire_msg answer;
    const char *text;
    int64_t since;
    sendit_result r;

    wire_begin(link->wire, WIRE_WALK_GET);
    wire_put_str(link->wire, domain);
    wire_put_str(link->wire, original);
    r = ask(link->wire, &answer);
    if (r != SENDIT_OK)
        return r;
    since = wire_i64(&answer);
    text = wire_str(&answer);
    if (answer.bad)
        return SENDIT_EIO;
    r = keep(&link->walk_got, text, strlen(text), ret_pseudonym);
    if (r == SENDIT_OK && ret_since_ms)
        *ret_since_ms = since;
    return r;
}

static sendit_result crosswalk_put(void *ctx, const char *domain, const char *original,
                                   const char *proposed, const char **ret_pseudonym)
{
    struct link *link = ctx;
    struct wire_msg answer;
    const char *text;
    sendit_result r;

    wire_begin(link->wire, WIRE_WALK_PUT);
    wire_put_str(link->wire, domain);
    wire_put_str(link->wire, original);
    wire_put_str(link->wire, proposed);
    r = ask(link->wire, &answer);
    if (r != SENDIT_OK)
        return r;
    text = wire_str(&answer);
    return answer.bad ? SENDIT_EIO : keep(&link->walk_put, text, strlen(text), ret_pseudonym);
}

static sendit_result crosswalk_note(void *ctx, const char *domain, const char *original,
                                    const char *pseudonym)
{
    struct link *link = ctx;

    wire_begin(link->wire, WIRE_WALK_NOTE);
    wire_put_str(link->wire, domain);
    wire_put_str(link->wire, original);
    wire_put_str(link->wire, pseudonym);
    return wire_send(link->wire) ? SENDIT_EIO : SENDIT_OK;
}

static void metric(void *ctx, const char *stage, const char *name, int64_t delta)
{
    struct link *link = ctx;

    wire_begin(link->wire, WIRE_METRIC);
    wire_put_str(link->wire, stage);
    wire_put_str(link->wire, name);
    wire_put_i64(link->wire, delta);
    (void)wire_send(link->wire); /* a supervisor that is gone is noticed at the next question */
}

static void message(void *ctx, const char *item, const char *stage, int32_t level,
                    const char *event, const char *text)
{
    struct link *link = ctx;

    wire_begin(link->wire, WIRE_MESSAGE);
    wire_put_str(link->wire, item);
    wire_put_i64(link->wire, level);
    wire_put_str(link->wire, stage);
    wire_put_str(link->wire, event);
    wire_put_str(link->wire, text);
    (void)wire_send(link->wire);
}

static sendit_result hold(void *ctx, const char *item, sendit_verdict verdict, const char *stage,
                          const char *code, const char *text)
{
    struct link *link = ctx;

    wire_begin(link->wire, WIRE_DECIDED);
    wire_put_str(link->wire, item);
    wire_put_i64(link->wire, verdict == SENDIT_QUARANTINE ? ITEM_QUARANTINED : ITEM_WAITING);
    wire_put_str(link->wire, stage);
    wire_put_str(link->wire, code);
    wire_put_str(link->wire, text);
    wire_put_str(link->wire, ""); /* labels: it had passed */
    return wire_send(link->wire) ? SENDIT_EIO : SENDIT_OK;
}

static sendit_result settled(void *ctx, const char *stage, const char *batch,
                             sendit_verdict verdict, const char *code, const char *text)
{
    struct link *link = ctx;

    (void)stage; /* the supervisor knows whose settle() it is */
    wire_begin(link->wire, WIRE_SETTLED);
    wire_put_str(link->wire, batch);
    wire_put_i64(link->wire, verdict);
    wire_put_str(link->wire, code);
    wire_put_str(link->wire, text);
    return wire_send(link->wire) ? SENDIT_EIO : SENDIT_OK;
}

static sendit_result differs(void *ctx, const char *stage, const char *code, const char *subject,
                             const char *text)
{
    struct link *link = ctx;

    wire_begin(link->wire, WIRE_DIFFERS);
    wire_put_str(link->wire, stage);
    wire_put_str(link->wire, code);
    wire_put_str(link->wire, subject);
    wire_put_str(link->wire, text);
    return wire_send(link->wire) ? SENDIT_EIO : SENDIT_OK;
}

static sendit_result counted(void *ctx, const char *stage, const char *what, uint64_t n)
{
    struct link *link = ctx;

    wire_begin(link->wire, WIRE_COUNTED);
    wire_put_str(link->wire, stage);
    wire_put_str(link->wire, what);
    wire_put_u64(link->wire, n);
    return wire_send(link->wire) ? SENDIT_EIO : SENDIT_OK;
}

static int canceled(void *ctx)
{
    const struct link *link = ctx;

    return atomic_load(&link->page->stop) != 0;
}

static void goes_on(void *ctx)
{
    struct link *link = ctx;
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    atomic_store(&link->page->since_ms, (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000);
}

static int64_t now_ms(void *ctx)
{
    struct timespec now;

    (void)ctx;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void link_init(struct link *link, struct wire *wire, struct run_page *page)
{
    memset(link, 0, sizeof(*link));
    link->wire = wire;
    link->page = page;
    link->table = (struct host_link){.ctx = link,
                                     .fact_put = fact_put,
                                     .store_get = store_get,
                                     .store_put = store_put,
                                     .store_next = store_next,
                                     .store_lock = store_lock,
                                     .audit = audit,
                                     .crosswalk_get = crosswalk_get,
                                     .crosswalk_put = crosswalk_put,
                                     .crosswalk_note = crosswalk_note,
                                     .metric = metric,
                                     .message = message,
                                     .hold = hold,
                                     .settled = settled,
                                     .differs = differs,
                                     .counted = counted,
                                     .canceled = canceled,
                                     .goes_on = goes_on,
                                     .now_ms = now_ms};
}

void link_fini(struct link *link)
{
    buf_fini(&link->store_value);
    buf_fini(&link->store_key);
    buf_fini(&link->walk_got);
    buf_fini(&link->walk_put);
}
