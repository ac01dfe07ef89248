/* SPDX-License-Identifier: Apache-2.0 */
/* What sendit_dicom in services.h promises: look, edit, walk. */
#include "dicom/object.h"

#include <algorithm>
#include <cstring>
#include <utility>

/* Not group 0002, group lengths and delimiters; nor pixel data, also an icon's: that is for the
 * pixels service. */
bool can_be_put(uint32_t tag)
{
    uint32_t group = tag >> 16;

    return group > GROUP_META && group != 0xfffe && group != 0xffff && (tag & 0xffff) != 0 &&
           tag != 0x7fe00010 && tag != 0x7fe00008 && tag != 0x7fe00009;
}

namespace
{
constexpr uint32_t PIXEL_REPRESENTATION = 0x00280103;
constexpr uint32_t CHARACTER_SET = 0x00080005;

/* Is it the pixel data that lies on disk? */
bool is_file_pixels(const struct sendit_dataset *ds, uint32_t tag)
{
    return !ds->parent && ds->object->pixels != Pixels::none && tag == ds->object->scan.pixel_tag;
}

/* The DCMTK names of ambiguous VRs, as a file has them. */
DcmEVR settle(const struct sendit_dataset *ds, DcmEVR vr)
{
    if (vr == EVR_xs) {
        const struct sendit_dataset *at = ds;
        DcmElement *element = nullptr;
        size_t length = 0;

        for (; at && !element; at = at->parent)
            element = find_element(at, PIXEL_REPRESENTATION);
        if (element) {
            const void *value = raw_value(element, &length);
            uint16_t is_signed = 0;

            if (length >= sizeof(is_signed))
                memcpy(&is_signed, value, sizeof(is_signed));
            return is_signed ? EVR_SS : EVR_US;
        }
    }
    return DcmVR(vr).getValidEVR();
}

bool is_real_vr(DcmEVR vr)
{
    return vr != EVR_UNKNOWN && vr != EVR_UNKNOWN2B && vr != EVR_UN && vr != EVR_na;
}

/* An element as DCMTK has one for its VR; of UN it would make one in the VR of the dictionary. */
DcmElement *make_element(uint32_t tag, const char *creator, DcmEVR vr)
{
    DcmElement *element = nullptr;
    DcmTag dcm_tag(key_of(tag));

    if (creator)
        dcm_tag.setPrivateCreator(creator);
    dcm_tag.setVR(DcmVR(vr));
    if (vr == EVR_UN)
        return new DcmOtherByteOtherWord(dcm_tag);
    if (DcmItem::newDicomElementWithVR(element, dcm_tag).bad() || !element)
        throw std::bad_alloc();
    return element;
}

/* What handles remember of an item that is about to change. */
void forget(struct dicom_object *object, uint32_t tag)
{
    if (tag == CHARACTER_SET)
        object->epoch++;
}

/* Put it into the item, in place of one that has its tag; takes it in any case. */
sendit_result insert(struct sendit_dataset *ds, DcmElement *element)
{
    struct dicom_object *object = ds->object;

    if (object->walks)
        object->born.push_back(element);
    if (object->shown_item == ds->item && object->shown_tag == tag_of(element))
        object->shown = nullptr;
    object->structure++;
    if (ds->item->insert(element, OFTrue).good())
        return SENDIT_OK;
    delete element;
    return SENDIT_ENOMEM;
}

/* Set the bytes of a tag, in the element that is there if it has the VR. */
sendit_result store(struct sendit_dataset *ds, uint32_t tag, const char *creator, DcmEVR vr,
                    const void *value, size_t length)
{
    DcmElement *element = find_element(ds, tag);

    forget(ds->object, tag);
    if (element && element->ident() == vr && element->getVR() == vr && vr != EVR_SQ)
        return set_raw_value(element, value, length);
    std::unique_ptr<DcmElement> made(make_element(tag, creator, vr));
    if (vr != EVR_SQ) {
        sendit_result result = set_raw_value(made.get(), value, length);

        if (result)
            return result;
    }
    return insert(ds, made.release());
}

/* The VR that put() writes a tag in: the dictionary's, for others that of the file. */
DcmEVR vr_to_put(struct sendit_dataset *ds, uint32_t tag)
{
    DcmEVR vr = is_private(tag) ? EVR_UNKNOWN : settle(ds, dictionary_vr(tag));
    DcmElement *element;

    if (is_real_vr(vr))
        return vr;
    element = find_element(ds, tag);
    return element ? settle(ds, element->getVR()) : EVR_UNKNOWN;
}

sendit_result put_text(struct sendit_dataset *ds, uint32_t tag, const char *creator, DcmEVR vr,
                       const char *value, size_t length)
{
    struct buf *text = &ds->object->dicom->text;
    sendit_result result;

    text->len = 0;
    text->failed = false;
    result = text_to_bytes(ds, vr, value, length, text);
    if (result)
        return result;
    result = begin_edit(ds->object);
    return result ? result : store(ds, tag, creator, vr, text->data ? text->data : "", text->len);
}

bool has_creator(DcmElement *element, const char *creator)
{
    size_t length, wanted = strlen(creator);
    const char *value = static_cast<const char *>(raw_value(element, &length));

    while (length && (value[length - 1] == ' ' || value[length - 1] == '\0'))
        length--;
    while (length && *value == ' ') {
        value++;
        length--;
    }
    return length == wanted && memcmp(value, creator, length) == 0;
}

/* The block (gggg,00bb) of a creator; 0 without one, *ret_free then being the first free one. */
uint32_t find_block(const struct sendit_dataset *ds, uint32_t group, const char *creator,
                    uint32_t *ret_free)
{
    uint32_t from = group << 16 | 0x10, next = 0x10;
    DcmItem *item = ds->item;

    for (DcmObject *o = element_after(item, from, true); o; o = item->nextInContainer(o)) {
        uint32_t tag = tag_of(o);

        if (tag > (group << 16 | 0xff))
            break;
        if (has_creator(static_cast<DcmElement *>(o), creator))
            return tag & 0xff;
        if ((tag & 0xff) == next)
            next++;
    }
    /* elements whose creator is lost keep their block to themselves */
    for (DcmElement *e; next <= 0xff; next++) {
        e = element_after(item, group << 16 | next << 8, true);
        if (!e || tag_of(e) > (group << 16 | next << 8 | 0xff))
            break;
    }
    if (ret_free)
        *ret_free = next;
    return 0;
}

sendit_result reserve_block(struct sendit_dataset *ds, uint32_t group, const char *creator,
                            uint32_t *ret_block)
{
    uint32_t next = 0;

    *ret_block = find_block(ds, group, creator, &next);
    if (*ret_block)
        return SENDIT_OK;
    if (next > 0xff)
        return SENDIT_ENOMEM;
    *ret_block = next;
    return put_text(ds, group << 16 | next, nullptr, EVR_LO, creator, strlen(creator));
}

/* The private creators of an item, as a walk meets them: it shows them for the elements of their
 * blocks although the visitor may have had them erased. */
class Creators
{
  public:
    /* NULL for what is not private, for creators themselves, and without one. */
    const char *of(struct sendit_dataset *ds, uint32_t tag, DcmElement *element);

