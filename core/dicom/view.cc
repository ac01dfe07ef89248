/* SPDX-License-Identifier: Apache-2.0 */
/* The object as the file that a store writes: bytes in memory, and ranges of a descriptor. */
#include "dicom/object.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>

#include <dcmtk/dcmdata/dcostrmb.h>
#include <dcmtk/dcmdata/dcwcache.h>

namespace
{
constexpr size_t BLOCK = 64u << 10;

void add_u16(struct buf *out, uint32_t value, bool big)
{
    const unsigned char bytes[2] = {static_cast<unsigned char>(big ? value >> 8 : value),
                                    static_cast<unsigned char>(big ? value : value >> 8)};

    buf_add(out, bytes, 2);
}

void add_u32(struct buf *out, uint32_t value, bool big)
{
    add_u16(out, big ? value >> 16 : value, big);
    add_u16(out, big ? value : value >> 16, big);
}

void add_tag(struct buf *out, uint32_t tag, bool big)
{
    add_u16(out, tag >> 16, big);
    add_u16(out, tag, big);
}

/* An element of group 0002, Explicit VR Little Endian, padded to an even length. */
void add_meta(struct buf *out, uint32_t tag, const char *vr, const void *value, size_t length)
{
    bool odd = length & 1;

    add_tag(out, tag, false);
    buf_add(out, vr, 2);
    if (strcmp(vr, "OB") == 0) {
        add_u16(out, 0, false);
        add_u32(out, static_cast<uint32_t>(length + odd), false);
    } else {
        add_u16(out, static_cast<uint32_t>(length + odd), false);
    }
    buf_add(out, value, length);
    if (odd)
        buf_add(out, strcmp(vr, "UI") == 0 ? "" : " ", 1);
}

/* A UID of the data set without its padding; one that is too long to be one is left out. */
void add_uid(struct buf *out, uint32_t tag, const struct sendit_dataset *ds, uint32_t from)
{
    DcmElement *element = find_element(ds, from);
    const char *value = "";
    size_t length = 0;

    if (element && element->ident() == EVR_UI)
        value = static_cast<const char *>(raw_value(element, &length));
    while (length && (value[length - 1] == '\0' || value[length - 1] == ' '))
        length--;
    add_meta(out, tag, "UI", value, length > 64 ? 0 : length);
}

void add_header(struct dicom_object *object, struct buf *out)
{
    static const char preamble[132] = {
        0,
    };
    const char *syntax = object->place.syntax->uid;
    size_t group = out->len + 132 + 12;
    uint32_t length;

    buf_add(out, preamble, 128);
    buf_add(out, "DICM", 4);
    add_meta(out, 0x00020000, "UL", "\0\0\0\0", 4);
    add_meta(out, 0x00020001, "OB", "\0\1", 2);
    add_uid(out, 0x00020002, &object->top, 0x00080016);
    add_uid(out, 0x00020003, &object->top, 0x00080018);
    add_meta(out, 0x00020010, "UI", syntax, strlen(syntax));
    add_meta(out, 0x00020012, "UI", DICOM_IMPLEMENTATION_UID, strlen(DICOM_IMPLEMENTATION_UID));
    add_meta(out, 0x00020013, "SH", DICOM_IMPLEMENTATION_VERSION,
             strlen(DICOM_IMPLEMENTATION_VERSION));
    if (out->failed)
        throw std::bad_alloc();
    length = static_cast<uint32_t>(out->len - group);
    for (size_t i = 0; i < 4; i++)
        out->data[group - 4 + i] = static_cast<char>(length >> 8 * i);
}

/* Elements with tags from `from` to below `to`, as DCMTK writes them. */
sendit_result add_elements(struct dicom_object *object, uint32_t from, uint32_t to, struct buf *out)
{
    DcmItem *item = object->dataset.get();
    std::unique_ptr<char[]> block(new char[BLOCK]);
    DcmOutputBufferStream stream(block.get(), static_cast<offile_off_t>(BLOCK));
    DcmWriteCache cache;
    E_TransferSyntax xfer = dcmtk_syntax(object->place.syntax);
    void *made;
    offile_off_t n;

    for (DcmObject *o = element_after(item, from, true); o; o = item->nextInContainer(o)) {
        OFCondition result;

        if (tag_of(o) >= to)
            break;
        o->transferInit();
        do {
            /* without lengths of sequences: DCMTK counts them wrongly where a value inside is odd
             */
            result = o->write(stream, xfer, EET_UndefinedLength, &cache);
            if (result == EC_StreamNotifyClient) {
                stream.flushBuffer(made, n);
                buf_add(out, made, static_cast<size_t>(n));
                if (n == 0)
                    return SENDIT_ECORRUPT;
            }
        } while (result == EC_StreamNotifyClient && !out->failed);
        o->transferEnd();
        if (out->failed)
            return SENDIT_ENOMEM;
        if (result.bad())
            return SENDIT_ECORRUPT;
    }
    stream.flushBuffer(made, n);
    buf_add(out, made, static_cast<size_t>(n));
    return out->failed ? SENDIT_ENOMEM : SENDIT_OK;
}

void add_pixel_header(struct dicom_object *object, struct buf *out)
{
    const PixelPlace &place = object->place;
    bool big = place.syntax->big_endian, kept = object->pixels == Pixels::kept;
    uint32_t length = !kept             ? 0
                      : place.undefined ? UINT32_MAX
                                        : static_cast<uint32_t>(place.length);

    add_tag(out, object->scan.pixel_tag, big);
    if (place.syntax->explicit_vr) {
        buf_add(out, place.vr, 2);
        add_u16(out, 0, big);
    }
    add_u32(out, length, big);
}

void add_part(View *view, const void *data, int fd, uint64_t offset, uint64_t length)
{
    struct sendit_part *part = &view->parts[view->file.n_parts];

    if (!length)
        return;
    view->file.n_parts++;
    view->file.total += length;
    *part = {};
    part->data = data;
    part->fd = data ? -1 : fd;
    part->offset = offset;
    part->length = length;
}

/* Deflates into a scratch file, piece by piece. */
class Deflater
{
  public:
    explicit Deflater(int f) : fd(f)
    {
        if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -MAX_WBITS, 8,
                         Z_DEFAULT_STRATEGY) != Z_OK)
            throw std::bad_alloc();
    }
    ~Deflater()
    {
        deflateEnd(&z);
    }
    Deflater(const Deflater &) = delete;
    Deflater &operator=(const Deflater &) = delete;
    sendit_result add(const void *data, size_t length, int flush);
    sendit_result add_range(int from, uint64_t offset, uint64_t length);
    sendit_result finish(uint64_t *ret_size);

  private:
    sendit_result write(const void *data, size_t length);
    int fd;
    z_stream z = {};
    uint64_t size = 0;
    std::vector<unsigned char> out = std::vector<unsigned char>(BLOCK);
};

