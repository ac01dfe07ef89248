/* SPDX-License-Identifier: Apache-2.0 */
/* One element: its bytes, its value as UTF-8 text, and text as its bytes. */
#include "dicom/object.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cmath>
#include <cstring>

namespace
{
/* DCMTK's getters by VR copy or trim; its own storage is what a view wants.  These names are
 * protected there, and a class derived from theirs may take their address. */
struct Peek : DcmElement {
    static void *get(DcmElement *element)
    {
        void *(DcmElement::*f)(const E_ByteOrder) = &Peek::getValue;
        return (element->*f)(gLocalByteOrder);
    }
    static OFCondition put(DcmElement *element, const void *value, Uint32 length)
    {
        OFCondition (DcmElement::*f)(const void *, const Uint32) = &Peek::putValue;
        return (element->*f)(value, length);
    }
};

/* So is the list of an item, whose cursor makes it possible to erase in constant time. */
struct PeekItem : DcmItem {
    static DcmList *list(DcmItem *item)
    {
        return item->*(&PeekItem::elementList);
    }
};

/* How long one value of a string VR may be, in characters; 0 for as long as it likes. */
size_t max_characters(DcmEVR vr)
{
    switch (vr) {
    case EVR_AS:
        return 4;
    case EVR_IS:
        return 12;
    case EVR_AE:
    case EVR_CS:
    case EVR_DS:
    case EVR_SH:
        return 16;
    case EVR_DA:
        return 18; /* a range, in queries */
    case EVR_TM:
        return 28;
    case EVR_DT:
        return 54;
    case EVR_LO:
    case EVR_UI:
        return 64;
    case EVR_PN:
        return 64 * 3 + 2; /* three groups of components */
    case EVR_ST:
        return 1024;
    case EVR_LT:
        return 10240;
    default:
        return 0;
    }
}

/* Backslashes belong to the text. */
bool is_one_value(DcmEVR vr)
{
    return vr == EVR_ST || vr == EVR_LT || vr == EVR_UT || vr == EVR_UR;
}

enum charset_text text_kind(DcmEVR vr)
{
    return vr == EVR_PN ? CHARSET_NAME : is_one_value(vr) ? CHARSET_TEXT : CHARSET_VALUES;
}

bool long_length(DcmEVR vr)
{
    return vr == EVR_UC || vr == EVR_UR || vr == EVR_UT;
}

/* What a character of a VR without character sets may be. */
bool fits_vr(DcmEVR vr, char c)
{
    switch (vr) {
    case EVR_UI:
        return (c >= '0' && c <= '9') || c == '.';
    case EVR_DA:
        return (c >= '0' && c <= '9') || c == '.' || c == '-';
    case EVR_IS:
        return (c >= '0' && c <= '9') || c == '+' || c == '-' || c == ' ';
    case EVR_DS:
        return (c >= '0' && c <= '9') || c == '+' || c == '-' || c == 'e' || c == 'E' || c == '.' ||
               c == ' ';
    default:
        return c >= 0x20 && c < 0x7f;
    }
}

template <typename T> void add_number(T value, struct buf *out)
{
    char text[40];
    auto end = std::to_chars(text, text + sizeof(text), value);

    buf_add(out, text, static_cast<size_t>(end.ptr - text));
}

template <typename T> void add_numbers(const void *value, size_t length, struct buf *out)
{
    for (size_t i = 0; i + sizeof(T) <= length; i += sizeof(T)) {
        T number;

        memcpy(&number, static_cast<const char *>(value) + i, sizeof(T));
        if (i)
            buf_str(out, "\\");
        add_number(number, out);
    }
}

void add_tags(const void *value, size_t length, struct buf *out)
{
    for (size_t i = 0; i + 4 <= length; i += 4) {
        uint16_t pair[2];

        memcpy(pair, static_cast<const char *>(value) + i, 4);
        buf_printf(out, "%s(%04x,%04x)", i ? "\\" : "", static_cast<unsigned>(pair[0]),
                   static_cast<unsigned>(pair[1]));
    }
}

sendit_result number_text(DcmEVR vr, const void *value, size_t length, struct buf *out)
{
    if (length % number_width(vr))
        return SENDIT_ECORRUPT;
    switch (vr) {
    case EVR_AT:
        add_tags(value, length, out);
        break;
    case EVR_US:
    case EVR_xs:
        add_numbers<uint16_t>(value, length, out);
        break;
    case EVR_SS:
        add_numbers<int16_t>(value, length, out);
        break;
    case EVR_UL:
    case EVR_up:
        add_numbers<uint32_t>(value, length, out);
        break;
    case EVR_SL:
        add_numbers<int32_t>(value, length, out);
        break;
    case EVR_UV:
        add_numbers<uint64_t>(value, length, out);
        break;
    case EVR_SV:
        add_numbers<int64_t>(value, length, out);
        break;
    case EVR_FL:
        add_numbers<float>(value, length, out);
        break;
    default:
        add_numbers<double>(value, length, out);
    }
    return SENDIT_OK;
}

/* Drop padding at the end of each value, at its beginning where it means nothing, and the "=" of
 * groups that a name does not have. */
void trim(struct buf *out, size_t from, DcmEVR vr)
{
    bool one_value = is_one_value(vr), leading = !is_text_vr(vr);
    size_t to = from, i = from;

    while (i < out->len) {
        size_t stop = i, end, begin = i;

        while (stop < out->len && (one_value || out->data[stop] != '\\'))
            stop++;
        for (end = stop; end > begin && (out->data[end - 1] == ' ' || !out->data[end - 1]); end--)
            ;
        while (vr == EVR_PN && end > begin && out->data[end - 1] == '=')
            end--;
        while (leading && begin < end && out->data[begin] == ' ')
            begin++;
        memmove(out->data + to, out->data + begin, end - begin);
        to += end - begin;
        if (stop < out->len)
            out->data[to++] = '\\';
        i = stop + 1;
    }
    out->len = to;
    if (out->data)
        out->data[to] = '\0';
}

template <typename T> bool parse_number(const char *from, const char *to, T *ret)
{
    while (from < to && *from == ' ')
        from++;
    while (to > from && to[-1] == ' ')
        to--;
    if (from < to && *from == '+')
        from++;
    auto [end, error] = std::from_chars(from, to, *ret);
    return error == std::errc() && end == to && from < to;
}

template <typename T> bool put_number(const char *from, const char *to, struct buf *out)
{
    T number{};

    if (!parse_number(from, to, &number))
        return false;
    buf_add(out, &number, sizeof(number));
    return true;
}

bool put_tag(const char *from, const char *to, struct buf *out)
{
    unsigned group = 0, element = 0;
    int used = 0;
    std::string text(from, to);

    if (sscanf(text.c_str(), " (%4x,%4x) %n", &group, &element, &used) != 2 ||
        static_cast<size_t>(used) != text.size())
        return false;
    const uint16_t pair[2] = {static_cast<uint16_t>(group), static_cast<uint16_t>(element)};
    buf_add(out, pair, sizeof(pair));
    return true;
}

bool put_one(DcmEVR vr, const char *from, const char *to, struct buf *out)
{
    switch (vr) {
    case EVR_AT:
        return put_tag(from, to, out);
    case EVR_US:
        return put_number<uint16_t>(from, to, out);
    case EVR_SS:
        return put_number<int16_t>(from, to, out);
    case EVR_UL:
    case EVR_up:
        return put_number<uint32_t>(from, to, out);
    case EVR_SL:
        return put_number<int32_t>(from, to, out);
    case EVR_UV:
        return put_number<uint64_t>(from, to, out);
    case EVR_SV:
        return put_number<int64_t>(from, to, out);
    case EVR_FL:
        return put_number<float>(from, to, out);
    case EVR_FD:
        return put_number<double>(from, to, out);
    default:
        return false;
    }
}

/* Lengths and characters of each value. */
bool fits(DcmEVR vr, const char *text, size_t length)
{
    size_t max = max_characters(vr), n = 0;

    if (is_text_vr(vr) && !charset_is_utf8(text, length))
        return false;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = static_cast<unsigned char>(text[i]);

        if (c == 0 || (c < 0x20 && (!is_one_value(vr) || vr == EVR_UR || c == 0x1b)))
            return false;
        if (c == '\\' && !is_one_value(vr)) {
            n = 0;
            continue;
        }
        if (!is_text_vr(vr) && !fits_vr(vr, text[i]))
            return false;
        if ((c & 0xc0) != 0x80 && ++n > max && max)
            return false;
    }
    return true;
}
} // namespace

