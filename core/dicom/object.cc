/* SPDX-License-Identifier: Apache-2.0 */
/* Opening an object, and taking its edits back. */
#include "dicom/object.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>

#include <dcmtk/dcmdata/dcistrmb.h>
#include <dcmtk/oflog/oflog.h>

namespace
{
constexpr size_t ARENA_BLOCK = 32u << 10;
constexpr uint64_t MAX_META = 1u << 20;
constexpr size_t CHUNK = 256u << 10;
constexpr size_t MAX_PADDING = 4096; /* bytes behind a deflated data set */

int refuse(struct dicom_refusal *refusal, int what, const char *code, const char *text)
{
    *refusal = {};
    refusal->what = what;
    snprintf(refusal->code, sizeof(refusal->code), "%s", code);
    snprintf(refusal->text, sizeof(refusal->text), "%s", text);
    return -1;
}

/* Trying again would not help: what a worker may have is set. */
int refuse_memory(struct dicom_refusal *refusal)
{
    return refuse(refusal, DICOM_QUARANTINED, "dicom.too_large",
                  "it needs more memory than run.worker_memory allows");
}

/* Why the file could not be opened or read; errno says it. */
int refuse_errno(struct dicom_refusal *refusal)
{
    switch (errno) {
    case ELOOP: /* O_NOFOLLOW */
    case ENXIO: /* a FIFO or a socket */
        return refuse(refusal, DICOM_IGNORED, "import.not_regular", "it is no regular file");
    case ENOENT:
    case ENOTDIR:
        return refuse(refusal, DICOM_FAILED, "import.vanished", "it is not there any more");
    case EACCES:
    case EPERM:
        return refuse(refusal, DICOM_FAILED, "import.unreadable", "there is no right to read it");
    default:
        return refuse(refusal, DICOM_FAILED, "import.io", strerror(errno));
    }
}

/*
 * What may follow a deflated data set: some zeros (PS3.5 A.5 has one to make the length even), and
 * before them what gzip writes behind its data, which some files have: `trailer`.
 */
bool only_padding_from(int fd, uint64_t from, const unsigned char trailer[8])
{
    char rest[MAX_PADDING + 1];
    ssize_t n;
    size_t skip;

    do
        n = pread(fd, rest, sizeof(rest), static_cast<off_t>(from));
    while (n < 0 && errno == EINTR);
    if (n < 0 || n > static_cast<ssize_t>(MAX_PADDING))
        return false;
    skip = n >= 8 && memcmp(rest, trailer, 8) == 0 ? 8 : 0;
    return std::all_of(rest + skip, rest + n, [](char c) { return c == 0; });
}

/* CRC-32 and length, in little endian. */
void make_trailer(uLong crc, uint64_t size, unsigned char ret_trailer[8])
{
    for (int i = 0; i < 4; i++) {
        ret_trailer[i] = static_cast<unsigned char>(crc >> 8 * i);
        ret_trailer[4 + i] = static_cast<unsigned char>(size >> 8 * i);
    }
}

int write_at(int fd, const void *data, size_t length, uint64_t offset)
{
    for (size_t done = 0; done < length;) {
        ssize_t n = pwrite(fd, static_cast<const char *>(data) + done, length - done,
                           static_cast<off_t>(offset + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        done += static_cast<size_t>(n);
    }
    return 0;
}

/* Inflate what begins at `from` into a scratch file of up to `max` bytes. */
int inflate_to(int in_fd, uint64_t from, int out_fd, uint64_t max, uint64_t *ret_size,
               struct dicom_refusal *refusal)
{
    std::vector<unsigned char> in(CHUNK / 4), out(CHUNK);
    z_stream z = {};
    uint64_t total = 0;
    unsigned char trailer[8];
    uLong crc = crc32(0, nullptr, 0);
    int status = Z_OK;

    if (inflateInit2(&z, -MAX_WBITS) != Z_OK)
        return refuse(refusal, DICOM_FAILED, "import.io", "no memory to inflate it");
    while (status == Z_OK) {
        if (z.avail_in == 0) {
            ssize_t n = pread(in_fd, in.data(), in.size(), static_cast<off_t>(from));

            if (n < 0 && errno == EINTR)
                continue;
            if (n < 0) {
                inflateEnd(&z);
                return refuse_errno(refusal);
            }
            if (n == 0)
                break;
            from += static_cast<uint64_t>(n);
            z.next_in = in.data();
            z.avail_in = static_cast<uInt>(n);
        }
        z.next_out = out.data();
        z.avail_out = static_cast<uInt>(out.size());
        status = inflate(&z, Z_NO_FLUSH);
        size_t made = out.size() - z.avail_out;
        if (made > max - total) {
            inflateEnd(&z);
            return refuse(refusal, DICOM_QUARANTINED, "dicom.inflate",
                          "its data set is larger than max_inflate allows when inflated");
        }
        if (write_at(out_fd, out.data(), made, total)) {
            inflateEnd(&z);
            return refuse(refusal, DICOM_FAILED, "import.io",
                          "the scratch file for inflating cannot be written");
        }
        crc = crc32(crc, out.data(), static_cast<uInt>(made));
        total += made;
    }
    inflateEnd(&z);
    if (status == Z_OK || status == Z_BUF_ERROR)
        return refuse(refusal, DICOM_QUARANTINED, "dicom.truncated",
                      "its deflated data set breaks off");
    if (status != Z_STREAM_END)
        return refuse(refusal, DICOM_QUARANTINED, "dicom.inflate",
                      "its deflated data set cannot be inflated");
    make_trailer(crc, total, trailer);
    if (!only_padding_from(in_fd, from - z.avail_in, trailer))
        return refuse(refusal, DICOM_QUARANTINED, "dicom.corrupt",
                      "something follows its deflated data set");
    *ret_size = total;
    return 0;
}

int open_deflated(struct dicom_object *object, struct dicom_refusal *refusal)
{
    const struct scan_syntax *syntax = object->scan.syntax;
    struct scan_source source = {};
    struct scan inflated;
    uint64_t size = 0;

    object->pixel_fd = scratch_file(object->dicom);
    if (object->pixel_fd < 0)
        return refuse(refusal, DICOM_FAILED, "import.io",
                      "the scratch file for inflating cannot be made");
    if (inflate_to(object->fd, object->scan.dataset_at, object->pixel_fd,
                   object->dicom->limits.max_inflate, &size, refusal))
        return -1;
    source.fd = object->pixel_fd;
    source.size = size;
    if (scan_dataset(&source, syntax, DICOM_MAX_HEADER, &inflated, refusal)) {
        scan_fini(&inflated);
        return -1;
    }
    inflated.preamble = object->scan.preamble;
    inflated.dataset_at = object->scan.dataset_at;
    memcpy(inflated.media_sop_class, object->scan.media_sop_class,
           sizeof(inflated.media_sop_class));
    scan_fini(&object->scan);
    object->scan = inflated;
    return 0;
}

/* The bytes behind the pixel data follow those before it, so that DCMTK reads one stream. */
int open_scanned(struct dicom_object *object, const struct stat *st, struct dicom_refusal *refusal)
{
    struct scan_source source = {};
    struct scan *scan = &object->scan;

    source.fd = object->fd;
    source.size = static_cast<uint64_t>(st->st_size);
    if (scan_run(&source, DICOM_MAX_HEADER, scan, refusal))
        return -1;
    object->pixel_fd = object->fd;
    if (scan->syntax->deflated && open_deflated(object, refusal))
        return -1;
    buf_add(&scan->head, scan->tail.data, scan->tail.len);
    buf_fini(&scan->tail);
    if (scan->head.failed)
        return refuse_memory(refusal);
    object->xfer = dcmtk_syntax(scan->syntax);
    object->pixels = scan->has_pixels ? Pixels::kept : Pixels::none;
    object->place.fd = object->pixel_fd;
    object->place.at = scan->pixel_at;
    object->place.length = scan->pixel_length;
    object->place.undefined = scan->pixel_undefined;
    memcpy(object->place.vr, scan->pixel_vr, sizeof(object->place.vr));
    object->place.syntax = scan->syntax;
    if (parse_dataset(object))
        return refuse(refusal, DICOM_QUARANTINED, "dicom.corrupt",
                      "DCMTK finds its data set broken");
    if (!object->dataset->card() && !scan->has_pixels)
        return refuse(refusal, DICOM_QUARANTINED, "dicom.corrupt", "its data set has no elements");
    object->top = {object, object->dataset.get(), nullptr, 0, nullptr, 0};
    return 0;
}

int open_object(struct dicom *dicom, const char *path, struct dicom_object **ret_object,
                struct stat *ret_stat, struct dicom_refusal *refusal)
{
    std::unique_ptr<dicom_object, void (*)(dicom_object *)> object(new dicom_object, dicom_close);

    object->dicom = dicom;
    object->fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (object->fd < 0 || fstat(object->fd, ret_stat))
        return refuse_errno(refusal);
    if (!S_ISREG(ret_stat->st_mode))
        return refuse(refusal, DICOM_IGNORED, "import.not_regular", "it is no regular file");
    if (open_scanned(object.get(), ret_stat, refusal))
        return -1;
    *ret_object = object.release();
    return 0;
}
} // namespace

/* DCMTK's name of a syntax.  For encapsulated ones that it does not know any other stands in: it
 * sees no pixel data but icons, and reads and writes those alike. */
E_TransferSyntax dcmtk_syntax(const struct scan_syntax *syntax)
{
    E_TransferSyntax xfer;

    if (syntax->deflated || (syntax->explicit_vr && !syntax->big_endian && !syntax->encapsulated))
        return EXS_LittleEndianExplicit;
    if (!syntax->encapsulated)
        return syntax->explicit_vr ? EXS_BigEndianExplicit : EXS_LittleEndianImplicit;
    xfer = DcmXfer(syntax->uid).getXfer();
    return xfer == EXS_Unknown || !DcmXfer(xfer).isEncapsulated() ? EXS_JPEG2000 : xfer;
}

Scratch::~Scratch()
{
    if (fd >= 0)
        close(fd);
}

void *Arena::take(size_t wanted)
{
    wanted = (wanted + 15) & ~static_cast<size_t>(15);
    if (wanted > size - used) {
        size_t block = wanted > ARENA_BLOCK ? wanted : ARENA_BLOCK;

        blocks.emplace_back(new char[block]);
        current = blocks.back().get();
        size = block;
        used = 0;
    }
    used += wanted;
    return current + used - wanted;
}

char *Arena::text(const char *data, size_t length)
{
    char *copy = static_cast<char *>(take(length + 1));

    if (length)
        memcpy(copy, data, length);
    copy[length] = '\0';
    return copy;
}

void Arena::clear()
{
    /* one block of the usual size stays, for the next callback */
    if (!blocks.empty() && size == ARENA_BLOCK) {
        blocks.erase(blocks.begin(), blocks.end() - 1);
    } else {
        blocks.clear();
        current = nullptr;
        size = 0;
    }
    used = 0;
}

int scratch_file(const struct dicom *dicom)
{
    int fd = open(dicom->scratch.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd < 0) { /* some file systems have no O_TMPFILE */
        std::string name = dicom->scratch + "/.scratch-XXXXXX";

        fd = mkostemp(name.data(), O_CLOEXEC);
        if (fd >= 0)
            unlink(name.c_str());
    }
    return fd;
}

std::unique_ptr<DcmDataset> read_dataset(const struct dicom_object *object)
{
    std::unique_ptr<DcmDataset> dataset(new DcmDataset);
    const struct buf *head = &object->scan.head;

    if (head->len) {
        DcmInputBufferStream stream;
        OFCondition result;

        stream.setBuffer(head->data, static_cast<offile_off_t>(head->len));
        stream.setEos();
        dataset->transferInit();
        result = dataset->read(stream, object->xfer, EGL_noChange, DCM_MaxReadLength);
        dataset->transferEnd();
        if (result.bad() || stream.avail() > 0)
            dataset.reset();
    }
    return dataset;
}

int parse_dataset(struct dicom_object *object)
{
    std::unique_ptr<DcmDataset> dataset = read_dataset(object);

    if (!dataset)
        return -1;
    if (object->scan.head.len)
        dataset->computeGroupLengthAndPadding(EGL_withoutGL, EPD_withoutPadding, object->xfer);
    object->dataset = std::move(dataset);
    object->top.item = object->dataset.get();
    return 0;
}

DcmItem *meta_group(struct dicom_object *object)
{
    uint64_t from = object->scan.preamble ? 132 : 0, size = object->scan.dataset_at;

    if (object->meta_read)
        return object->meta.get();
    object->meta_read = true;
    if (size <= from || size - from > MAX_META)
        return nullptr;
    std::vector<char> bytes(size - from);
    if (pread(object->fd, bytes.data(), bytes.size(), static_cast<off_t>(from)) !=
        static_cast<ssize_t>(bytes.size()))
        return nullptr;
    DcmInputBufferStream stream;
    std::unique_ptr<DcmDataset> meta(new DcmDataset);
    stream.setBuffer(bytes.data(), static_cast<offile_off_t>(bytes.size()));
    stream.setEos();
    meta->transferInit();
    if (meta->read(stream, EXS_LittleEndianExplicit, EGL_noChange, DCM_MaxReadLength).good())
        object->meta = std::move(meta);
    return object->meta.get();
}

struct sendit_dataset *new_handle(struct sendit_dataset *parent, DcmItem *item, size_t index)
{
    void *place = parent->object->arena.take(sizeof(struct sendit_dataset));

    return new (place) sendit_dataset{parent->object, item, parent, index, nullptr, 0};
}

sendit_result begin_edit(struct dicom_object *object)
{
    if (object->broken)
        return SENDIT_ENOMEM;
    if (!object->may_edit) {
        object->tampered = true;
        return SENDIT_EDENIED;
    }
    if (!object->edited) {
        object->pixels_before = object->pixels;
        object->place_before = object->place;
        if (!object->pristine)
            object->before.reset(new DcmDataset(*object->dataset));
        object->edited = true;
    }
    free_view(object->view);
    object->view = nullptr;
    return SENDIT_OK;
}

const char *dicom_library(void)
{
    return OFFIS_DCMTK_VERSION_STRING;
}

struct dicom *dicom_new(const struct dicom_limits *limits, const char *scratch, struct err *err)
{
    try {
        std::unique_ptr<dicom> dicom(new struct dicom());

        OFLog::configure(OFLogger::OFF_LOG_LEVEL); /* its warnings have values in them */
        dcmEnableAutomaticInputDataCorrection.set(OFFalse);
        dcmEnableUnknownVRConversion.set(OFTrue);
        if (!dcmDataDict.isDictionaryLoaded()) {
            err_set(err, ERR_PLACE, "DCMTK finds no data dictionary; install DCMTK anew");
            return nullptr;
        }
        dicom->limits = *limits;
        dicom->scratch = scratch;
        dicom->charsets = charset_table_new();
        if (!dicom->charsets)
            throw std::bad_alloc();
        return dicom.release();
    } catch (...) {
        err_set(err, ERR_PLACE, "no memory for the DICOM reader");
        return nullptr;
    }
}

void dicom_free(struct dicom *dicom)
{
    if (!dicom)
        return;
    dicom_drop_all(dicom);
    charset_table_free(dicom->charsets);
    buf_fini(&dicom->text);
    delete dicom;
}

int dicom_open(struct dicom *dicom, const char *path, struct dicom_object **ret_object,
               struct stat *ret_stat, struct dicom_refusal *refusal)
{
    *ret_stat = {};
    *refusal = {};
    try {
        return open_object(dicom, path, ret_object, ret_stat, refusal);
    } catch (const std::bad_alloc &) {
        return refuse_memory(refusal);
    } catch (...) {
        return refuse(refusal, DICOM_QUARANTINED, "dicom.corrupt", "DCMTK cannot read it");
    }
}

void dicom_close(struct dicom_object *object)
{
    if (!object)
        return;
    free_view(object->view);
    if (object->pixel_fd >= 0 && object->pixel_fd != object->fd)
        close(object->pixel_fd);
    if (object->fd >= 0)
        close(object->fd);
    scan_fini(&object->scan);
    delete object;
}

int dicom_stat(const struct dicom_object *object, struct stat *ret_stat)
{
    return fstat(object->fd, ret_stat);
}

struct sendit_dataset *dicom_dataset(struct dicom_object *object)
{
    return &object->top;
}

const char *dicom_transfer_syntax(const struct dicom_object *object)
{
    return object->place.syntax->uid;
}

void dicom_begin(struct dicom_object *object, bool may_edit)
{
    object->may_edit = may_edit;
    object->edited = object->tampered = object->native = object->place_is_fresh = false;
}

int dicom_end(struct dicom_object *object, bool keep)
{
    bool edited = object->edited;

    if (edited || object->native)
        object->structure++;
    object->may_edit = object->may_native = object->native = false;
    object->copy.reset();
    object->arena.clear();
    free_view(object->view);
    object->view = nullptr;
    object->shown = nullptr;
    object->shown_item = nullptr;
    object->epoch++;
    try {
        if (edited && keep) {
            object->pristine = false;
            buf_fini(&object->scan.head);
        } else if (edited) {
            object->pixels = object->pixels_before;
            object->place = object->place_before;
            object->fragments.reset();
            if (object->pristine && parse_dataset(object))
                object->broken = true;
            if (!object->pristine) {
                object->dataset = std::move(object->before);
                object->top.item = object->dataset.get();
            }
        }
        object->before.reset();
        object->place_before = PixelPlace();
        object->frame_bytes = std::vector<uint8_t>();
        return object->broken ? -1 : 0;
    } catch (...) {
        object->broken = true;
        return -1;
    }
}

bool dicom_edited(const struct dicom_object *object)
{
    return object->edited;
}

bool dicom_tampered(const struct dicom_object *object)
{
    return object->tampered;
}
