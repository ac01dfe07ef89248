/* SPDX-License-Identifier: Apache-2.0 */
#include "deid/traces.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "deid/letters.h"
#include "deid/value.h"
#include "dicom/dicom.h"

#define BIRTH_DATE 0x00100030
#define SHORTEST_NAME 3
#define SHORTEST_ID 4
#define SHORTEST_NUMBER 5 /* of digits alone */
#define SHORTEST_JOINED 6 /* of two parts of a name without anything between them */
#define LONG_ENOUGH 8     /* to be found inside a word */
#define SHORTEST_IN_BYTES 5
#define MANY_BYTES (256u << 10)  /* where five letters might meet by chance */
#define LONGEST_BYTES (4u << 20) /* of a binary value that is looked at: more is image-like */

struct collector {
    struct traces *traces;
    sendit_result result;
    bool nested; /* the second walk, below the top level */
};

static char fold(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_word(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (unsigned char)c >= 0x80;
}

static bool is_ascii(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] >= 0x80)
            return false;
    return true;
}

static void store(struct traces *traces, const char *text, size_t len, bool anywhere)
{
    struct trace trace = {.anywhere = anywhere || len >= LONG_ENOUGH || !is_ascii(text, len)};

    if (len > TRACE_LENGTH)
        len = TRACE_LENGTH;
    trace.len = (unsigned char)len;
    memcpy(trace.text, text, len);
    for (size_t i = 0; i < traces->n; i++)
        if (traces->items[i].len == len && !memcmp(traces->items[i].text, trace.text, len))
            return;
    if (len && traces->n < TRACES_MAX)
        traces->items[traces->n++] = trace;
}

/* Also as it is written where there are no accents. */
static void add(struct traces *traces, const char *text, size_t len, bool anywhere)
{
    struct buf *folded = &traces->folded;
    bool german = false;

    do {
        folded->len = 0;
        letters_plain(text, len, german, folded);
        if (folded->failed)
            return; /* traces_collect() says so */
        if (folded->len)
            store(traces, folded->data, folded->len, anywhere);
        german = !german;
    } while (german && !is_ascii(text, len));
}

/* What stands where a name should, and names nobody. */
static bool is_placeholder(const char *text, size_t len)
{
    static const char *const words[] = {"anonymous", "anonymized", "anonymised", "anon", "name",
                                        "none",      "patient",    "phantom",    "test", "unknown"};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strlen(words[i]) == len && !strncasecmp(words[i], text, len))
            return true;
    return false;
}

/* Two parts of a name, as in the name of a folder. */
static void add_joined(struct traces *traces, struct value_span one, struct value_span two)
{
    char joined[2 * TRACE_LENGTH];

    if (one.len + two.len < SHORTEST_JOINED || one.len + two.len > sizeof(joined))
        return;
    memcpy(joined, one.text, one.len);
    memcpy(joined + one.len, two.text, two.len);
    add(traces, joined, one.len + two.len, true);
}

/* The parts of names: "Doe^Jane=..." gives "doe", "jane", "doejane" and "janedoe". */
static void add_name(struct traces *traces, const char *text)
{
    struct value_span before = {0};

    while (*text) {
        struct value_span part = {text, strcspn(text, "^=\\ ,.;/()\"-_")};

        text += part.len + (text[part.len] != '\0');
        if (part.len < SHORTEST_NAME + (is_ascii(part.text, part.len) ? 0u : 1u) ||
            is_placeholder(part.text, part.len))
            continue;
        add(traces, part.text, part.len, false);
        if (before.len) {
            add_joined(traces, before, part);
            add_joined(traces, part, before);
        }
        before = part;
    }
}

/* As it is, and without what stands between its letters and digits. */
static void add_id(struct traces *traces, const char *text)
{
    struct value_span rest = {text, strlen(text)}, one;

    while (value_next(&rest, &one)) {
        char bare[TRACE_LENGTH];
        size_t digits = 0, n = 0;

        for (size_t i = 0; i < one.len; i++) {
            digits += is_digit(one.text[i]);
            if (is_word(one.text[i]) && n < sizeof(bare))
                bare[n++] = one.text[i];
        }
        if (one.len >= (digits == one.len ? SHORTEST_NUMBER : SHORTEST_ID))
            add(traces, one.text, one.len, false);
        if (n >= (digits == n ? SHORTEST_NUMBER : SHORTEST_ID))
            add(traces, bare, n, false);
    }
}