const void *raw_value(DcmElement *element, size_t *ret_length)
{
    const void *value = nullptr;

    /* sequences, and the fragments of a compressed icon, have no bytes of their own */
    if (!is_sequence(element) && element->getLengthField() != DCM_UndefinedLength)
        value = Peek::get(element);
    *ret_length = value ? element->getLengthField() : 0;
    return value ? value : "";
}

sendit_result set_raw_value(DcmElement *element, const void *value, size_t length)
{
    OFCondition result;
    Uint32 n = static_cast<Uint32>(length);

    if (length >= UINT32_MAX - 1)
        return SENDIT_EINVAL;
    /* strings keep a note on how they are padded, which putString() sets */
    if (is_string_vr(element->ident()))
        result = element->putString(static_cast<const char *>(value), n);
    else
        result = Peek::put(element, value, n);
    return result.good() ? SENDIT_OK : SENDIT_ENOMEM;
}

DcmList *list_of(DcmItem *item)
{
    return PeekItem::list(item);
}

bool is_sequence(DcmElement *element)
{
    return element->ident() == EVR_SQ;
}

void vr_name(DcmElement *element, char ret_vr[4])
{
    const char *name = DcmVR(element->getVR()).getValidVRName();

    ret_vr[0] = name[0];
    ret_vr[1] = name[1];
    ret_vr[2] = ret_vr[3] = '\0';
}

