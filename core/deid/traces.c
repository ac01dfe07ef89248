/* SPDX-License-Identifier: Apache-2.0 */
#include "deid/traces.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "deid/value.h"
#include "dicom/dicom.h"

#define SHORTEST_NAME 3
#define SHORTEST_ID 4
#define SHORTEST_NUMBER 5 /* of digits alone */
#define LONG_ENOUGH 8     /* to be found inside a word */
#define SHORTEST_IN_BYTES 5
#define LONGEST_BYTES (64u << 10) /* of a binary value that is looked at: more is image-like */

struct collector {
    struct traces *traces;
    sendit_result result;
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

static void add(struct traces *traces, const char *text, size_t len, bool anywhere)
{
    struct trace trace = {.anywhere = anywhere || len >= LONG_ENOUGH || !is_ascii(text, len)};

    if (len > TRACE_LENGTH)
        len = TRACE_LENGTH;
    trace.len = (unsigned char)len;
    for (size_t i = 0; i < len; i++)
        trace.text[i] = fold(text[i]);
    for (size_t i = 0; i < traces->n; i++)
        if (traces->items[i].len == len && !memcmp(traces->items[i].text, trace.text, len))
            return;
    if (traces->n < TRACES_MAX)
        traces->items[traces->n++] = trace;
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

/* The parts of names: "Doe^Jane=..." gives "doe" and "jane". */
static void add_name(struct traces *traces, const char *text)
{
    while (*text) {
        size_t n = strcspn(text, "^=\\ ,.;/()\"-_");

        if (n >= SHORTEST_NAME + (is_ascii(text, n) ? 0u : 1u) && !is_placeholder(text, n))
            add(traces, text, n, false);
        text += n + (text[n] != '\0');
    }
}

static void add_id(struct traces *traces, const char *text)
{
    struct value_span rest = {text, strlen(text)}, one;

    while (value_next(&rest, &one)) {
        size_t digits = 0;

        for (size_t i = 0; i < one.len; i++)
            digits += is_digit(one.text[i]);
        if (one.len >= (digits == one.len ? SHORTEST_NUMBER : SHORTEST_ID))
            add(traces, one.text, one.len, false);
    }
}

static void add_dates(struct traces *traces, const char *text)
{
    struct value_span rest = {text, strlen(text)}, one;

    while (value_next(&rest, &one))
        if (one.len >= 8 && value_fits(VALUE_VR('D', 'A'), one.text, 8))
            add(traces, one.text, 8, true);
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

static int32_t collect(void *ctx, struct sendit_dataset *parent, const struct sendit_element *e)
{
    struct collector *collector = ctx;
    const char *known, *text;
    uint16_t vr = value_vr(e->vr);
    bool identifier = is_identifier(e->tag);
    sendit_result result;

    if (!e->value || !e->length)
        return SENDIT_KEEP;
    if (vr == VALUE_VR('U', 'N')) {
        known = dicom_vr(e->tag);
        vr = known ? value_vr(known) : 0;
    }
    if (!identifier && vr != VALUE_VR('P', 'N') && vr != VALUE_VR('D', 'A') &&
        vr != VALUE_VR('D', 'T'))
        return SENDIT_KEEP;
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
        add_dates(collector->traces, text);
    return SENDIT_KEEP;
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
    result = dicom_walk(ds, collect, &collector);
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

bool traces_in_text(struct traces *traces, const char *text, size_t len, size_t shortest)
{
    struct buf *folded = &traces->folded;

    if (len < SHORTEST_NAME || !traces->n)
        return false;
    folded->len = 0;
    if (!buf_reserve(folded, len))
        return true; /* without memory nothing can be said in its favour */
    for (size_t i = 0; i < len; i++)
        folded->data[i] = fold(text[i]);
    for (size_t i = 0; i < traces->n; i++)
        if (traces->items[i].len >= shortest && has(folded->data, len, &traces->items[i]))
            return true;
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

bool traces_in_bytes(struct traces *traces, const void *bytes, size_t len)
{
    return len >= SHORTEST_IN_BYTES && len <= LONGEST_BYTES &&
           traces_in_text(traces, bytes, len, SHORTEST_IN_BYTES);
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
