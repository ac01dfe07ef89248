/* SPDX-License-Identifier: Apache-2.0 */
/*
 * object.h - what the C++ files of this folder share; nobody else includes it.
 *
 * An object is a DCMTK data set of all that is not top-level pixel data, and a note of where that
 * pixel data lies.  A handle (struct sendit_dataset) names one DcmItem of it.
 */
#ifndef SENDIT_DICOM_OBJECT_H
#define SENDIT_DICOM_OBJECT_H

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <vector>

extern "C" {
#include "base/buf.h"
#include "base/err.h"
}
#include "dicom/charset.h"
#include "dicom/dicom.h"
#include "dicom/scan.h"

#include <dcmtk/config/osconfig.h>
#include <dcmtk/dcmdata/dctk.h>

/* Memory for strings and handles, given back all at once. */
class Arena
{
  public:
    Arena() = default;
    Arena(const Arena &) = delete;
    Arena &operator=(const Arena &) = delete;
    void *take(size_t size); /* throws std::bad_alloc */
    char *text(const char *data, size_t length);
    void clear();

  private:
    std::vector<std::unique_ptr<char[]>> blocks;
    size_t used = 0, size = 0;
    char *current = nullptr;
};

struct sendit_dataset {
    struct dicom_object *object;
    DcmItem *item;
    struct sendit_dataset *parent; /* NULL at the top */
    size_t index;                  /* in the sequence */
    const struct charset *charset; /* of `epoch`, else to be looked up */
    uint64_t epoch;
};

struct View;

struct dicom {
    struct dicom_limits limits;
    std::string scratch;
    struct charset_table *charsets;
    struct buf text;          /* for conversions, so that not each one allocates */
    std::vector<View *> kept; /* until they are dropped */
};

/* A file without a name, gone with its last user. */
struct Scratch {
    int fd = -1;
    Scratch() = default;
    ~Scratch();
    Scratch(const Scratch &) = delete;
    Scratch &operator=(const Scratch &) = delete;
};

/* Where the value of the pixel data lies, and the syntax that it and the whole are written in. */
struct PixelPlace {
    int fd = -1;
    uint64_t at = 0, length = 0;
    bool undefined = false; /* its length field says FFFFFFFF */
    char vr[3] = "";
    const struct scan_syntax *syntax = nullptr;
    std::shared_ptr<Scratch> own; /* what fd is of, once a box was blanked */
};
struct Fragments;

enum class Pixels { none, kept, emptied };

/* A virtual file and what it stands on. */
struct View {
    struct sendit_file file;
    struct sendit_part parts[SENDIT_FILE_PARTS];
    struct buf head, tail;
    int fd; /* its own, or -1 */
};

struct dicom_object {
    struct dicom *dicom = nullptr;
    int fd = -1;       /* the file */
    int pixel_fd = -1; /* where pixel data lies: fd, or the inflated scratch file */
    struct scan scan = {};
    E_TransferSyntax xfer = EXS_Unknown;
    std::unique_ptr<DcmItem> meta; /* group 0002 of the file, when somebody asked for it */
    bool meta_read = false;

    std::unique_ptr<DcmDataset> dataset;
    Pixels pixels = Pixels::none;
    PixelPlace place;
    bool place_is_fresh = false;          /* made by this callback, and shown to nobody */
    std::shared_ptr<Fragments> fragments; /* of `place`, when somebody asked for a frame */
    struct sendit_frame frame = {};       /* the last that was shown */
    std::vector<uint8_t> frame_bytes;

    /* What dicom_end(object, false) goes back to: the bytes of the scan while `pristine`. */
    std::unique_ptr<DcmDataset> before;
    Pixels pixels_before = Pixels::none;
    PixelPlace place_before;
    bool pristine = true, may_edit = false, edited = false, tampered = false, broken = false;

    /* A stage may have DCMTK's object; it has it, to edit; what it has in its place, to look at. */
    bool may_native = false, native = false;
    std::unique_ptr<DcmDataset> copy;