  private:
    std::vector<std::pair<uint32_t, const char *>> met; /* group and block */
};

const char *Creators::of(struct sendit_dataset *ds, uint32_t tag, DcmElement *element)
{
    uint32_t low = tag & 0xffff;

    if (!is_private(tag) || low < 0x10 || (low > 0xff && low < 0x1000))
        return nullptr;
    if (low > 0xff) {
        for (auto creator = met.rbegin(); creator != met.rend(); ++creator)
            if (creator->first == tag >> 8)
                return creator->second;
        return nullptr;
    }
    size_t length;
    const char *value = static_cast<const char *>(raw_value(element, &length));
    while (length && (value[length - 1] == ' ' || value[length - 1] == '\0'))
        length--;
    met.emplace_back((tag & 0xffff0000) >> 8 | low, ds->object->arena.text(value, length));
    return nullptr;
}

/* "LO" to EVR_LO; EVR_UNKNOWN for what no file has. */
DcmEVR parse_vr(const char *vr)
{
    DcmVR parsed(vr);

    if (strlen(vr) != 2 || !parsed.isStandard())
        return EVR_UNKNOWN;
    return parsed.getEVR();
}

size_t value_width(DcmEVR vr)
{
    size_t width = number_width(vr);

    if (width)
        return width;
    return vr == EVR_OW                   ? 2
           : vr == EVR_OL || vr == EVR_OF ? 4
           : vr == EVR_OD || vr == EVR_OV ? 8
                                          : 1;
}

sendit_result put_value(struct sendit_dataset *ds, uint32_t tag, const char *creator, DcmEVR vr,
                        const void *value, size_t length)
{
    sendit_result result;

    if (is_string_vr(vr))
        return put_text(ds, tag, creator, vr, static_cast<const char *>(value), length);
    if (length % value_width(vr) || (vr == EVR_SQ && length) ||
        (number_width(vr) && length > 0xfffe) || length > UINT32_MAX - 8)
        return SENDIT_EINVAL;
    result = begin_edit(ds->object);
    return result ? result : store(ds, tag, creator, vr, value ? value : "", length);
}

sendit_result put_as(struct sendit_dataset *ds, uint32_t tag, const char *creator, const char *vr,
                     const void *value, size_t length)
{
    DcmEVR evr = parse_vr(vr);
    uint32_t block = 0;
    sendit_result result;

    if (evr == EVR_UNKNOWN || !can_be_put(tag) || is_private(tag) != (creator != nullptr) ||
        (length && !value))
        return SENDIT_EINVAL;
    if (!creator)
        return put_value(ds, tag, nullptr, evr, value, length);
    if ((tag & 0xff00) || !*creator || strchr(creator, '\\'))
        return SENDIT_EINVAL;
    if (!ds->object->may_edit)
        return begin_edit(ds->object);
    result = reserve_block(ds, tag >> 16, creator, &block);
    if (result)
        return result;
    return put_value(ds, tag | block << 8, creator, evr, value, length);
}

sendit_result edit_pixels(struct dicom_object *object, Pixels what)
{
    sendit_result result = begin_edit(object);

    if (!result)
        object->pixels = what;
    return result;
}

sendit_result erase(struct sendit_dataset *ds, uint32_t tag)
{
    DcmElement *element;
    sendit_result result;

    if (tag >> 16 == GROUP_META)
        return SENDIT_EINVAL;
    if (is_file_pixels(ds, tag))
        return edit_pixels(ds->object, Pixels::none);
    element = find_element(ds, tag);
    if (!element)
        return SENDIT_EABSENT;
    result = begin_edit(ds->object);
    if (result)
        return result;
    forget(ds->object, tag);
    if (element == ds->object->shown)
        ds->object->shown = nullptr;
    ds->object->structure++;
    /* remove() of an item looks for the element from the first one on */
    ds->object->slid = list_of(ds->item)->get() == element;
    delete (ds->object->slid ? list_of(ds->item)->remove() : ds->item->remove(element));
    return SENDIT_OK;
}

/* Keep the element, drop its value and all that is inside. */
sendit_result empty(struct sendit_dataset *ds, uint32_t tag)
{
    DcmElement *element;
    sendit_result result;

    if (is_file_pixels(ds, tag))
        return edit_pixels(ds->object, Pixels::emptied);
    element = find_element(ds, tag);
    if (!element)
        return SENDIT_EABSENT;
    result = begin_edit(ds->object);
    if (result)
        return result;
    forget(ds->object, tag);
    if (element->ident() == EVR_PixelData) /* its representations would survive clear() */
        return insert(ds, make_element(tag, nullptr, settle(ds, element->getVR())));
    return element->clear().good() ? SENDIT_OK : SENDIT_ENOMEM;
}

/* A walk over one item and all that is in it. */
class Walk
{
  public:
    Walk(sendit_visit_fn *f, void *c) : visit(f), ctx(c)
    {
    }
    sendit_result item(struct sendit_dataset *ds, uint32_t depth);

