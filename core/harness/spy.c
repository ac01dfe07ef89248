/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/spy.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/memory.h"
#include "services/table.h"

/* Bounds of "on the 2nd call". */
#define MAX_NTH 1000000

static struct spy *spy; /* of this process: see spy.h */

/* clang-format off */
const struct spy_about spy_about[SPY_N] = {
    [SPY_HOLD] = {"host.hold", true, {SENDIT_EIO, SENDIT_ENOMEM}},
    [SPY_TAG] = {"dicom.tag", false, {SENDIT_EABSENT}},
    [SPY_KEYWORD] = {"dicom.keyword", false, {SENDIT_EABSENT}},
    [SPY_LOCATE] = {"dicom.locate", false, {SENDIT_EABSENT, SENDIT_ECORRUPT, SENDIT_ENOMEM}},
    [SPY_GET] = {"dicom.get", false,
                 {SENDIT_EABSENT, SENDIT_EINVAL, SENDIT_ECORRUPT, SENDIT_ENOMEM}},
    [SPY_BYTES] = {"dicom.bytes", false,
                   {SENDIT_EABSENT, SENDIT_EINVAL, SENDIT_ECORRUPT, SENDIT_ENOMEM}},
    [SPY_PUT] = {"dicom.put", true, {SENDIT_EINVAL, SENDIT_ECORRUPT, SENDIT_ENOMEM}},
    [SPY_PUT_AS] = {"dicom.put_as", true, {SENDIT_EINVAL, SENDIT_ECORRUPT, SENDIT_ENOMEM}},
    [SPY_ERASE] = {"dicom.erase", true, {SENDIT_EABSENT, SENDIT_ENOMEM}},
    [SPY_NESTED] = {"dicom.nested", false, {SENDIT_EABSENT}}, /* by NULL */
    [SPY_APPEND] = {"dicom.append", true, {SENDIT_EINVAL, SENDIT_ECORRUPT, SENDIT_ENOMEM}},
    [SPY_WALK] = {"dicom.walk", false, {SENDIT_ECORRUPT, SENDIT_ENOMEM}},
    [SPY_JSON] = {"dicom.json", false, {SENDIT_ECORRUPT, SENDIT_ENOMEM}},
    [SPY_COUNT] = {"pixels.count", false, {SENDIT_ECORRUPT, SENDIT_ENOMEM}},
    [SPY_FRAME] = {"pixels.frame", false,
                   {SENDIT_EABSENT, SENDIT_ECORRUPT, SENDIT_EIO, SENDIT_ENOMEM}},
    [SPY_BLANK] = {"pixels.blank", true, {SENDIT_ECORRUPT, SENDIT_EIO, SENDIT_ENOMEM}},
    [SPY_COMPILE] = {"deid.compile", false, {SENDIT_EINVAL, SENDIT_EIO, SENDIT_ENOMEM}},
    [SPY_FILTER] = {"deid.filter", false, /* EABSENT is an answer */
                    {SENDIT_ECORRUPT, SENDIT_ENOMEM}},
    [SPY_APPLY] = {"deid.apply", true, {SENDIT_ECORRUPT, SENDIT_EIO, SENDIT_ENOMEM}},
    [SPY_PATIENT] = {"ids.patient", false, {SENDIT_EABSENT, SENDIT_ECORRUPT, SENDIT_ENOMEM}},
    [SPY_PSEUDONYM] = {"ids.pseudonym", false,
                       {SENDIT_ECONFLICT, SENDIT_ECORRUPT, SENDIT_EIO, SENDIT_ECANCELED,
                        SENDIT_ENOMEM}},
    [SPY_UID] = {"ids.uid", false, {SENDIT_ECORRUPT, SENDIT_EIO, SENDIT_ECANCELED, SENDIT_ENOMEM}},
    [SPY_DAYS] = {"ids.days", false, {SENDIT_ECORRUPT, SENDIT_ENOMEM}},
    [SPY_LOOKUP] = {"ids.lookup", false, {SENDIT_EABSENT, SENDIT_EIO, SENDIT_ECANCELED,
                                          SENDIT_ENOMEM}},
    [SPY_ASSIGN] = {"ids.assign", true, {SENDIT_ECONFLICT, SENDIT_EIO, SENDIT_ECANCELED,
                                         SENDIT_ENOMEM}},
    [SPY_ORIGINAL] = {"originals.value", false, {SENDIT_EABSENT, SENDIT_ECORRUPT, SENDIT_ENOMEM}},
    [SPY_VIEW] = {"files.view", false, {SENDIT_ECORRUPT, SENDIT_EIO, SENDIT_ENOMEM}},
    [SPY_KEEP] = {"files.keep", true, {SENDIT_ECORRUPT, SENDIT_EIO, SENDIT_ENOMEM}},
    [SPY_DROP] = {"files.drop", true, {0}},
    [SPY_SPOOL] = {"spool.open", true, {SENDIT_EIO, SENDIT_ENOMEM}},
    [SPY_FACT_PUT] = {"facts.put", true, {SENDIT_EIO, SENDIT_ENOMEM}},
    [SPY_FACT_GET] = {"facts.get", false, {SENDIT_EABSENT, SENDIT_EIO, SENDIT_ENOMEM}},
    [SPY_STORE_GET] = {"store.get", false, {SENDIT_EABSENT, SENDIT_EIO, SENDIT_ECANCELED,
                                            SENDIT_ENOMEM}},
    [SPY_STORE_PUT] = {"store.put", true, {SENDIT_ECONFLICT, SENDIT_EIO, SENDIT_ECANCELED,
                                           SENDIT_ENOMEM}},
    [SPY_STORE_NEXT] = {"store.next", false, {SENDIT_EABSENT, SENDIT_EIO, SENDIT_ENOMEM}},
    [SPY_STORE_LOCK] = {"store.lock", true, {SENDIT_EIO, SENDIT_ECANCELED, SENDIT_ENOMEM}},
    [SPY_STORE_APPEND] = {"store.append", true, {SENDIT_EIO, SENDIT_ENOMEM}},
    [SPY_SECRET_GET] = {"secrets.get", false, {SENDIT_EABSENT, SENDIT_EDENIED, SENDIT_ECORRUPT,
                                               SENDIT_EIO, SENDIT_ENOMEM}},
    [SPY_SECRET_PUT] = {"secrets.put", true, {SENDIT_EDENIED, SENDIT_EIO}},
    [SPY_HTTP_SEND] = {"http.send", true, {SENDIT_EIO, SENDIT_ECANCELED, SENDIT_ECORRUPT,
                                           SENDIT_EDENIED, SENDIT_ENOMEM}},
    [SPY_HTTP_START] = {"http.start", true, {SENDIT_EIO, SENDIT_ECANCELED, SENDIT_EDENIED,
                                             SENDIT_ENOMEM}},
    [SPY_HTTP_DRAIN] = {"http.drain", true, {SENDIT_ECANCELED}},
    [SPY_SETTLED] = {"settle.batch", true, {SENDIT_EIO, SENDIT_ECANCELED}},
    [SPY_DIFFERS] = {"compare.differs", false, {SENDIT_EIO, SENDIT_ECANCELED}},
    [SPY_COUNTED] = {"compare.counted", false, {SENDIT_EIO, SENDIT_ECANCELED}},
    [SPY_FEED_OPEN] = {"feed.open_batch", false, {SENDIT_EIO, SENDIT_ECANCELED}},
    [SPY_FEED_ADD] = {"feed.add", false, {SENDIT_EIO, SENDIT_ECANCELED}},
    [SPY_FEED_IGNORE] = {"feed.ignore", false, {SENDIT_EIO, SENDIT_ECANCELED}},
    [SPY_FEED_WHEN_DONE] = {"feed.when_done", false, {SENDIT_EIO, SENDIT_ECANCELED}},
    [SPY_FEED_CLOSE] = {"feed.close_batch", false, {SENDIT_EIO, SENDIT_ECANCELED}},
};
/* clang-format on */