/* A day of birth also as people write it: 03.07.1961, 07/03/1961. */
static void add_dates(struct traces *traces, const char *text, bool birth)
{
    struct value_span rest = {text, strlen(text)}, one;
    char turned[9];

    while (value_next(&rest, &one)) {
        if (one.len < 8 || !value_fits(VALUE_VR('D', 'A'), one.text, 8))
            continue;
        add(traces, one.text, 8, true);
        if (!birth)
            continue;
        snprintf(turned, sizeof(turned), "%.2s%.2s%.4s", one.text + 6, one.text + 4, one.text);
        add(traces, turned, 8, true);
        snprintf(turned, sizeof(turned), "%.2s%.2s%.4s", one.text + 4, one.text + 6, one.text);
        add(traces, turned, 8, true);
    }
}

/* Identifiers and places; what is no name and no date by its VR. */
static bool is_identifier(uint32_t tag)
{
    switch (tag) {
    case 0x00080050: /* AccessionNumber */
    case 0x00080080: /* InstitutionName */
    case 0x00080081: /* InstitutionAddress */
    case 0x00080092: /* ReferringPhysicianAddress */
    case 0x00080094: /* ReferringPhysicianTelephoneNumbers */
    case 0x00081010: /* StationName */
    case 0x00100020: /* PatientID */
    case 0x00101000: /* OtherPatientIDs */
    case 0x00101040: /* PatientAddress */
    case 0x00101090: /* MedicalRecordLocator */
    case 0x00102154: /* PatientTelephoneNumbers */
    case 0x00102155: /* PatientTelecomInformation */
    case 0x00181000: /* DeviceSerialNumber */
    case 0x00200010: /* StudyID */
    case 0x00321032: /* RequestingPhysician, in files that have it as text */
    case 0x00380010: /* AdmissionID */
    case 0x00380060: /* ServiceEpisodeID */
    case 0x00401001: /* RequestedProcedureID */
    case 0x00402016: /* PlacerOrderNumberImagingServiceRequest */
    case 0x00402017: /* FillerOrderNumberImagingServiceRequest */
        return true;
    default:
        return false;
    }
}

/* UIDs that name this image and what it belongs to; a text may hold one, too. */
static bool is_uid_of_image(uint32_t tag)
{
    return tag == 0x00080018 || tag == 0x0020000d || tag == 0x0020000e || tag == 0x00200052;
}

static bool is_identifying(const struct sendit_element *e)
{
    return is_identifier(e->tag) || (!e->depth && is_uid_of_image(e->tag));
}

/* Of UN what the dictionary says. */
static uint16_t vr_of(const struct sendit_element *e)
{
    uint16_t vr = value_vr(e->vr);
    const char *known = vr == VALUE_VR('U', 'N') ? dicom_vr(e->tag) : e->vr;

    return known ? value_vr(known) : 0;
}

static bool is_name_or_date(uint16_t vr)
{
    return vr == VALUE_VR('P', 'N') || vr == VALUE_VR('D', 'A') || vr == VALUE_VR('D', 'T');
}

bool traces_names(const struct sendit_element *e)
{
    return e->value && e->length && (is_identifying(e) || is_name_or_date(vr_of(e)));
}

static int32_t collect(void *ctx, struct sendit_dataset *parent, const struct sendit_element *e)
{
    struct collector *collector = ctx;
    const char *text;
    uint16_t vr;
    bool identifier = is_identifying(e);
    int32_t on = collector->nested ? SENDIT_KEEP : SENDIT_KEEP_WHOLE;
    sendit_result result;

    if (!e->value || !e->length || collector->nested == !e->depth)
        return on;
    vr = vr_of(e);
    if (!identifier && !is_name_or_date(vr))
        return on;
    result = dicom_get(parent, e->tag, &text);
    if (result == SENDIT_ENOMEM) {
        collector->result = result;
        return SENDIT_STOP;
    }
    if (result) { /* not in its character set: the bytes as they are */
        char *copy = strndup(e->value, e->length);

        text = copy ? dicom_dup(parent, copy) : NULL;
        free(copy);
        if (!text) {
            collector->result = SENDIT_ENOMEM;
            return SENDIT_STOP;
        }
    }
    if (vr == VALUE_VR('P', 'N'))
        add_name(collector->traces, text);
    else if (identifier)
        add_id(collector->traces, text);
    else
        add_dates(collector->traces, text, e->tag == BIRTH_DATE);
    return on;
}