  private:
    sendit_result pixels(struct sendit_dataset *ds, uint32_t depth);
    sendit_result element(struct sendit_dataset *ds, DcmElement *element, const char *creator,
                          uint32_t depth);
    sendit_result ask(struct sendit_dataset *ds, const struct sendit_element *shown,
                      DcmElement *element, bool *ret_enter);
    sendit_result items(struct sendit_dataset *ds, uint32_t tag, uint32_t depth);
    sendit_visit_fn *visit;
    void *ctx;
};

/* Show one element and do what the visitor answers. */
sendit_result Walk::ask(struct sendit_dataset *ds, const struct sendit_element *shown,
                        DcmElement *element, bool *ret_enter)
{
    struct dicom_object *object = ds->object;
    uint32_t tag = shown->tag;
    int32_t answer;

    *ret_enter = false;
    object->shown_item = ds->item;
    object->shown = element;
    object->shown_tag = tag;
    answer = visit(ctx, ds, shown);
    object->slid = false; /* an erasure by the answer counts, none by the visitor */
    sendit_result result = SENDIT_OK;
    switch (answer) {
    case SENDIT_KEEP:
        *ret_enter = true;
        break;
    case SENDIT_KEEP_WHOLE:
        break;
    case SENDIT_EMPTY:
        result = empty(ds, tag);
        break;
    case SENDIT_ERASE:
        result = erase(ds, tag);
        break;
    default:
        result = SENDIT_ESTOPPED;
    }
    object->shown = nullptr;
    return result == SENDIT_EABSENT ? SENDIT_OK : result;
}

sendit_result Walk::pixels(struct sendit_dataset *ds, uint32_t depth)
{
    struct dicom_object *object = ds->object;
    struct sendit_element shown = {};
    bool enter;

    shown.tag = object->scan.pixel_tag;
    memcpy(shown.vr, object->scan.pixel_vr, 3);
    shown.length = object->pixels == Pixels::kept ? object->place.length : 0;
    shown.depth = depth;
    return ask(ds, &shown, nullptr, &enter);
}

sendit_result Walk::element(struct sendit_dataset *ds, DcmElement *element, const char *creator,
                            uint32_t depth)
{
    struct sendit_element shown = {};
    bool sequence = is_sequence(element), enter;
    size_t length = 0;
    sendit_result result;

    shown.tag = tag_of(element);
    vr_name(element, shown.vr);
    shown.creator = creator;
    if (!sequence && element->getLengthField() != DCM_UndefinedLength)
        shown.value = raw_value(element, &length);
    shown.length = length;
    shown.depth = depth;
    result = ask(ds, &shown, element, &enter);
    if (result || !sequence || !enter)
        return result;
    result = items(ds, shown.tag, depth + 1);
    ds->object->slid = false; /* what slid was the cursor of an item in there */
    return result;
}

sendit_result Walk::items(struct sendit_dataset *ds, uint32_t tag, uint32_t depth)
{
    DcmElement *element = find_element(ds, tag);
    DcmObject *at = nullptr;
    unsigned long n;

    if (!element || !is_sequence(element) || depth > 2 * DICOM_MAX_DEPTH)
        return SENDIT_OK;
    n = static_cast<DcmSequenceOfItems *>(element)->card();
    /* Along the list: by its number an item is found in linear time.  A visitor may have taken the
     * sequence away; `at` is then compared and not looked at. */
    for (unsigned long i = 0; i < n; i++) {
        sendit_result result;

        element = find_element(ds, tag);
        if (!element || !is_sequence(element))
            return SENDIT_OK;
        at = static_cast<DcmSequenceOfItems *>(element)->nextInContainer(at);
        if (!at)
            return SENDIT_OK;
        result = item(new_handle(ds, static_cast<DcmItem *>(at), i), depth);
        if (result)
            return result;
    }
    return SENDIT_OK;
}

sendit_result Walk::item(struct sendit_dataset *ds, uint32_t depth)
{
    struct dicom_object *object = ds->object;
    DcmItem *in = ds->item;
    DcmObject *next = in->nextInContainer(nullptr);
    bool pixels_left = !ds->parent && object->pixels != Pixels::none;
    Creators creators;

    while (next || pixels_left) {
        uint32_t tag = next ? tag_of(next) : UINT32_MAX;
        uint64_t structure = object->structure;
        sendit_result result = SENDIT_OK;

        if (pixels_left && tag > object->scan.pixel_tag) {
            pixels_left = false;
            tag = object->scan.pixel_tag;
            result = pixels(ds, depth);
            if (!next && structure == object->structure)
                return result;
        } else {
            auto *shown = static_cast<DcmElement *>(next);
            bool is_born =
                std::find(object->born.begin(), object->born.end(), shown) != object->born.end();

            if (!is_born)
                result = element(ds, shown, creators.of(ds, tag, shown), depth);
            if (structure == object->structure)
                next = in->nextInContainer(next);
        }
        if (result)
            return result;
        if (structure != object->structure)
            next = object->slid && structure + 1 == object->structure
                       ? list_of(in)->get()
                       : element_after(in, tag, false);
    }
    return SENDIT_OK;
}
} // namespace