/* ---- faults ---- */

static const struct {
    const char *name;
    sendit_result result;
} results[] = {
    {"OK", SENDIT_OK},
    {"EABSENT", SENDIT_EABSENT},
    {"EINVAL", SENDIT_EINVAL},
    {"ENOMEM", SENDIT_ENOMEM},
    {"EDENIED", SENDIT_EDENIED},
    {"EIO", SENDIT_EIO},
    {"ECONFLICT", SENDIT_ECONFLICT},
    {"ECANCELED", SENDIT_ECANCELED},
    {"ECORRUPT", SENDIT_ECORRUPT},
    {"ESTOPPED", SENDIT_ESTOPPED},
};
#define N_RESULTS (sizeof(results) / sizeof(results[0]))

const char *spy_result(sendit_result result, char text[16])
{
    for (size_t i = 0; i < N_RESULTS; i++)
        if (results[i].result == result)
            return results[i].name;
    snprintf(text, 16, "%d", (int)result);
    return text;
}

/* "facts.put", or "facts" for all of the table. */
static uint64_t calls_of(const char *name, size_t n)
{
    uint64_t calls = 0;

    for (int i = 0; i < SPY_N; i++) {
        const char *known = spy_about[i].name;

        if (!strncmp(known, name, n) && (!known[n] || known[n] == '.'))
            calls |= UINT64_C(1) << i;
    }
    return calls;
}