sendit_result Deflater::write(const void *data, size_t length)
{
    const char *p = static_cast<const char *>(data);

    while (length) {
        ssize_t n = pwrite(fd, p, length, static_cast<off_t>(size));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return SENDIT_EIO;
        p += n;
        length -= static_cast<size_t>(n);
        size += static_cast<uint64_t>(n);
    }
    return SENDIT_OK;
}

sendit_result Deflater::add(const void *data, size_t length, int flush)
{
    const auto *p = static_cast<const Bytef *>(data);
    constexpr size_t STEP = 1u << 30; /* avail_in is 32 bits wide */

    do {
        size_t step = length < STEP ? length : STEP;

        z.next_in = const_cast<Bytef *>(p);
        z.avail_in = static_cast<uInt>(step);
        do {
            z.next_out = out.data();
            z.avail_out = static_cast<uInt>(out.size());
            if (deflate(&z, step == length ? flush : Z_NO_FLUSH) == Z_STREAM_ERROR)
                return SENDIT_EIO;
            if (write(out.data(), out.size() - z.avail_out))
                return SENDIT_EIO;
        } while (z.avail_out == 0);
        p += step;
        length -= step;
    } while (length);
    return SENDIT_OK;
}

sendit_result Deflater::add_range(int from, uint64_t offset, uint64_t length)
{
    std::vector<char> in(BLOCK);

    while (length) {
        size_t want = length < in.size() ? static_cast<size_t>(length) : in.size();
        ssize_t n = pread(from, in.data(), want, static_cast<off_t>(offset));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 || add(in.data(), static_cast<size_t>(n), Z_NO_FLUSH))
            return SENDIT_EIO;
        offset += static_cast<uint64_t>(n);
        length -= static_cast<uint64_t>(n);
    }
    return SENDIT_OK;
}

sendit_result Deflater::finish(uint64_t *ret_size)
{
    if (add("", 0, Z_FINISH) || ((size & 1) && write("", 1)))
        return SENDIT_EIO;
    *ret_size = size;
    return SENDIT_OK;
}