sendit_result dicom_tag(const char *keyword, uint32_t *ret_tag)
{
    return guarded([&] {
        static const char *const prefixes[] = {"", "RETIRED_", "ACR_NEMA_"};
        const DcmDataDictionary &dictionary = dcmDataDict.rdlock();
        const DcmDictEntry *entry = nullptr;

        for (size_t i = 0; !entry && i < 3; i++)
            entry = dictionary.findEntry((std::string(prefixes[i]) + keyword).c_str());
        if (entry && (entry->isRepeating() || entry->getPrivateCreator()))
            entry = nullptr;
        if (entry)
            *ret_tag = static_cast<uint32_t>(entry->getGroup()) << 16 | entry->getElement();
        dcmDataDict.rdunlock();
        return entry ? SENDIT_OK : SENDIT_EABSENT;
    });
}

/* As the standard has it, which DCMTK marks where it is retired. */
static const char *without_mark(const char *name)
{
    if (name && strncmp(name, "RETIRED_", 8) == 0)
        name += 8;
    if (name && strncmp(name, "ACR_NEMA_", 9) == 0)
        name += 9;
    return name;
}

const char *dicom_keyword(uint32_t tag)
{
    const DcmDictEntry *entry = dcmDataDict.rdlock().findEntry(key_of(tag), nullptr);
    const char *name = entry ? entry->getTagName() : nullptr;

    dcmDataDict.rdunlock();
    return without_mark(name);
}