    struct sendit_dataset top = {};
    Arena arena;
    uint64_t epoch = 1;     /* counts changes of (0008,0005), which handles remember */
    uint64_t structure = 1; /* counts elements that came or went, for a walk that goes on */
    std::vector<DcmElement *> sorted; /* the top level, when `structure` was sorted_structure */
    uint64_t sorted_structure = 0;

    /* The item's cursor stands on what followed an element that was just erased. */
    bool slid = false;
    /* The element that a visitor is being shown, so that it is found at once. */
    DcmItem *shown_item = nullptr;
    DcmElement *shown = nullptr;
    uint32_t shown_tag = 0;
    int walks = 0;
    std::vector<const DcmElement *> born; /* made during a walk, which does not show them */

    View *view = nullptr; /* of the data set as it is now */
};

constexpr uint32_t GROUP_META = 0x0002;
constexpr uint32_t TAG_SYNTAX = 0x00020010;

inline uint32_t tag_of(const DcmObject *object)
{
    const DcmTagKey &key = object->getTag();
    return static_cast<uint32_t>(key.getGroup()) << 16 | key.getElement();
}
inline DcmTagKey key_of(uint32_t tag)
{
    return DcmTagKey(static_cast<Uint16>(tag >> 16), static_cast<Uint16>(tag & 0xffff));
}
inline bool is_private(uint32_t tag)
{
    return (tag >> 16 & 1) != 0;
}

/* object.cc */
/* The bytes of the scan as they are, group lengths and padding too; NULL if DCMTK fails. */
std::unique_ptr<DcmDataset> read_dataset(const struct dicom_object *object);
int parse_dataset(struct dicom_object *object); /* from the bytes of the scan; -1 if DCMTK fails */
/* What DCMTK calls a syntax: how it reads and writes all but pixel data. */
E_TransferSyntax dcmtk_syntax(const struct scan_syntax *syntax);
int scratch_file(const struct dicom *dicom); /* a descriptor, or -1 with errno */
/* Must come before each edit: EDENIED without permission, else keeps what end() may go back to. */
sendit_result begin_edit(struct dicom_object *object);
DcmItem *meta_group(struct dicom_object *object); /* NULL if the file has none */
struct sendit_dataset *new_handle(struct sendit_dataset *parent, DcmItem *item, size_t index);

/* dataset.cc */
/* May a stage put this tag into a data set? */
bool can_be_put(uint32_t tag);

/* element.cc */
/* DCMTK keeps these to itself: the bytes of any element, and setting them, whatever its VR. */
const void *raw_value(DcmElement *element, size_t *ret_length);
sendit_result set_raw_value(DcmElement *element, const void *value, size_t length);
DcmList *list_of(DcmItem *item);
bool is_sequence(DcmElement *element);
/* The VR as a file has it: two letters. */
void vr_name(DcmElement *element, char ret_vr[4]);
DcmElement *find_element(const struct sendit_dataset *ds, uint32_t tag);
DcmElement *element_after(DcmItem *item, uint32_t tag, bool inclusive);
bool is_text_vr(DcmEVR vr);     /* in the character set of the data set */
bool is_string_vr(DcmEVR vr);   /* any characters at all */
size_t number_width(DcmEVR vr); /* of AT, US, FD, ...; 0 for others, also for OW and its like */
const struct charset *charset_of(struct sendit_dataset *ds);
/* The value as UTF-8, appended to `out`. */
sendit_result element_text(struct sendit_dataset *ds, DcmElement *element, struct buf *out);
/* Text in the VR, as the bytes that an element has, appended to `out`. */
sendit_result text_to_bytes(struct sendit_dataset *ds, DcmEVR vr, const char *text, size_t length,
                            struct buf *out);
DcmEVR dictionary_vr(uint32_t tag);

/* view.cc */
void free_view(View *view);

/* No exception of DCMTK or the library goes into C. */
template <typename F> sendit_result guarded(F f) noexcept
{
    try {
        return f();
    } catch (const std::bad_alloc &) {
        return SENDIT_ENOMEM;
    } catch (...) {
        return SENDIT_ECORRUPT;
    }
}

#endif