/* " on the 2nd call": the number; -1 if it is something else. */
static long nth_of(const char *text)
{
    static const char before[] = " on the ";
    char *end;
    long n;

    if (!*text)
        return 0;
    if (strncmp(text, before, strlen(before)) || !isdigit((unsigned char)text[strlen(before)]))
        return -1;
    n = strtol(text + strlen(before), &end, 10);
    if (n < 1 || n > MAX_NTH || !*end)
        return -1;
    return strstr("st nd rd th", (const char[]){end[0], end[1], '\0'}) && end[1] &&
                   !strcmp(end + 2, " call")
               ? n
               : -1;
}

int spy_parse(const char *text, struct spy_fault *ret_fault, struct err *err)
{
    size_t n = strcspn(text, ":"), length = 0;
    const char *answer = text + n;
    long nth;

    ret_fault->calls = n ? calls_of(text, n) : 0;
    if (!ret_fault->calls)
        return err_set(err, ERR_REFUSED,
                       "there is no call \"%.*s\"; expected one such as \"facts.put: EIO on the "
                       "2nd call\"",
                       (int)(n < 40 ? n : 40), text);
    if (strncmp(answer, ": ", 2))
        return err_set(err, ERR_REFUSED, "expected an error behind the call: \"%.*s: EIO\"",
                       (int)(n < 40 ? n : 40), text);
    answer += 2;
    length = strcspn(answer, " ");
    ret_fault->answer = SENDIT_OK;
    for (size_t i = 1; i < N_RESULTS; i++)
        if (strlen(results[i].name) == length && !strncmp(results[i].name, answer, length))
            ret_fault->answer = results[i].result;
    if (ret_fault->answer == SENDIT_OK)
        return err_set(err, ERR_REFUSED, "there is no error \"%.*s\"; expected one such as EIO",
                       (int)(length < 40 ? length : 40), answer);
    nth = nth_of(answer + length);
    if (nth < 0)
        return err_set(err, ERR_REFUSED,
                       "nothing, or \" on the 2nd call\", was expected behind the error");
    ret_fault->nth = (unsigned)nth;
    return 0;
}

/* ---- around a call ---- */

struct call {
    enum spy_call call;
    char key[SPY_KEY];
};

/* What the faults say to this call; SENDIT_OK for nothing. */
static sendit_result fault_of(enum spy_call call)
{
    sendit_result answer = SENDIT_OK;

    for (size_t i = 0; i < spy->n_faults; i++) {
        const struct spy_fault *fault = &spy->faults[i];

        if (!(fault->calls & UINT64_C(1) << call))
            continue;
        spy->seen[i]++;
        if (answer == SENDIT_OK && (!fault->nth || fault->nth == spy->seen[i]))
            answer = fault->answer;
    }
    return answer;
}

/* Nonzero: the call is answered so, and not made. */
__attribute__((format(printf, 3, 4))) static sendit_result
enter(struct call *call, enum spy_call which, const char *format, ...)
{
    const struct spy_about *about = &spy_about[which];
    sendit_result answer;
    char text[SPY_KEY - 32];
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    call->call = which;
    snprintf(call->key, sizeof(call->key), "%s%s%s", about->name, *text ? " " : "", text);
    pthread_mutex_lock(&spy->mutex);
    spy->counts[which]++;
    answer = fault_of(which);
    if (answer != SENDIT_OK) {
        memcpy(spy->failed, call->key, sizeof(spy->failed));
        spy->failed_call = which;
        spy->answer = answer;
    }
    if (about->effect && json_array_append_new(spy->calls, json_string(call->key)))
        spy->memory = true;
    pthread_mutex_unlock(&spy->mutex);
    return answer;
}