static int show_keyword(const DcmDictEntry *entry,
                        int (*each)(void *ctx, const char *keyword, uint32_t tag, const char *vr),
                        void *ctx)
{
    const char *name = without_mark(entry->getTagName());
    uint32_t tag = static_cast<uint32_t>(entry->getGroup()) << 16 | entry->getElement();

    if (entry->getPrivateCreator() || is_private(tag) || tag >> 16 == 0xfffe || !name || !*name)
        return 0;
    return each(ctx, name, tag, DcmVR(DcmVR(entry->getVR()).getValidEVR()).getVRName());
}

int dicom_each_keyword(int (*each)(void *ctx, const char *keyword, uint32_t tag, const char *vr),
                       void *ctx)
{
    DcmDataDictionary &dictionary = dcmDataDict.wrlock();
    int r = 0;

    for (DcmHashDictIterator i = dictionary.normalBegin(); !r && i != dictionary.normalEnd(); ++i)
        r = show_keyword(*i, each, ctx);
    for (auto i = dictionary.repeatingBegin(); !r && i != dictionary.repeatingEnd(); ++i)
        r = show_keyword(*i, each, ctx);
    dcmDataDict.wrunlock();
    return r;
}

const char *dicom_vr(uint32_t tag)
{
    DcmEVR vr = is_private(tag) ? EVR_UNKNOWN : dictionary_vr(tag);

    return is_real_vr(vr) ? DcmVR(DcmVR(vr).getValidEVR()).getVRName() : nullptr;
}

bool dicom_is_single(uint32_t tag)
{
    const DcmDictEntry *entry = dcmDataDict.rdlock().findEntry(key_of(tag), nullptr);
    bool is_single = entry && entry->getVMMax() == 1;

    dcmDataDict.rdunlock();
    return is_single;
}

sendit_result dicom_locate(struct sendit_dataset *ds, uint32_t tag, const char *creator,
                           uint32_t *ret_tag)
{
    return guarded([&]() -> sendit_result {
        uint32_t block;

        if (!is_private(tag) || (tag & 0xff00) || !creator || !*creator)
            return SENDIT_EINVAL;
        if (ds->object->broken)
            return SENDIT_ENOMEM;
        block = find_block(ds, tag >> 16, creator, nullptr);
        if (!block)
            return SENDIT_EABSENT;
        *ret_tag = tag | block << 8;
        return SENDIT_OK;
    });
}