bool is_text_vr(DcmEVR vr)
{
    switch (vr) {
    case EVR_LO:
    case EVR_LT:
    case EVR_PN:
    case EVR_SH:
    case EVR_ST:
    case EVR_UC:
    case EVR_UT:
        return true;
    default:
        return false;
    }
}

bool is_string_vr(DcmEVR vr)
{
    switch (vr) {
    case EVR_AE:
    case EVR_AS:
    case EVR_CS:
    case EVR_DA:
    case EVR_DS:
    case EVR_DT:
    case EVR_IS:
    case EVR_TM:
    case EVR_UI:
    case EVR_UR:
        return true;
    default:
        return is_text_vr(vr);
    }
}

size_t number_width(DcmEVR vr)
{
    switch (vr) {
    case EVR_US:
    case EVR_SS:
    case EVR_xs:
        return 2;
    case EVR_AT:
    case EVR_UL:
    case EVR_up:
    case EVR_SL:
    case EVR_FL:
        return 4;
    case EVR_UV:
    case EVR_SV:
    case EVR_FD:
        return 8;
    default:
        return 0;
    }
}

DcmElement *element_after(DcmItem *item, uint32_t tag, bool inclusive)
{
    for (DcmObject *o = item->nextInContainer(nullptr); o; o = item->nextInContainer(o))
        if (tag_of(o) > tag || (inclusive && tag_of(o) == tag))
            return static_cast<DcmElement *>(o);
    return nullptr;
}

/* The same at the top level, where DCMTK's list would be gone through for each question. */
static DcmElement *element_at_top(struct dicom_object *object, uint32_t tag)
{
    std::vector<DcmElement *> &sorted = object->sorted;

    if (object->sorted_structure != object->structure) {
        sorted.clear();
        for (DcmObject *o = object->top.item->nextInContainer(nullptr); o;
             o = object->top.item->nextInContainer(o))
            sorted.push_back(static_cast<DcmElement *>(o));
        object->sorted_structure = object->structure;
    }
    auto at = std::lower_bound(sorted.begin(), sorted.end(), tag,
                               [](DcmElement *e, uint32_t wanted) { return tag_of(e) < wanted; });
    return at == sorted.end() ? nullptr : *at;
}

DcmElement *find_element(const struct sendit_dataset *ds, uint32_t tag)
{
    struct dicom_object *object = ds->object;
    DcmElement *element;

    if (object->shown && object->shown_item == ds->item && object->shown_tag == tag)
        return object->shown;
    element = ds->parent || object->native ? element_after(ds->item, tag, true)
                                           : element_at_top(object, tag);
    return element && tag_of(element) == tag ? element : nullptr;
}