static sendit_result leave(const struct call *call, sendit_result result)
{
    pthread_mutex_lock(&spy->mutex);
    if (!strcmp(spy->failed, call->key)) /* this time it was really answered */
        spy->failed[0] = '\0';
    pthread_mutex_unlock(&spy->mutex);
    return result;
}

/* The body of each function: the real call, unless it has to fail. */
/* clang-format off */
#define SPY(which, real, ...) \
    do { \
        struct call call_; \
        sendit_result result_ = enter(&call_, which, __VA_ARGS__); \
        return result_ == SENDIT_OK ? leave(&call_, real) : result_; \
    } while (0)
/* clang-format on */

/* "PatientID", or "(0009,1001)". */
static const char *tag_name(uint32_t tag, char text[16])
{
    const char *keyword = dicom_keyword(tag);

    if (keyword)
        return keyword;
    snprintf(text, 16, "(%04x,%04x)", (unsigned)(tag >> 16), (unsigned)(tag & 0xffff));
    return text;
}

/* What a stage hands over may be NULL, which the real function refuses. */
static const char *shown(const char *text)
{
    return text ? text : "";
}

static sendit_result failed(struct sendit_why *why, sendit_result result)
{
    if (why && result != SENDIT_OK && !why->code[0])
        (void)sendit_because(why, SENDIT_FAIL, "test.fault", "The test made this call fail.");
    return result;
}

/* ---- dicom ---- */

static sendit_result d_tag(const char *keyword, uint32_t *ret_tag)
{
    SPY(SPY_TAG, host_dicom.tag(keyword, ret_tag), "%s", shown(keyword));
}

static sendit_result d_keyword(uint32_t tag, const char **ret_keyword)
{
    char room[16];

    SPY(SPY_KEYWORD, host_dicom.keyword(tag, ret_keyword), "%s", tag_name(tag, room));
}

static sendit_result d_locate(struct sendit_dataset *ds, uint32_t tag, const char *creator,
                              uint32_t *ret_tag)
{
    char room[16];

    SPY(SPY_LOCATE, host_dicom.locate(ds, tag, creator, ret_tag), "%s", tag_name(tag, room));
}

static sendit_result d_get(struct sendit_dataset *ds, uint32_t tag, const char **ret_value)
{
    char room[16];

    SPY(SPY_GET, host_dicom.get(ds, tag, ret_value), "%s", tag_name(tag, room));
}

static sendit_result d_bytes(struct sendit_dataset *ds, uint32_t tag, const void **ret_value,
                             size_t *ret_length)
{
    char room[16];

    SPY(SPY_BYTES, host_dicom.bytes(ds, tag, ret_value, ret_length), "%s", tag_name(tag, room));
}

static sendit_result d_put(struct sendit_dataset *ds, uint32_t tag, const char *value)
{
    char room[16];

    SPY(SPY_PUT, host_dicom.put(ds, tag, value), "%s", tag_name(tag, room));
}

static sendit_result d_put_as(struct sendit_dataset *ds, uint32_t tag, const char *creator,
                              const char *vr, const void *value, size_t length)
{
    char room[16];

    SPY(SPY_PUT_AS, host_dicom.put_as(ds, tag, creator, vr, value, length), "%s",
        tag_name(tag, room));
}

static sendit_result d_erase(struct sendit_dataset *ds, uint32_t tag)
{
    char room[16];

    SPY(SPY_ERASE, host_dicom.erase(ds, tag), "%s", tag_name(tag, room));
}

static struct sendit_dataset *d_nested(struct sendit_dataset *ds, uint32_t tag, size_t index)
{
    char room[16];
    struct call call;

    if (enter(&call, SPY_NESTED, "%s[%zu]", tag_name(tag, room), index) != SENDIT_OK)
        return NULL;
    return host_dicom.nested(ds, tag, index);
}