sendit_result traces_collect(struct traces *traces, struct sendit_dataset *ds)
{
    struct collector collector = {.traces = traces};
    sendit_result result;

    if (!traces->items)
        traces->items = malloc(TRACES_MAX * sizeof(*traces->items));
    if (!traces->items)
        return SENDIT_ENOMEM;
    traces->n = 0;
    /* The top level first: who is in the sequences before it must not use up the room. */
    result = dicom_walk(ds, collect, &collector);
    collector.nested = true;
    if (!result)
        result = dicom_walk(ds, collect, &collector);
    if (!collector.result && traces->folded.failed)
        collector.result = SENDIT_ENOMEM;
    return collector.result ? collector.result : result;
}

void traces_fini(struct traces *traces)
{
    if (traces->items)
        explicit_bzero(traces->items, traces->n * sizeof(*traces->items));
    free(traces->items);
    buf_fini(&traces->folded);
    *traces = (struct traces){0};
}

static bool has(const char *text, size_t len, const struct trace *trace)
{
    const char *at = text, *end = text + len;

    while ((size_t)(end - at) >= trace->len) {
        const char *hit = memmem(at, (size_t)(end - at), trace->text, trace->len);

        if (!hit)
            return false;
        if (trace->anywhere || ((hit == text || !is_word(hit[-1])) &&
                                (hit + trace->len == end || !is_word(hit[trace->len]))))
            return true;
        at = hit + 1;
    }
    return false;
}

/* Does what is folded have one of them in it?  `inside`: of those alone that count in a word. */
static bool find(const struct traces *traces, size_t shortest, bool inside)
{
    const struct buf *folded = &traces->folded;

    for (size_t i = 0; i < traces->n; i++)
        if (traces->items[i].len >= shortest && (!inside || traces->items[i].anywhere) &&
            has(folded->data, folded->len, &traces->items[i]))
            return true;
    return false;
}

/* Drop what is neither letter nor digit, or NULs alone; false if there was none. */
static bool squeeze(struct buf *folded, bool nuls)
{
    size_t to = 0, len = folded->len;

    for (size_t i = 0; i < len; i++)
        if (nuls ? folded->data[i] != '\0' : is_word(folded->data[i]))
            folded->data[to++] = folded->data[i];
    folded->len = to;
    return to < len;
}

static bool fold_bytes(struct buf *folded, const char *text, size_t len)
{
    folded->len = 0;
    if (!buf_reserve(folded, len))
        return false;
    for (size_t i = 0; i < len; i++)
        folded->data[i] = fold(text[i]);
    folded->len = len;
    return true;
}

bool traces_in_text(struct traces *traces, const char *text, size_t len, size_t shortest)
{
    struct buf *folded = &traces->folded;
    bool german = false;

    if (len < SHORTEST_NAME || !traces->n)
        return false;
    do {
        folded->len = 0;
        if (is_ascii(text, len) ? !fold_bytes(folded, text, len)
                                : (letters_plain(text, len, german, folded), folded->failed))
            return true; /* without memory nothing can be said in its favour */
        if (find(traces, shortest, false) ||
            (squeeze(folded, false) && find(traces, shortest, true)))
            return true;
        german = !german;
    } while (german && !is_ascii(text, len));
    return false;
}

bool traces_in_number(const struct traces *traces, const char *text, size_t len)
{
    for (size_t i = 0; i < traces->n; i++) {
        const struct trace *trace = &traces->items[i];

        if (trace->len <= len && (trace->len == len || trace->len >= LONG_ENOUGH) &&
            memmem(text, len, trace->text, trace->len))
            return true;
    }
    return false;
}

/* NULs are dropped, too: text of two bytes a character has them. */
bool traces_in_bytes(struct traces *traces, const void *bytes, size_t len)
{
    size_t shortest = len > MANY_BYTES ? LONG_ENOUGH : SHORTEST_IN_BYTES;

    if (len < SHORTEST_IN_BYTES || len > LONGEST_BYTES || !traces->n)
        return false;
    if (!fold_bytes(&traces->folded, bytes, len))
        return true;
    return find(traces, shortest, false) ||
           (squeeze(&traces->folded, true) && find(traces, shortest, false));
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (unsigned char)c >= 0x80;
}

bool traces_look_like_a_name(const char *text, size_t len)
{
    for (size_t i = 1; i + 1 < len; i++)
        if ((text[i] == '^' || text[i] == '@') && is_letter(text[i - 1]) && is_letter(text[i + 1]))
            return true;
    return false;
}