const struct charset *charset_of(struct sendit_dataset *ds)
{
    struct dicom_object *object = ds->object;
    const struct charset *inherited;
    DcmElement *element;
    size_t length = 0;

    if (ds->charset && ds->epoch == object->epoch)
        return ds->charset;
    element = element_after(ds->item, 0x00080005, true);
    if (element && tag_of(element) == 0x00080005 && is_string_vr(element->ident())) {
        const char *text = static_cast<const char *>(raw_value(element, &length));

        while (length && (text[length - 1] == ' ' || text[length - 1] == '\0'))
            length--;
        inherited = charset_get(object->dicom->charsets, text, length);
    } else {
        inherited =
            ds->parent ? charset_of(ds->parent) : charset_get(object->dicom->charsets, "", 0);
    }
    if (!inherited)
        throw std::bad_alloc();
    ds->charset = inherited;
    ds->epoch = object->epoch;
    return inherited;
}

sendit_result element_text(struct sendit_dataset *ds, DcmElement *element, struct buf *out)
{
    DcmEVR vr = element->ident();
    size_t length, from = out->len;
    const void *value;

    if (!is_string_vr(vr) && !number_width(vr))
        return SENDIT_EINVAL;
    value = raw_value(element, &length);
    if (!is_string_vr(vr))
        return number_text(vr, value, length, out);
    const char *text = static_cast<const char *>(value);
    while (length && text[length - 1] == '\0')
        length--;
    if (memchr(text, '\0', length))
        return SENDIT_ECORRUPT; /* what is behind it would be hidden from whoever reads the text */
    if (is_text_vr(vr)) {
        if (charset_decode(charset_of(ds), text, length, text_kind(vr), out))
            return out->failed ? SENDIT_ENOMEM : SENDIT_ECORRUPT;
    } else {
        for (size_t i = 0; i < length; i++)
            if (static_cast<unsigned char>(text[i]) >= 0x80)
                return SENDIT_ECORRUPT;
        buf_add(out, text, length);
    }
    trim(out, from, vr);
    return out->failed ? SENDIT_ENOMEM : SENDIT_OK;
}

sendit_result text_to_bytes(struct sendit_dataset *ds, DcmEVR vr, const char *text, size_t length,
                            struct buf *out)
{
    size_t from = out->len;

    if (number_width(vr)) {
        for (const char *p = text, *end = text + length; length;) {
            const char *stop =
                static_cast<const char *>(memchr(p, '\\', static_cast<size_t>(end - p)));

            if (!put_one(vr, p, stop ? stop : end, out))
                return SENDIT_EINVAL;
            if (!stop)
                break;
            p = stop + 1;
        }
    } else if (!is_string_vr(vr) || !fits(vr, text, length)) {
        return SENDIT_EINVAL;
    } else if (!is_text_vr(vr)) {
        buf_add(out, text, length);
    } else if (charset_encode(charset_of(ds), text, length, text_kind(vr), out)) {
        return out->failed ? SENDIT_ENOMEM : SENDIT_EINVAL;
    }
    if ((out->len - from) & 1)
        buf_add(out, vr == EVR_UI ? "" : " ", 1);
    if (!long_length(vr) && out->len - from > 0xfffe)
        return SENDIT_EINVAL;
    return out->failed ? SENDIT_ENOMEM : SENDIT_OK;
}

/* What the dictionary says never changes, and asking it takes a lock and a hash of its own: for
 * each element of each image.  A slot is written whole or not at all; another tag may take it over.
 */
DcmEVR dictionary_vr(uint32_t tag)
{
    static std::atomic<uint64_t> memo[4096];
    std::atomic<uint64_t> &slot = memo[tag * UINT32_C(2654435761) >> 20];
    uint64_t known = slot.load(std::memory_order_relaxed);

    if (known >> 32 != tag || !known) {
        known =
            static_cast<uint64_t>(tag) << 32 | static_cast<uint32_t>(DcmTag(key_of(tag)).getEVR());
        slot.store(known, std::memory_order_relaxed);
    }
    return static_cast<DcmEVR>(known & UINT32_MAX);
}