static sendit_result d_append(struct sendit_dataset *ds, uint32_t tag,
                              struct sendit_dataset **ret_item)
{
    char room[16];

    SPY(SPY_APPEND, host_dicom.append(ds, tag, ret_item), "%s", tag_name(tag, room));
}

static sendit_result d_walk(struct sendit_dataset *ds, sendit_visit_fn *visit, void *ctx)
{
    SPY(SPY_WALK, host_dicom.walk(ds, visit, ctx), "%s", "");
}

static sendit_result d_json(struct sendit_dataset *ds, const char **ret_json)
{
    SPY(SPY_JSON, host_dicom.json(ds, ret_json), "%s", "");
}

static void *d_native(struct sendit_dataset *ds, const char *build)
{
    return host_dicom.native(ds, build);
}

static const struct sendit_dicom spy_dicom = {
    .tag = d_tag,
    .keyword = d_keyword,
    .locate = d_locate,
    .get = d_get,
    .bytes = d_bytes,
    .put = d_put,
    .put_as = d_put_as,
    .erase = d_erase,
    .nested = d_nested,
    .append = d_append,
    .walk = d_walk,
    .json = d_json,
    .native = d_native,
};

/* ---- pixels ---- */

static sendit_result x_count(struct sendit_dataset *ds, uint32_t *ret_frames)
{
    SPY(SPY_COUNT, host_pixels.count(ds, ret_frames), "%s", "");
}

static sendit_result x_frame(struct sendit_dataset *ds, uint32_t index,
                             const struct sendit_frame **ret_frame)
{
    SPY(SPY_FRAME, host_pixels.frame(ds, index, ret_frame), "%u", (unsigned)index);
}

static sendit_result x_blank(struct sendit_dataset *ds, uint32_t index,
                             const struct sendit_box *box)
{
    struct call call;
    sendit_result r = index == SENDIT_ALL_FRAMES ? enter(&call, SPY_BLANK, "all frames")
                                                 : enter(&call, SPY_BLANK, "%u", (unsigned)index);

    return r == SENDIT_OK ? leave(&call, host_pixels.blank(ds, index, box)) : r;
}

static const struct sendit_pixels spy_pixels = {
    .count = x_count, .frame = x_frame, .blank = x_blank};

/* ---- deid ---- */

static sendit_result e_compile(const struct sendit_host *host, const char *const *profiles,
                               const char *const *recipes, const struct sendit_deid_plan **ret_plan,
                               struct sendit_why *why)
{
    struct call call;
    sendit_result r = enter(&call, SPY_COMPILE, "%s", "");

    if (r != SENDIT_OK)
        return failed(why, r);
    return leave(&call, host_deid.compile(host, profiles, recipes, ret_plan, why));
}

static const char *e_digest(const struct sendit_deid_plan *plan)
{
    return host_deid.digest(plan);
}

static sendit_result e_filter(const struct sendit_deid_plan *plan, struct sendit_dataset *ds,
                              const struct sendit_match **ret_match, struct sendit_why *why)
{
    struct call call;
    sendit_result r = enter(&call, SPY_FILTER, "%s", "");

    if (r != SENDIT_OK)
        return failed(why, r);
    return leave(&call, host_deid.filter(plan, ds, ret_match, why));
}

static sendit_result e_apply(const struct sendit_deid_plan *plan, struct sendit_dataset *ds,
                             const struct sendit_var *vars, size_t n_vars,
                             const struct sendit_report **ret_report, struct sendit_why *why)
{
    struct call call;
    sendit_result r = enter(&call, SPY_APPLY, "%s", "");

    if (r != SENDIT_OK)
        return failed(why, r);
    return leave(&call, host_deid.apply(plan, ds, vars, n_vars, ret_report, why));
}

static const char *e_variable(const struct sendit_deid_plan *plan, size_t index)
{
    return host_deid.variable(plan, index);
}

static const struct sendit_match *e_label(const struct sendit_deid_plan *plan, size_t index)
{
    return host_deid.label(plan, index);
}

static const struct sendit_deid spy_deid = {.compile = e_compile,
                                            .digest = e_digest,
                                            .filter = e_filter,
                                            .apply = e_apply,
                                            .variable = e_variable,
                                            .label = e_label};

/* ---- ids, originals ---- */

