/* SPDX-License-Identifier: Apache-2.0 */
/* The DICOM JSON Model (PS3.18 annex F), without bulk data: binary values are left out. */
#include "dicom/object.h"

#include <charconv>
#include <cstring>

#include <jansson.h>

namespace
{
struct Free {
    void operator()(json_t *json) const
    {
        json_decref(json);
    }
};
using Json = std::unique_ptr<json_t, Free>;

json_t *checked(json_t *json)
{
    if (!json)
        throw std::bad_alloc();
    return json;
}

void set(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, checked(value)))
        throw std::bad_alloc();
}

void append(json_t *array, json_t *value)
{
    if (json_array_append_new(array, checked(value)))
        throw std::bad_alloc();
}

/* The three groups of a name: "Alphabetic=Ideographic=Phonetic". */
json_t *name_of(const char *text, size_t length)
{
    static const char *const groups[] = {"Alphabetic", "Ideographic", "Phonetic"};
    Json name(checked(json_object()));
    const char *end = text + length;

    for (int i = 0; i < 3; i++) {
        const char *stop =
            static_cast<const char *>(memchr(text, '=', static_cast<size_t>(end - text)));
        size_t n = static_cast<size_t>((stop ? stop : end) - text);

        if (n)
            set(name.get(), groups[i], json_stringn(text, n));
        if (!stop)
            break;
        text = stop + 1;
    }
    return name.release();
}

/* A number as JSON has it; what is none (some DS are not) stays text. */
json_t *number_of(const char *text, size_t length)
{
    const char *end = text + length, *from = text + (length && *text == '+');
    json_int_t whole;
    double real;

    while (end > from && end[-1] == ' ')
        end--;
    auto a = std::from_chars(from, end, whole);
    if (a.ec == std::errc() && a.ptr == end)
        return json_integer(whole);
    auto b = std::from_chars(from, end, real);
    json_t *number = b.ec == std::errc() && b.ptr == end ? json_real(real) : nullptr;
    return number ? number : json_stringn(text, length); /* json_real() takes no NaN */
}

/* "(0008,0018)" as "00080018". */
json_t *tag_of_text(const char *text, size_t length)
{
    char word[9] = "";
    size_t n = 0;

    for (size_t i = 0; i < length && n < 8; i++)
        if (strchr("0123456789abcdefABCDEF", text[i]))
            word[n++] = static_cast<char>(text[i] >= 'a' ? text[i] - 32 : text[i]);
    return json_stringn(word, n);
}

json_t *value_of(DcmEVR vr, const char *text, size_t length)
{
    if (!length)
        return json_null();
    if (vr == EVR_PN)
        return name_of(text, length);
    if (vr == EVR_AT)
        return tag_of_text(text, length);
    if (vr == EVR_IS || vr == EVR_DS || number_width(vr))
        return number_of(text, length);
    return json_stringn(text, length);
}

void add_values(json_t *entry, DcmEVR vr, const struct buf *text)
{
    const char *p = text->data, *end = p + text->len;
    bool one = vr == EVR_ST || vr == EVR_LT || vr == EVR_UT || vr == EVR_UR;
    Json values(checked(json_array()));

    for (;;) {
        const char *stop =
            one ? nullptr
                : static_cast<const char *>(memchr(p, '\\', static_cast<size_t>(end - p)));

        append(values.get(), value_of(vr, p, static_cast<size_t>((stop ? stop : end) - p)));
        if (!stop)
            break;
        p = stop + 1;
    }
    set(entry, "Value", values.release());
}

sendit_result item_json(struct sendit_dataset *ds, int depth, json_t **ret_json);

sendit_result items_json(struct sendit_dataset *ds, DcmElement *element, int depth, json_t *entry)
{
    auto *sequence = static_cast<DcmSequenceOfItems *>(element);
    Json values(checked(json_array()));

    for (unsigned long i = 0; i < sequence->card(); i++) {
        struct sendit_dataset nested = {ds->object, sequence->getItem(i), ds, i, nullptr, 0};
        json_t *item = nullptr;
        sendit_result result = item_json(&nested, depth + 1, &item);

        if (result)
            return result;
        append(values.get(), item);
    }
    set(entry, "Value", values.release());
    return SENDIT_OK;
}

sendit_result element_json(struct sendit_dataset *ds, DcmElement *element, int depth, json_t *entry)
{
    DcmEVR vr = element->ident();
    struct buf text = {};
    sendit_result result = SENDIT_OK;

    if (is_sequence(element))
        return items_json(ds, element, depth, entry);
    if (!is_string_vr(vr) && !number_width(vr))
        return SENDIT_OK;
    try {
        result = element_text(ds, element, &text);
        if (!result && text.len)
            add_values(entry, vr, &text);
    } catch (...) {
        buf_fini(&text);
        throw;
    }
    buf_fini(&text);
    return result;
}

/* An element as far as there is an object for it: {"vr": ..., "Value": ...}. */
void add_entry(json_t *json, uint32_t tag, json_t *entry)
{
    char key[9];

    snprintf(key, sizeof(key), "%08X", tag);
    set(json, key, entry);
}

sendit_result item_json(struct sendit_dataset *ds, int depth, json_t **ret_json)
{
    Json json(checked(json_object()));
    const struct dicom_object *object = ds->object;
    bool pixels_left = !ds->parent && object->pixels != Pixels::none;
    DcmItem *item = ds->item;
    std::vector<DcmElement *> elements;

    if (depth > 2 * DICOM_MAX_DEPTH)
        return SENDIT_ECORRUPT;
    for (DcmObject *o = item->nextInContainer(nullptr); o; o = item->nextInContainer(o))
        elements.push_back(static_cast<DcmElement *>(o));
    for (DcmElement *element : elements) {
        Json entry(checked(json_object()));
        char vr[4];
        sendit_result result;

        if (pixels_left && tag_of(element) > object->scan.pixel_tag) {
            add_entry(json.get(), object->scan.pixel_tag,
                      json_pack("{s:s}", "vr", object->scan.pixel_vr));
            pixels_left = false;
        }
        vr_name(element, vr);
        set(entry.get(), "vr", json_string(vr));
        result = element_json(ds, element, depth, entry.get());
        if (result)
            return result;
        add_entry(json.get(), tag_of(element), entry.release());
    }
    if (pixels_left)
        add_entry(json.get(), object->scan.pixel_tag,
                  json_pack("{s:s}", "vr", object->scan.pixel_vr));
    *ret_json = json.release();
    return SENDIT_OK;
}
} // namespace

sendit_result dicom_json(struct sendit_dataset *ds, const char **ret_json)
{
    return guarded([&]() -> sendit_result {
        json_t *json = nullptr;
        sendit_result result;
        char *text;

        if (ds->object->broken)
            return SENDIT_ENOMEM;
        result = item_json(ds, 0, &json);
        if (result)
            return result;
        text = json_dumps(json, JSON_COMPACT);
        json_decref(json);
        if (!text)
            return SENDIT_ENOMEM;
        std::unique_ptr<char, void (*)(void *)> owned(text, free);
        *ret_json = ds->object->arena.text(text, strlen(text));
        return SENDIT_OK;
    });
}
