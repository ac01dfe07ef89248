/* SPDX-License-Identifier: Apache-2.0 */
#include "deid/header_value.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "deid/identity.h"
#include "deid/value.h"

#define LONGEST_UID 64
#define DIGITS_OF_A_DATE 8

static size_t count_digits(struct value_span span)
{
    size_t n = 0;

    while (n < span.len && span.text[n] >= '0' && span.text[n] <= '9')
        n++;
    return n;
}

/* One value that is neither DA nor DT. */
static bool move_other(uint16_t vr, struct value_span one, int32_t days, struct buf *out)
{
    if (count_digits(one) >= DIGITS_OF_A_DATE)
        return value_move(VALUE_VR('D', 'T'), one.text, one.len, days, out);
    if (vr != VALUE_VR('T', 'M') || !value_fits(vr, one.text, one.len))
        return false;
    buf_add(out, one.text, one.len);
    return true;
}

bool header_jitter(uint16_t vr, const char *text, int32_t days, struct buf *out)
{
    struct value_span rest = value_trim(text, strlen(text)), one;
    bool first = true;

    if (vr == VALUE_VR('D', 'A') || vr == VALUE_VR('D', 'T'))
        return value_move(vr, text, strlen(text), days, out);
    while (value_next(&rest, &one)) {
        if (!first)
            buf_add(out, "\\", 1);
        first = false;
        if (one.len && !move_other(vr, one, days, out))
            return false;
    }
    return true;
}

static sendit_result make_uuid(const struct header_call *call, const char *text,
                               uint8_t uuid[IDENTITY_UUID])
{
    if (!*text)
        text = call->seed;
    return *text ? call->keyed->uuid(call->keyed->ctx, text, uuid) : SENDIT_ECORRUPT;
}

static sendit_result add_uuid(const struct header_call *call, struct buf *out)
{
    uint8_t u[IDENTITY_UUID];
    sendit_result r = make_uuid(call, call->text, u);

    if (!r)
        buf_printf(out, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                   u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12],
                   u[13], u[14], u[15]);
    return r;
}

/* A UID under a root of the recipe's own; cut, as pydicom/deid cuts it. */
static sendit_result add_rooted(const struct header_call *call, const char *text, const char *dot,
                                struct buf *out)
{
    uint8_t uuid[IDENTITY_UUID];
    char decimal[IDENTITY_DECIMAL];
    size_t from = out->len;
    sendit_result r = make_uuid(call, text, uuid);

    if (r)
        return r;
    identity_decimal(uuid, decimal);
    buf_printf(out, "%s%s%s", call->action->root, dot, decimal);
    if (!out->failed && out->len - from > LONGEST_UID)
        out->len = from + LONGEST_UID;
    return SENDIT_OK;
}

/* The new UID that the whole run has for this one; a text that is no UID gets one of its own. */
static sendit_result add_uid(const struct header_call *call, const char *text, struct buf *out)
{
    struct value_span span = {text, strlen(text)};
    uint8_t uuid[IDENTITY_UUID];
    char decimal[IDENTITY_DECIMAL];
    const char *mapped;
    sendit_result r;

    if (value_is_uid(span) && identity_is_standard_uid(text)) {
        buf_str(out, text);
        return SENDIT_OK;
    }
    if (call->action->root && strcmp(call->action->root, "2.25.") != 0)
        return add_rooted(call, text, "", out);
    if (value_is_uid(span)) {
        r = call->keyed->uid(call->keyed->ctx, text, &mapped);
        if (!r)
            buf_str(out, mapped);
        return r == SENDIT_EINVAL ? SENDIT_ECORRUPT : r;
    }
    r = make_uuid(call, text, uuid);
    if (r)
        return r;
    identity_decimal(uuid, decimal);
    buf_printf(out, "2.25.%s", decimal);
    return SENDIT_OK;
}

/* Each of several UIDs. */
static sendit_result add_uids(const struct header_call *call, struct buf *out)
{
    struct value_span rest = value_trim(call->text, strlen(call->text)), one;
    bool first = true;
    sendit_result r = SENDIT_OK;

    if (!rest.len)
        return add_uid(call, "", out);
    while (!r && value_next(&rest, &one)) {
        char text[1025];

        if (one.len >= sizeof(text))
            return SENDIT_ECORRUPT;
        memcpy(text, one.text, one.len);
        text[one.len] = '\0';
        if (!first)
            buf_add(out, "\\", 1);
        first = false;
        if (one.len)
            r = add_uid(call, text, out);
    }
    return r;
}

static void add_small(const char *text, struct buf *out)
{
    for (; *text; text++)
        buf_add(out, &(char){(char)tolower((unsigned char)*text)}, 1);
}

sendit_result header_func(const struct header_call *call, struct buf *out)
{
    const struct recipe_action *action = call->action;
    sendit_result r;

    switch (action->func) {
    case FUNC_JITTER:
        r = header_jitter(call->vr, call->text, action->has_days ? action->days : call->days, out)
                ? SENDIT_OK
                : SENDIT_ECORRUPT;
        break;
    case FUNC_SUFFIX_UUID:
        add_small(call->keyword, out);
        buf_str(out, "-");
        r = add_uuid(call, out);
        break;
    case FUNC_BASIC_UUID:
        r = add_uuid(call, out);
        break;
    case FUNC_DICOM_UUID:
        r = add_rooted(call, call->text, ".", out);
        break;
    case FUNC_PYDICOM_UUID:
        r = add_uids(call, out);
        break;
    default:
        r = SENDIT_ECORRUPT;
    }
    return out->failed ? SENDIT_ENOMEM : r;
}