static sendit_result i_patient(struct sendit_dataset *ds, const char **ret_patient)
{
    SPY(SPY_PATIENT, host_ids.patient(ds, ret_patient), "%s", "");
}

static sendit_result i_pseudonym(const struct sendit_host *host, const char *domain,
                                 const char *original, const char **ret_pseudonym)
{
    SPY(SPY_PSEUDONYM, host_ids.pseudonym(host, domain, original, ret_pseudonym), "%s",
        shown(domain));
}

static sendit_result i_uid(const struct sendit_host *host, const char *original,
                           const char **ret_uid)
{
    SPY(SPY_UID, host_ids.uid(host, original, ret_uid), "%s", "");
}

static sendit_result i_days(const struct sendit_host *host, const char *patient, int32_t *ret_days)
{
    SPY(SPY_DAYS, host_ids.days(host, patient, ret_days), "%s", "");
}

static sendit_result i_lookup(const struct sendit_host *host, const char *domain,
                              const char *original, const char **ret_pseudonym,
                              int64_t *ret_since_ms)
{
    SPY(SPY_LOOKUP, host_ids.lookup(host, domain, original, ret_pseudonym, ret_since_ms), "%s",
        shown(domain));
}

static sendit_result i_assign(const struct sendit_host *host, const char *domain,
                              const char *original, const char *proposed,
                              const char **ret_pseudonym)
{
    SPY(SPY_ASSIGN, host_ids.assign(host, domain, original, proposed, ret_pseudonym), "%s %s",
        shown(domain), shown(proposed));
}

static const struct sendit_ids spy_ids = {.patient = i_patient,
                                          .pseudonym = i_pseudonym,
                                          .uid = i_uid,
                                          .days = i_days,
                                          .lookup = i_lookup,
                                          .assign = i_assign};

static sendit_result o_value(struct sendit_dataset *ds, size_t index, uint32_t *ret_tag,
                             const char **ret_value)
{
    (void)ds;
    SPY(SPY_ORIGINAL, canned_original(spy->canned, index, ret_tag, ret_value), "%zu", index);
}

static const struct sendit_originals spy_originals = {.value = o_value};

/* ---- files, spool, facts ---- */

static sendit_result f_view(struct sendit_dataset *ds, const struct sendit_file **ret_file)
{
    SPY(SPY_VIEW, host_files.view(ds, ret_file), "%s", "");
}

static sendit_result f_keep(struct sendit_dataset *ds, const struct sendit_file **ret_file)
{
    SPY(SPY_KEEP, host_files.keep(ds, ret_file), "%s", "");
}

static void f_drop(const struct sendit_host *host, const struct sendit_file *kept)
{
    struct call call;

    (void)enter(&call, SPY_DROP, "%s", "");
    host_files.drop(host, kept);
}

static const struct sendit_files spy_files = {.view = f_view, .keep = f_keep, .drop = f_drop};

static sendit_result s_open(const struct sendit_host *host, const char *name, int *ret_fd)
{
    SPY(SPY_SPOOL, host_spool.open(host, name, ret_fd), "%s", shown(name));
}

static const struct sendit_spool spy_spool = {.open = s_open};

static sendit_result a_put(const struct sendit_host *host, const char *item, const char *key,
                           const char *value)
{
    SPY(SPY_FACT_PUT, host_facts.put(host, item, key, value), "%s%s%s", shown(item),
        item ? " " : "", shown(key));
}

static sendit_result a_get(const struct sendit_host *host, const char *item, const char *key,
                           const char **ret_value)
{
    SPY(SPY_FACT_GET, host_facts.get(host, item, key, ret_value), "%s%s%s", shown(item),
        item ? " " : "", shown(key));
}

static const struct sendit_facts spy_facts = {.put = a_put, .get = a_get};

/* ---- store, secrets ---- */

static sendit_result t_get(const struct sendit_host *host, const char *key, const void **ret_value,
                           size_t *ret_length, uint64_t *ret_revision)
{
    SPY(SPY_STORE_GET, host_store.get(host, key, ret_value, ret_length, ret_revision), "%s",
        shown(key));
}

static sendit_result t_put(const struct sendit_host *host, const char *key, const void *value,
                           size_t length, uint64_t expected)
{
    SPY(SPY_STORE_PUT, host_store.put(host, key, value, length, expected), "%s", shown(key));
}