/* Group 0002 is read at the top only, from the file as it came; but its transfer syntax is the one
 * that the object has now, which is another when a box was drawn into compressed pixels. */
static DcmElement *find_to_read(struct sendit_dataset *ds, uint32_t tag)
{
    DcmItem *meta;
    DcmElement *element;

    if (ds->object->broken)
        throw std::bad_alloc();
    if (tag >> 16 != GROUP_META)
        return find_element(ds, tag);
    meta = ds->parent ? nullptr : meta_group(ds->object);
    element = meta ? element_after(meta, tag, true) : nullptr;
    if (!element || tag_of(element) != tag)
        return nullptr;
    if (tag == TAG_SYNTAX && element->putString(ds->object->place.syntax->uid).bad())
        throw std::bad_alloc();
    return element;
}

sendit_result dicom_get(struct sendit_dataset *ds, uint32_t tag, const char **ret_value)
{
    return guarded([&]() -> sendit_result {
        struct buf *text = &ds->object->dicom->text;
        DcmElement *element;
        sendit_result result;

        if (is_file_pixels(ds, tag))
            return SENDIT_EINVAL;
        element = find_to_read(ds, tag);
        if (!element)
            return SENDIT_EABSENT;
        text->len = 0;
        text->failed = false;
        result = element_text(ds, element, text);
        if (!result)
            *ret_value = ds->object->arena.text(text->data, text->len);
        return result;
    });
}

sendit_result dicom_bytes(struct sendit_dataset *ds, uint32_t tag, const void **ret_value,
                          size_t *ret_length)
{
    return guarded([&]() -> sendit_result {
        DcmElement *element;

        if (is_file_pixels(ds, tag))
            return SENDIT_EINVAL;
        element = find_to_read(ds, tag);
        if (!element)
            return SENDIT_EABSENT;
        if (is_sequence(element) || element->getLengthField() == DCM_UndefinedLength)
            return SENDIT_EINVAL;
        *ret_value = raw_value(element, ret_length);
        return SENDIT_OK;
    });
}

const char *dicom_dup(struct sendit_dataset *ds, const char *text)
{
    try {
        return ds->object->arena.text(text, std::strlen(text));
    } catch (...) {
        return nullptr;
    }
}

sendit_result dicom_put(struct sendit_dataset *ds, uint32_t tag, const char *value)
{
    return guarded([&]() -> sendit_result {
        DcmEVR vr;

        if (!value || !can_be_put(tag))
            return SENDIT_EINVAL;
        if (!ds->object->may_edit)
            return begin_edit(ds->object);
        vr = vr_to_put(ds, tag);
        if (vr == EVR_UNKNOWN || vr == EVR_SQ)
            return SENDIT_EINVAL;
        /* of bytes there is no text, but they can be empty */
        if (!*value && !is_string_vr(vr))
            return put_value(ds, tag, nullptr, vr, "", 0);
        return put_text(ds, tag, nullptr, vr, value, strlen(value));
    });
}

sendit_result dicom_put_as(struct sendit_dataset *ds, uint32_t tag, const char *creator,
                           const char *vr, const void *value, size_t length)
{
    return guarded([&] { return put_as(ds, tag, creator, vr, value, length); });
}

sendit_result dicom_erase(struct sendit_dataset *ds, uint32_t tag)
{
    return guarded([&] { return erase(ds, tag); });
}

struct sendit_dataset *dicom_nested(struct sendit_dataset *ds, uint32_t tag, size_t index)
{
    try {
        DcmElement *element = ds->object->broken ? nullptr : find_element(ds, tag);
        DcmItem *item;

        if (!element || !is_sequence(element))
            return nullptr;
        auto *sequence = static_cast<DcmSequenceOfItems *>(element);
        if (index >= sequence->card())
            return nullptr;
        item = sequence->getItem(static_cast<unsigned long>(index));
        return item ? new_handle(ds, item, index) : nullptr;
    } catch (...) {
        return nullptr;
    }
}