/* `data_from` is where the data set begins in view->head. */
sendit_result deflate_view(struct dicom_object *object, View *view, size_t data_from)
{
    bool pixels = object->pixels == Pixels::kept;
    const PixelPlace &place = object->place;
    uint64_t size = 0;
    sendit_result result;

    view->fd = scratch_file(object->dicom);
    if (view->fd < 0)
        return SENDIT_EIO;
    Deflater deflater(view->fd);
    result = deflater.add(view->head.data + data_from, view->head.len - data_from, Z_NO_FLUSH);
    if (!result && pixels)
        result = deflater.add_range(place.fd, place.at, place.length);
    if (!result && view->tail.len)
        result = deflater.add(view->tail.data, view->tail.len, Z_NO_FLUSH);
    if (!result)
        result = deflater.finish(&size);
    if (result)
        return result;
    add_part(view, view->head.data, -1, 0, data_from);
    add_part(view, nullptr, view->fd, 0, size);
    return SENDIT_OK;
}

sendit_result fill_view(struct dicom_object *object, View *view)
{
    const struct scan *scan = &object->scan;
    uint32_t split = object->pixels == Pixels::none ? UINT32_MAX : scan->pixel_tag;
    size_t data_from;
    sendit_result result;

    view->file.parts = view->parts;
    add_header(object, &view->head);
    data_from = view->head.len;
    result = add_elements(object, 0, split, &view->head);
    if (result)
        return result;
    if (object->pixels != Pixels::none) {
        add_pixel_header(object, &view->head);
        result = add_elements(object, split + 1, UINT32_MAX, &view->tail);
        if (result)
            return result;
    }
    if (view->head.failed || view->tail.failed)
        return SENDIT_ENOMEM;
    if (object->place.syntax->deflated)
        return deflate_view(object, view, data_from);
    add_part(view, view->head.data, -1, 0, view->head.len);
    if (object->pixels == Pixels::kept)
        add_part(view, nullptr, object->place.fd, object->place.at, object->place.length);
    add_part(view, view->tail.data, -1, 0, view->tail.len);
    return SENDIT_OK;
}

struct FreeView {
    void operator()(View *view) const
    {
        free_view(view);
    }
};

sendit_result make_view(struct dicom_object *object, View **ret_view)
{
    std::unique_ptr<View, FreeView> view(new View());
    sendit_result result;

    if (object->broken)
        return SENDIT_ENOMEM;
    view->fd = -1;
    result = fill_view(object, view.get());
    if (!result)
        *ret_view = view.release();
    return result;
}
} // namespace

void free_view(View *view)
{
    if (!view)
        return;
    if (view->fd >= 0)
        close(view->fd);
    buf_fini(&view->head);
    buf_fini(&view->tail);
    delete view;
}

sendit_result dicom_view(struct sendit_dataset *ds, const struct sendit_file **ret_file)
{
    return guarded([&]() -> sendit_result {
        struct dicom_object *object = ds->object;

        if (ds->parent)
            return SENDIT_EINVAL;
        if (object->native) { /* DCMTK does not tell what was edited since */
            if (!dicom_is_sound(object))
                return SENDIT_ECORRUPT;
            free_view(object->view);
            object->view = nullptr;
        }
        if (!object->view) {
            sendit_result result = make_view(object, &object->view);

            if (result)
                return result;
        }
        *ret_file = &object->view->file;
        return SENDIT_OK;
    });
}

sendit_result dicom_keep(struct sendit_dataset *ds, const struct sendit_file **ret_file)
{
    return guarded([&]() -> sendit_result {
        View *view = nullptr;
        sendit_result result;

        if (ds->parent)
            return SENDIT_EINVAL;
        if (!dicom_is_sound(ds->object))
            return SENDIT_ECORRUPT;
        result = make_view(ds->object, &view);
        if (result)
            return result;
        if (view->fd < 0 && ds->object->pixels == Pixels::kept) {
            view->fd = fcntl(ds->object->place.fd, F_DUPFD_CLOEXEC, 3);
            if (view->fd < 0) {
                free_view(view);
                return SENDIT_EIO;
            }
        }
        for (uint32_t i = 0; i < view->file.n_parts; i++)
            if (!view->parts[i].data)
                view->parts[i].fd = view->fd;
        try {
            ds->object->dicom->kept.push_back(view);
            ds->object->place_is_fresh = false;
        } catch (...) {
            free_view(view);
            throw;
        }
        *ret_file = &view->file;
        return SENDIT_OK;
    });
}

bool dicom_drop(struct dicom *dicom, const struct sendit_file *kept)
{
    auto &all = dicom->kept;
    auto at = std::find_if(all.begin(), all.end(), [&](View *view) { return &view->file == kept; });

    if (at == all.end())
        return kept == nullptr;
    free_view(*at);
    all.erase(at);
    return true;
}

void dicom_drop_all(struct dicom *dicom)
{
    for (View *view : dicom->kept)
        free_view(view);
    dicom->kept.clear();
}