static sendit_result t_next(const struct sendit_host *host, const char *key, const char **ret_key)
{
    SPY(SPY_STORE_NEXT, host_store.next(host, key, ret_key), "%s", shown(key));
}

static sendit_result t_lock(const struct sendit_host *host, const char *key)
{
    SPY(SPY_STORE_LOCK, host_store.lock(host, key), "%s", shown(key));
}

static sendit_result t_append(const struct sendit_host *host, const char *event, const char *json)
{
    SPY(SPY_STORE_APPEND, host_store.append(host, event, json), "%s", shown(event));
}

static const struct sendit_store spy_store = {
    .get = t_get, .put = t_put, .next = t_next, .lock = t_lock, .append = t_append};

static sendit_result c_get(const struct sendit_host *host, const char *option,
                           const char **ret_value)
{
    SPY(SPY_SECRET_GET, host_secrets.get(host, option, ret_value), "%s", shown(option));
}

static sendit_result c_put(const struct sendit_host *host, const char *option, const char *value)
{
    SPY(SPY_SECRET_PUT, host_secrets.put(host, option, value), "%s", shown(option));
}

static const struct sendit_secrets spy_secrets = {.get = c_get, .put = c_put};

/* ---- http ---- */

static sendit_result h_send(const struct sendit_host *host,
                            const struct sendit_http_request *request,
                            const struct sendit_http_response **ret_response)
{
    if (!table_enter(host))
        return SENDIT_EINVAL;
    SPY(SPY_HTTP_SEND, canned_send(spy->canned, request, ret_response), "%s %s",
        request ? shown(request->method) : "", request ? shown(request->url) : "");
}

static sendit_result h_start(const struct sendit_host *host,
                             const struct sendit_http_request *request, sendit_done_fn *done,
                             void *ctx)
{
    if (!table_enter(host))
        return SENDIT_EINVAL;
    SPY(SPY_HTTP_START, canned_start(spy->canned, request, done, ctx), "%s %s",
        request ? shown(request->method) : "", request ? shown(request->url) : "");
}

static sendit_result h_drain(const struct sendit_host *host, uint32_t max_left)
{
    if (!table_enter(host))
        return SENDIT_EINVAL;
    SPY(SPY_HTTP_DRAIN, canned_drain(spy->canned, max_left), "%s", "");
}

static const struct sendit_http spy_http = {
    .send = h_send, .start = h_start, .drain = h_drain, .header = canned_header};

/* ---- feed ---- */

static sendit_result q_open(const struct sendit_feed *feed, const char *key)
{
    (void)feed;
    SPY(SPY_FEED_OPEN, spy->feed->open_batch(spy->feed, key), "%s", shown(key));
}

static sendit_result q_add(const struct sendit_feed *feed, const char *path)
{
    (void)feed;
    SPY(SPY_FEED_ADD, spy->feed->add(spy->feed, path), "%s", shown(path));
}

static sendit_result q_ignore(const struct sendit_feed *feed, const char *path, const char *code)
{
    (void)feed;
    SPY(SPY_FEED_IGNORE, spy->feed->ignore(spy->feed, path, code), "%s", shown(path));
}

static sendit_result q_when_done(const struct sendit_feed *feed, int32_t how, const char *folder)
{
    (void)feed;
    SPY(SPY_FEED_WHEN_DONE, spy->feed->when_done(spy->feed, how, folder), "%d", (int)how);
}

static sendit_result q_close(const struct sendit_feed *feed)
{
    (void)feed;
    SPY(SPY_FEED_CLOSE, spy->feed->close_batch(spy->feed), "%s", "");
}

static const struct sendit_feed spy_feed_table = {.open_batch = q_open,
                                                  .add = q_add,
                                                  .ignore = q_ignore,
                                                  .when_done = q_when_done,
                                                  .close_batch = q_close};

const struct sendit_feed *spy_feed(struct spy *with, const struct sendit_feed *feed)
{
    with->feed = feed;
    return &spy_feed_table;
}

/* ---- settle, compare ---- */