size_t dicom_index(const struct sendit_dataset *item)
{
    return item->index;
}

sendit_result dicom_append(struct sendit_dataset *ds, uint32_t tag,
                           struct sendit_dataset **ret_item)
{
    return guarded([&]() -> sendit_result {
        DcmElement *element;
        sendit_result result;
        int depth = 1;

        if (!can_be_put(tag))
            return SENDIT_EINVAL;
        for (const struct sendit_dataset *at = ds; at->parent; at = at->parent)
            depth++;
        if (depth > DICOM_MAX_DEPTH)
            return SENDIT_EINVAL;
        element = find_element(ds, tag);
        /* a private one is made by put_as() with "SQ", which reserves its block */
        if (element ? !is_sequence(element) : is_private(tag) || dictionary_vr(tag) != EVR_SQ)
            return SENDIT_EINVAL;
        result = begin_edit(ds->object);
        if (result)
            return result;
        if (!element) {
            element = make_element(tag, nullptr, EVR_SQ);
            result = insert(ds, element);
            if (result)
                return result;
        }
        std::unique_ptr<DcmItem> item(new DcmItem);
        if (static_cast<DcmSequenceOfItems *>(element)->append(item.get()).bad())
            return SENDIT_ENOMEM;
        *ret_item =
            new_handle(ds, item.release(), static_cast<DcmSequenceOfItems *>(element)->card() - 1);
        return SENDIT_OK;
    });
}

sendit_result dicom_walk(struct sendit_dataset *ds, sendit_visit_fn *visit, void *ctx)
{
    struct dicom_object *object = ds->object;
    sendit_result result;

    if (object->broken)
        return SENDIT_ENOMEM;
    object->walks++;
    result = guarded([&] { return Walk(visit, ctx).item(ds, 0); });
    object->shown = nullptr;
    if (--object->walks == 0)
        object->born.clear();
    return result;
}

size_t dicom_items(struct sendit_dataset *ds, uint32_t tag)
{
    DcmElement *element = ds->object->broken ? nullptr : find_element(ds, tag);

    return element && is_sequence(element) ? static_cast<DcmSequenceOfItems *>(element)->card() : 0;
}

/* The object has the other data set, so that what is looked for at the top level is found there. */
static void swap_dataset(struct dicom_object *object, std::unique_ptr<DcmDataset> &other)
{
    object->dataset.swap(other);
    object->top.item = object->dataset.get();
    object->structure++;
    object->shown = nullptr;
    object->shown_item = nullptr;
}

sendit_result dicom_walk_file(struct sendit_dataset *ds, sendit_visit_fn *visit, void *ctx)
{
    struct dicom_object *object = ds->object;
    bool could_edit = object->may_edit;
    std::unique_ptr<DcmDataset> whole;
    sendit_result result;

    if (ds->parent || object->broken || !object->pristine || object->edited || object->walks)
        return SENDIT_EINVAL;
    result = guarded([&] {
        whole = read_dataset(object);
        return whole ? SENDIT_OK : SENDIT_ECORRUPT;
    });
    if (result)
        return result;
    object->may_edit = false; /* it would be lost */
    swap_dataset(object, whole);
    result = dicom_walk(&object->top, visit, ctx);
    swap_dataset(object, whole);
    object->may_edit = could_edit;
    return result;
}

sendit_result dicom_walk_meta(struct sendit_dataset *ds, sendit_visit_fn *visit, void *ctx)
{
    return guarded([&]() -> sendit_result {
        DcmItem *meta = ds->parent ? nullptr : meta_group(ds->object);

        for (DcmObject *o = meta ? meta->nextInContainer(nullptr) : nullptr; o;
             o = meta->nextInContainer(o)) {
            auto *element = static_cast<DcmElement *>(o);
            struct sendit_element shown = {};
            size_t length = 0;

            if (is_sequence(element))
                continue; /* there is none in group 0002 */
            shown.tag = tag_of(element);
            vr_name(element, shown.vr);
            shown.value = raw_value(element, &length);
            shown.length = length;
            if (visit(ctx, ds, &shown) == SENDIT_STOP)
                return SENDIT_ESTOPPED;
        }
        return SENDIT_OK;
    });
}