static sendit_result l_batch(const struct sendit_settle *settle, const char *batch_id,
                             sendit_verdict verdict, const char *code, const char *text)
{
    char room[16];

    (void)settle;
    SPY(SPY_SETTLED, spy->settle->batch(spy->settle, batch_id, verdict, code, text), "%s %s",
        shown(batch_id), memory_verdict(verdict, room));
}

const struct sendit_settle *spy_settle(struct spy *with, const struct sendit_settle *settle)
{
    with->settle = settle;
    with->settles = *settle;
    with->settles.priv = NULL;
    with->settles.batch = l_batch;
    return &with->settles;
}

static sendit_result m_differs(const struct sendit_compare *compare, const char *code,
                               const char *subject, const char *text)
{
    (void)compare;
    SPY(SPY_DIFFERS, spy->compare->differs(spy->compare, code, subject, text), "%s", shown(code));
}

static sendit_result m_counted(const struct sendit_compare *compare, const char *what, uint64_t n)
{
    (void)compare;
    SPY(SPY_COUNTED, spy->compare->counted(spy->compare, what, n), "%s", shown(what));
}

static const struct sendit_compare spy_compare_table = {.differs = m_differs, .counted = m_counted};

const struct sendit_compare *spy_compare(struct spy *with, const struct sendit_compare *compare)
{
    with->compare = compare;
    return &spy_compare_table;
}

/* ---- the host ---- */

static sendit_result hold(const struct sendit_host *host, const char *item_id,
                          sendit_verdict verdict, const char *code, const char *text)
{
    char room[16];

    SPY(SPY_HOLD, spy->hold(host, item_id, verdict, code, text), "%s %s %s", shown(item_id),
        memory_verdict(verdict, room), shown(code));
}

/* Tables that the spy stands in front of; config, metrics and what may come later go as they are.
 * Two need no table of the host's, but the flag. */
static const struct {
    const char *id;
    const void *table;
    size_t size;
    uint32_t flag; /* 0: the host knows */
} tables[] = {
    {"sendit.dicom/1", &spy_dicom, sizeof(spy_dicom), 0},
    {"sendit.pixels/1", &spy_pixels, sizeof(spy_pixels), 0},
    {"sendit.deid/1", &spy_deid, sizeof(spy_deid), 0},
    {"sendit.ids/1", &spy_ids, sizeof(spy_ids), 0},
    {"sendit.files/1", &spy_files, sizeof(spy_files), 0},
    {"sendit.spool/1", &spy_spool, sizeof(spy_spool), 0},
    {"sendit.facts/1", &spy_facts, sizeof(spy_facts), 0},
    {"sendit.store/1", &spy_store, sizeof(spy_store), 0},
    {"sendit.secrets/1", &spy_secrets, sizeof(spy_secrets), 0},
    {"sendit.http/1", &spy_http, sizeof(spy_http), SENDIT_NETWORK},
    {"sendit.originals/1", &spy_originals, sizeof(spy_originals), SENDIT_ORIGINALS},
};

static const void *service(const struct sendit_host *handle, const char *id, size_t size)
{
    uint32_t flags = spy->host->stage->plugin->flags;

    for (size_t i = 0; id && i < sizeof(tables) / sizeof(tables[0]); i++) {
        bool there;

        if (strcmp(tables[i].id, id))
            continue;
        there = tables[i].flag ? size <= tables[i].size && (flags & tables[i].flag)
                               : spy->service(handle, id, size) != NULL;
        return there ? tables[i].table : NULL;
    }
    return spy->service(handle, id, size);
}

void spy_callback(struct spy *with, const char *name, const char *item)
{
    if (json_array_append_new(with->calls,
                              json_sprintf("%s%s%s", name, item ? " " : "", item ? item : "")))
        with->memory = true;
}

int spy_attach(struct spy *with, struct host *host, struct canned *canned)
{
    with->calls = json_array();
    if (!with->calls)
        return -1;
    pthread_mutex_init(&with->mutex, NULL);
    with->host = host;
    with->canned = canned;
    with->service = host->host.service;
    with->hold = host->host.hold;
    host->host.service = service;
    host->host.hold = hold;
    spy = with;
    return 0;
}

void spy_detach(struct spy *with)
{
    if (!with->calls)
        return;
    json_decref(with->calls);
    with->calls = NULL;
    pthread_mutex_destroy(&with->mutex);
    spy = NULL;
}
