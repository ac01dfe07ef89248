/* SPDX-License-Identifier: Apache-2.0 */
/*
 * services.h - what the host can do for a stage.  stage.h brings it, and its rules hold.
 *
 *   config      the options of your entry in pipeline.json        -
 *   dicom       attributes of a data set                          READS; MUTATES to edit
 *   pixels      decoded frames, rectangles blanked                PIXELS; MUTATES to blank
 *   deid        profiles and recipes: filter, apply               READS; MUTATES to apply
 *   ids         keyed pseudonyms, the crosswalk                   IDENTIFIERS
 *   originals   identifying values from before the first edit     ORIGINALS
 *   files       the item as the file that a store would write     READS
 *   spool       scratch files that live as long as the batch      -
 *   facts       what a stage tells the later ones                 -
 *   store       durable keys and values, locks, the audit ledger  -
 *   secrets     the values behind SECRET options                  SECRETS
 *   http        requests, one or many in flight                   NETWORK
 *   metrics     counts and samples                                -
 *
 * Fetch a table in open() with SENDIT_SERVICE(host, dicom) and keep it until close().  It is there
 * if you declare the flags on its right.
 *
 * A function answers SENDIT_OK or a negative code, and sets its ret_ arguments only with SENDIT_OK.
 * Any may answer ENOMEM, one that does I/O also EIO or ECANCELED, one that takes a data set also
 * ECORRUPT; sendit_verdict_of() makes a verdict of it.  A NULL where a comment does not allow one
 * is EINVAL, or misuse where the host can tell who called.  A *word* below is [a-z0-9._-]+, up to
 * 64 bytes, not beginning with a dot.
 *
 * Each table has an example of some ten lines, which the tests compile.  `self` in them is the
 * instance, with host and tables under their names, as open() put them there:
 *
 *     self->host = host;
 *     self->dicom = SENDIT_SERVICE(host, dicom);
 */
#ifndef SENDIT_SERVICES_H
#define SENDIT_SERVICES_H

#include "stage.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Three structs that come in arrays and therefore never grow. */
struct sendit_part { /* bytes in memory or, where `data` is NULL, a range of a descriptor */
    const void *data;
    uint64_t offset; /* into the descriptor */
    uint64_t length;
    int32_t fd; /* shared: pread, copy_file_range or clone it; never seek, write or close */
    uint32_t reserved;
};
struct sendit_box { /* in pixels, from the upper left corner of the frame */
    uint32_t x, y, width, height;
};
struct sendit_var { /* what a recipe calls var:NAME */
    const char *name, *value;
};

/*
 * Options, checked and with defaults, so that no getter fails; values live until close().  To ask
 * for a name that your table lacks, or in the wrong form, is misuse, and gives NULL, 0 or an empty
 * list.  All [any].
 *
 * Example:
 *
 *     static void read_options(struct sendit_stage_state *self)
 *     {
 *         const char *const *words = self->config->list(self->host, "modalities");
 *
 *         self->limit = self->config->number(self->host, "max_rows");
 *         self->url = self->config->text(self->host, "url");
 *         for (size_t i = 0; words[i]; i++)
 *             self->host->log(self->host, SENDIT_DEBUG, "option.word", words[i]);
 *     }
 */
struct sendit_config {
    /* The value as text, a PATH made absolute; NULL for a SECRET, or if left out. */
    const char *(*text)(const struct sendit_host *, const char *name);
    /* INTEGER; DURATION in ms; SIZE in bytes; BOOLEAN as 0 or 1; of a CHOICE the place in its
     * limit, from 0.  0 if left out. */
    int64_t (*number)(const struct sendit_host *, const char *name);
    /* The texts of a MANY and a NULL after them; never NULL itself. */
    const char *const *(*list)(const struct sendit_host *, const char *name);
    /* The value as JSON; NULL if left out. */
    const char *(*json)(const struct sendit_host *, const char *name);
};

/* What walk() shows a visitor, and what the visitor may answer. */
struct sendit_element {
    uint32_t tag;
    char vr[4];          /* two letters and two NULs */
    const char *creator; /* of a private element, else NULL */
    const void *value;   /* a view, as bytes() has it; NULL for a sequence, and for pixel data
                          * that is still on disk */
    uint64_t length;     /* of the value in bytes */
    uint32_t depth;      /* 0 at the level that walk() was given, 1 in an item of it, ... */
    uint32_t reserved;
};
enum {
    SENDIT_STOP = 0,       /* end the walk with ESTOPPED, as does an answer unknown to the host */
    SENDIT_KEEP = 1,       /* and go into a sequence */
    SENDIT_KEEP_WHOLE = 2, /* and stay out of it */
    SENDIT_EMPTY = 3,      /* keep the element, drop its value */
    SENDIT_ERASE = 4       /* remove it with all that is inside */
};
typedef int32_t sendit_visit_fn(void *ctx, struct sendit_dataset *parent,
                                const struct sendit_element *element) SENDIT_NOTHROW;

/*
 * DICOM in plain C.  A tag is 0xGGGGEEEE.  Group 0002 can be read; the host alone writes it.  You
 * see your edits at once, later stages with your PASS.  What edits answers EDENIED without MUTATES,
 * and costs the item: host.undeclared.  Values and data sets live until the callback returns.
 *
 * Example:
 *
 *     static sendit_verdict drop_comments(struct sendit_stage_state *self,
 *                                         const struct sendit_item *item)
 *     {
 *         const char *modality;
 *         sendit_result r = self->dicom->get(item->ds, 0x00080060, &modality);
 *
 *         if (r == SENDIT_OK && !strcmp(modality, "MR"))
 *             r = self->dicom->erase(item->ds, 0x00204000);
 *         return r == SENDIT_EABSENT ? SENDIT_PASS : sendit_verdict_of(r);
 *     }
 *
 * Example:
 *
 *     static int32_t no_private(void *ctx, struct sendit_dataset *parent,
 *                               const struct sendit_element *element) SENDIT_NOTHROW
 *     {
 *         (void)ctx, (void)parent;
 *         return (element->tag >> 16 & 1) ? SENDIT_ERASE : SENDIT_KEEP;
 *     }
 *     static sendit_verdict scrub(struct sendit_stage_state *self, const struct sendit_item *item)
 *     {
 *         return sendit_verdict_of(self->dicom->walk(item->ds, no_private, NULL));
 *     }
 */
struct sendit_dicom {
    /* "PatientID" gives 0x00100020: for open(), not for every item.  [any] */
    sendit_result (*tag)(const char *keyword, uint32_t *ret_tag);
    /* The tag that 0xGGGG00EE of `creator` has in this data set; EABSENT without its block. */
    sendit_result (*locate)(struct sendit_dataset *, uint32_t tag, const char *creator,
                            uint32_t *ret_tag);
    /* The value as UTF-8 text: numbers in decimal, several values joined by '\\', padding trimmed.
     * EABSENT without the element.  ECORRUPT if its character set cannot be converted, or if it is
     * a sequence or bytes: EINVAL where the dictionary has it so, since you should not ask. */
    sendit_result (*get)(struct sendit_dataset *, uint32_t tag, const char **ret_value);
    /* The value as it is stored, but numbers in host order; lives until the element is edited.
     * A sequence is ECORRUPT, or EINVAL as above, as is the pixel data of the item: see pixels and
     * files. */
    sendit_result (*bytes)(struct sendit_dataset *, uint32_t tag, const void **ret_value,
                           size_t *ret_length);
    /* Insert or replace: text as get() has it, in the VR of the dictionary and the character set
     * of the data set; "" is present and empty.  EINVAL if tag or value do not fit, or if the
     * character set lacks a letter. */
    sendit_result (*put)(struct sendit_dataset *, uint32_t tag, const char *value);
    /* The same with your own VR: text as UTF-8, other values as bytes() has them.  A private
     * element is 0xGGGG00EE with its creator, for which a block is reserved if it has none; for
     * any other `creator` is NULL. */
    sendit_result (*put_as)(struct sendit_dataset *, uint32_t tag, const char *creator,
                            const char *vr, const void *value, size_t length);
    /* Remove with all that is inside.  EABSENT need not trouble you. */
    sendit_result (*erase)(struct sendit_dataset *, uint32_t tag);
    /* Item `index` of a sequence, from 0; NULL past the end.  Lives until it is erased. */
    struct sendit_dataset *(*nested)(struct sendit_dataset *, uint32_t tag, size_t index);
    /* A new, empty item at the end of a sequence, which is made if there is none.  EINVAL for what
     * is no sequence in the dictionary, ECORRUPT for one that is none here, or lies too deep. */
    sendit_result (*append)(struct sendit_dataset *, uint32_t tag,
                            struct sendit_dataset **ret_item);
    /* Show every element, private ones too, depth first, a sequence before its items; a view lives
     * until the visitor returns.  To edit meanwhile, answer, or put() into `parent`, which is not
     * shown. */
    sendit_result (*walk)(struct sendit_dataset *, sendit_visit_fn *, void *ctx);
    /* DICOM JSON Model (PS3.18 annex F), without bulk data. */
    sendit_result (*json)(struct sendit_dataset *, const char **ret_json);
    /* Opt-in for C++ authors, by SENDIT_NATIVE: the DcmDataset *, or NULL unless `build`, the
     * SENDIT_DCMTK_BUILD of sendit_dcmtk.hpp, says that you and the host have one DCMTK and one
     * compiler: it ties your binary to this build of sendit and goes past every check in here. */
    void *(*native)(struct sendit_dataset *, const char *build);
    /* 0x00100020 gives "PatientID", which lives for ever; EABSENT for a tag that the dictionary
     * lacks, and for a private one.  [any] */
    sendit_result (*keyword)(uint32_t tag, const char **ret_keyword);
};

/*
 * Decoded pixels, one frame in memory at a time: native ones, RLE, JPEG, JPEG-LS, JPEG 2000.
 *
 * Example:
 *
 *     static sendit_verdict blank_banner(struct sendit_stage_state *self,
 *                                        const struct sendit_item *item, struct sendit_why *why)
 *     {
 *         const struct sendit_box banner = {0, 0, UINT32_MAX, 40};
 *         uint32_t frames;
 *         sendit_result r = self->pixels->count(item->ds, &frames);
 *
 *         if (r == SENDIT_OK && frames)
 *             r = self->pixels->blank(item->ds, SENDIT_ALL_FRAMES, &banner);
 *         if (r == SENDIT_ECORRUPT)
 *             return sendit_because(why, SENDIT_QUARANTINE, "banner.pixels", "no decoder");
 *         return sendit_verdict_of(r);
 *     }
 */
#define SENDIT_ALL_FRAMES UINT32_MAX
struct sendit_frame {
    uint32_t rows, columns, samples, bits; /* bits: 8, 16 or 32, of each sample */
    const void *data; /* no padding, samples interleaved, host order, colours as RGB; grey is the
                       * stored value, a signed one with its sign in all bits */
};
struct sendit_pixels {
    /* How many; 0 without pixel data. */
    sendit_result (*count)(struct sendit_dataset *, uint32_t *ret_frames);
    /* Frame `index`, from 0; EABSENT past the end.  Lives until the next frame().  ECORRUPT for
     * what the host cannot decode, too: quarantine, do not pass. */
    sendit_result (*frame)(struct sendit_dataset *, uint32_t index,
                           const struct sendit_frame **ret_frame);
    /* Make a box black, clipped, in one frame or in SENDIT_ALL_FRAMES.  Where two pixels share
     * their colours both are taken.  Pixels that were compressed come out as Explicit VR Little
     * Endian; the Icon Image Sequence, which shows the same in small, goes. */
    sendit_result (*blank)(struct sendit_dataset *, uint32_t index, const struct sendit_box *);
};

/*
 * Profiles and recipes: the engine behind deid-filter and both anonymizers.
 *
 * Example:
 *
 *     static sendit_verdict clean(struct sendit_stage_state *self, const struct sendit_item *item,
 *                                 struct sendit_why *why)
 *     {
 *         const struct sendit_var vars[] = {{"entity_id", "P0001"}, {"jitter", "-30"}};
 *         const struct sendit_report *report;
 *         sendit_result r = self->deid->apply(self->plan, item->ds, vars, 2, &report, why);
 *
 *         if (r == SENDIT_OK)
 *             self->metrics->add(self->host, "removed", report->removed);
 *         return sendit_verdict_of(r);
 *     }
 */
struct sendit_deid_plan;
struct sendit_match {
    const char *group; /* "greylist" */
    const char *label; /* the recipe's text, safe to print */
    int32_t flagged;   /* 0 for a whitelist, else 1; 2 if it has boxes and a LABEL without any
                        * names it, too, or may: to blank them is not enough */
    uint32_t n_boxes;
    const struct sendit_box *boxes; /* what to blank, keepcoordinates taken out */
};
struct sendit_report { /* elements at any depth; lost_dates left the calendar and were emptied */
    uint32_t removed, emptied, replaced, uids, dates, lost_dates;
};
struct sendit_deid {
    /* For open().  Names, as config->list() has them; either list may be empty.  A recipe is a word
     * ("dicom": filters/deid.dicom) or a path, which has a "/" in it.  Compiled once per run; the
     * plan lives until close().  A header rule that cannot be done (a variable that is not given, a
     * date that is none) stops the image; with an option on_failure of yours it may blank or remove
     * the element: its words are quarantine, blank, remove.  Failure fills `why`, with file, line
     * and column. */
    sendit_result (*compile)(const struct sendit_host *, const char *const *profiles,
                             const char *const *recipes, const struct sendit_deid_plan **ret_plan,
                             struct sendit_why *why);
    /* SHA-256, in hex, of all that went into it; lives as long. */
    const char *(*digest)(const struct sendit_deid_plan *);
    /* The LABEL that decides, a whitelist's before others, and the boxes of all that hold; EABSENT
     * if none holds.  Failure fills `why`. */
    sendit_result (*filter)(const struct sendit_deid_plan *, struct sendit_dataset *,
                            const struct sendit_match **ret_match, struct sendit_why *why);
    /* Edit by profile and recipes.  var:entity_id is the new PatientID, var:jitter the days by
     * which dates move; UIDs are mapped as ids->uid() does.  Takes the item itself, not one of its
     * sequences' items.  EDENIED, and misuse, without MUTATES.  Failure fills `why`. */
    sendit_result (*apply)(const struct sendit_deid_plan *, struct sendit_dataset *,
                           const struct sendit_var *vars, size_t n_vars,
                           const struct sendit_report **ret_report, struct sendit_why *why);
    /* Names of the variables that the recipes ask for, from 0; NULL past the end.  One that you
     * do not give costs the image: refuse the recipe in check(). */
    const char *(*variable)(const struct sendit_deid_plan *, size_t index);
    /* The LABELs of the recipes, from 0, without boxes; NULL past the end. */
    const struct sendit_match *(*label)(const struct sendit_deid_plan *, size_t index);
};

/*
 * Identities.  What is keyed comes from the site key by HMAC-SHA-256, the same on every machine
 * that has the key.  What is assigned stands in the crosswalk, which all workers share and which
 * keeps what is keyed, too.  `domain` is "patient", "study" or a word of your own; in "uid", which
 * lookup() knows, uid() alone writes.  An original has up to 1,024 bytes, else ECORRUPT; an empty
 * one is misuse.  What is keyed answers EDENIED where there is no site key.
 *
 * Example:
 *
 *     static sendit_verdict pseudonymize(struct sendit_stage_state *self,
 *                                        const struct sendit_item *item)
 *     {
 *         const char *patient, *pseudonym;
 *         sendit_result r = self->ids->patient(item->ds, &patient);
 *
 *         if (r == SENDIT_OK)
 *             r = self->ids->pseudonym(self->host, "patient", patient, &pseudonym);
 *         if (r == SENDIT_OK)
 *             r = self->dicom->put(item->ds, 0x00100020, pseudonym);
 *         return sendit_verdict_of(r);
 *     }
 */
struct sendit_ids {
    /* Who the patient is to all functions here: an original value.  EABSENT without PatientID. */
    sendit_result (*patient)(struct sendit_dataset *, const char **ret_patient);
    /* Keyed.  ECONFLICT should another original have the same one. */
    sendit_result (*pseudonym)(const struct sendit_host *, const char *domain, const char *original,
                               const char **ret_pseudonym);
    /* Keyed, under 2.25; a UID of the standard, such as a SOP class, is returned as it is.  What is
     * no UID is ECORRUPT. */
    sendit_result (*uid)(const struct sendit_host *, const char *original, const char **ret_uid);
    /* Keyed: whole days, -3650 to -1, one number for a patient for ever. */
    sendit_result (*days)(const struct sendit_host *, const char *patient, int32_t *ret_days);
    /* What stands for `original`, and since when; EABSENT if nothing does. */
    sendit_result (*lookup)(const struct sendit_host *, const char *domain, const char *original,
                            const char **ret_pseudonym, int64_t *ret_since_ms);
    /* First writer wins: you get what stands, be it yours or not.  ECONFLICT if `proposed` stands
     * for another original already. */
    sendit_result (*assign)(const struct sendit_host *, const char *domain, const char *original,
                            const char *proposed, const char **ret_pseudonym);
};

/*
 * How the item was called before the first edit, for a scan of what is left of it.
 *
 * Example:
 *
 *     static sendit_verdict verify(struct sendit_stage_state *self, const struct sendit_item *item,
 *                                  struct sendit_why *why)
 *     {
 *         const char *json, *value;
 *         sendit_result r = self->dicom->json(item->ds, &json);
 *         uint32_t tag;
 *
 *         for (size_t i = 0; r == SENDIT_OK; i++) {
 *             r = self->originals->value(item->ds, i, &tag, &value);
 *             if (r == SENDIT_OK && strlen(value) > 3 && strstr(json, value))
 *                 return sendit_because(why, SENDIT_QUARANTINE, "verify.left", "A value is left.");
 *         }
 *         return r == SENDIT_EABSENT ? SENDIT_PASS : sendit_verdict_of(r);
 *     }
 */
struct sendit_originals {
    /* A name, identifier, date or address at any depth, or a UID of the image: number `index`, from
     * 0; EABSENT past the end.  One value of several at a time; what cannot be converted is
     * ECORRUPT.  Lives until the callback returns; keep nothing of it. */
    sendit_result (*value)(struct sendit_dataset *, size_t index, uint32_t *ret_tag,
                           const char **ret_value);
};

/*
 * The item, edits included, as the Part 10 file that a store would write: parts in order, header
 * bytes in memory, pixel data as a range of the original or of a scratch file.  Write, hash or
 * send them as they are; no pixel need pass through the heap.
 *
 * Example:
 *
 *     static sendit_verdict copy_to(struct sendit_stage_state *self,
 *                                   const struct sendit_item *item, int out)
 *     {
 *         const struct sendit_file *file;
 *         sendit_result r = self->files->view(item->ds, &file);
 *
 *         for (uint32_t i = 0; r == SENDIT_OK && i < file->n_parts; i++) {
 *             const struct sendit_part *part = &file->parts[i];
 *             off_t from = (off_t)part->offset;
 *             size_t n = (size_t)part->length;
 *             ssize_t done = part->data ? write(out, part->data, n)
 *                                       : copy_file_range(part->fd, &from, out, NULL, n, 0);
 *
 *             if (done < 0 || (size_t)done != n)
 *                 r = SENDIT_EIO;
 *         }
 *         return sendit_verdict_of(r);
 *     }
 */
#define SENDIT_FILE_PARTS 4 /* at most, for arrays of your own */
struct sendit_file {
    const struct sendit_part *parts;
    uint32_t n_parts, reserved;
    uint64_t total; /* bytes of all parts */
};
struct sendit_files {
    /* Lives until the callback returns, or an edit. */
    sendit_result (*view)(struct sendit_dataset *, const struct sendit_file **ret_file);
    /* The same, as it is now, until drop(), or until finish() or abandon() has returned.  It holds
     * memory and a descriptor: keep what is in flight, not the batch.  Both take the item itself,
     * not one of its sequences' items: EINVAL. */
    sendit_result (*keep)(struct sendit_dataset *, const struct sendit_file **ret_file);
    /* NULL is fine; one that is not kept is misuse. */
    void (*drop)(const struct sendit_host *, const struct sendit_file *kept);
};

/*
 * Scratch files in the state folder, such as an archive being packed.
 *
 * Example:
 *
 *     static sendit_verdict note_line(struct sendit_stage_state *self,
 *                                     const struct sendit_item *item)
 *     {
 *         int fd;
 *         sendit_result r = self->spool->open(self->host, "manifest.txt", &fd);
 *
 *         if (r == SENDIT_OK && dprintf(fd, "%s\n", item->id) < 0)
 *             r = SENDIT_EIO;
 *         return sendit_verdict_of(r);
 *     }
 */
struct sendit_spool {
    /* The file `name`, a word, of your stage and the batch: empty at first, the same descriptor
     * each time.  Read, write, seek, truncate; the host closes and deletes it when finish() or
     * abandon() has returned, and another attempt at the batch starts without.  Outside a batch it
     * is misuse; of more than 64 in one, ENOMEM. */
    sendit_result (*open)(const struct sendit_host *, const char *name, int *ret_fd);
};

/*
 * What a stage tells later ones of an item or, with `item_id` NULL, of the batch: store.object,
 * store.generation, store.crc32c, ids.entity, ids.item, deid.profile, deid.boxes, or a word of your
 * own; up to 1,024 bytes, never an original value.  The ledger keeps it, for later attempts too:
 * of the item in hand with its PASS or SKIP (up to 32), of any other and of the batch at once.
 * While an item is quarantined or held, get() answers EABSENT for it.  Outside a batch, and put()
 * of an id that did not come in it, are misuse.
 *
 * Example:
 *
 *     static sendit_verdict remember(struct sendit_stage_state *self,
 *                                    const struct sendit_item *item, const char *object)
 *     {
 *         const char *before;
 *
 *         if (self->facts->get(self->host, item->id, "store.object", &before) == SENDIT_OK)
 *             return strcmp(before, object) ? SENDIT_QUARANTINE : SENDIT_PASS;
 *         return sendit_verdict_of(
 *             self->facts->put(self->host, item->id, "store.object", object));
 *     }
 */
struct sendit_facts {
    sendit_result (*put)(const struct sendit_host *, const char *item_id, const char *key,
                         const char *value);
    sendit_result (*get)(const struct sendit_host *, const char *item_id, const char *key,
                         const char **ret_value);
};

/*
 * Durable state of your entry in pipeline.json, shared by its instances in all workers.  A key has
 * 1 to 255 bytes, a value up to 1 MiB; any other is misuse.
 *
 * Example:
 *
 *     static sendit_result count_up(struct sendit_stage_state *self, const char *key)
 *     {
 *         const void *value;
 *         uint64_t revision = 0, n = 0;
 *         size_t length;
 *         sendit_result r = self->store->get(self->host, key, &value, &length, &revision);
 *
 *         if (r == SENDIT_OK && length == sizeof(n))
 *             memcpy(&n, value, sizeof(n));
 *         else if (r != SENDIT_EABSENT)
 *             return r == SENDIT_OK ? SENDIT_ECORRUPT : r;
 *         n++;
 *         return self->store->put(self->host, key, &n, sizeof(n), revision); // ECONFLICT: again
 *     }
 */
struct sendit_store {
    sendit_result (*get)(const struct sendit_host *, const char *key, const void **ret_value,
                         size_t *ret_length, uint64_t *ret_revision);
    /* Durable on return.  ECONFLICT unless the revision still is `expected`, 0 being absent.  A
     * NULL value deletes. */
    sendit_result (*put)(const struct sendit_host *, const char *key, const void *value,
                         size_t length, uint64_t expected);
    /* The next key in byte order, "" coming before all; EABSENT at the end. */
    sendit_result (*next)(const struct sendit_host *, const char *key, const char **ret_key);
    /* Wait until no other worker has the lock `key`; it is yours until the callback returns, or
     * its worker dies.  A second one in the same callback is misuse. */
    sendit_result (*lock)(const struct sendit_host *, const char *key);
    /* A line for the audit ledger, where nothing is ever changed: `event` is a word, `json` sound
     * JSON of up to 64 KiB. */
    sendit_result (*append)(const struct sendit_host *, const char *event, const char *json);
};

/*
 * The values behind SECRET options.  Prefer `auth` of a request, which does not show them.  A file
 * that others may read, and a symbolic link, are EDENIED; one that is not there is EIO, as is a
 * variable that the site named and that is not set.
 *
 * Example:
 *
 *     static sendit_verdict sign_in(struct sendit_stage_state *self, struct sendit_why *why)
 *     {
 *         const char *token;
 *         sendit_result r = self->secrets->get(self->host, "token", &token);
 *
 *         if (r == SENDIT_OK && strlen(token) < 20)
 *             return sendit_because(why, SENDIT_FAIL, "mine.token", "The token is too short.");
 *         return r == SENDIT_EABSENT ? SENDIT_FAIL : sendit_verdict_of(r);
 *     }
 */
struct sendit_secrets {
    /* Read anew each time, wiped when the callback returns; EABSENT if left out. */
    sendit_result (*get)(const struct sendit_host *, const char *option, const char **ret_value);
    /* Replace the file of a "file:PATH", wholly or not at all; EDENIED for an "env:NAME". */
    sendit_result (*put)(const struct sendit_host *, const char *option, const char *value);
};

/* Requests.  TLS is always verified; plain http goes to loopback and the metadata server only; a
 * scheme, host and port that no URL option of yours names is EDENIED; redirects are not followed.
 * The host bounds time and the number in flight, and logs method, host and status, nothing else.
 * Options that `auth`, `client_cert` and `ca_file` name and the site left out count as none. */
struct sendit_http_request {
    uint32_t size;       /* sizeof(struct sendit_http_request) */
    uint32_t timeout_ms; /* 0: the host's */
    uint32_t delay_ms;   /* wait first, as before a retry */
    uint32_t max_body;   /* of the answer, in bytes, else ECORRUPT; 0: 1 MiB */
    const char *method, *url;
    const char *const *headers;     /* "Name: value", then NULL */
    const char *auth;               /* name of a SECRET, which you need not see: user:password is
                                     * sent as Basic, anything else as Bearer */
    const char *client_cert;        /* name of a SECRET: certificate and key as PEM */
    const char *ca_file;            /* name of a PATH: trusted in place of the system's */
    const struct sendit_part *body; /* such as those of a sendit_file, or a range of a spool file */
    uint32_t n_body;
    uint32_t once; /* 1: it never goes out twice, even where a connection that was kept turns out to
                    * be dead (EIO); 0: then it goes out anew */
};
struct sendit_http_response {
    int32_t status, reserved;
    const char *body; /* NUL-terminated as well */
    size_t length;
};
/* `response` lives until you return, and is NULL unless `result` is SENDIT_OK. */
typedef void sendit_done_fn(void *ctx, sendit_result result,
                            const struct sendit_http_response *response) SENDIT_NOTHROW;
/*
 * Example:
 *
 *     static sendit_verdict ask(struct sendit_stage_state *self, struct sendit_why *why)
 *     {
 *         struct sendit_http_request request = {0};
 *         const struct sendit_http_response *response;
 *         sendit_result r;
 *
 *         request.size = sizeof(request);
 *         request.method = "GET";
 *         request.url = self->url;
 *         request.auth = "token";
 *         r = self->http->send(self->host, &request, &response);
 *         if (r == SENDIT_OK && response->status != 200)
 *             return sendit_because(why, SENDIT_RETRY, "mine.busy", "status %d", response->status);
 *         return sendit_verdict_of(r);
 *     }
 */
struct sendit_http {
    /* Wait for the answer.  SENDIT_OK says that one came, whatever its status. */
    sendit_result (*send)(const struct sendit_host *, const struct sendit_http_request *,
                          const struct sendit_http_response **ret_response);
    /* Send while you go on.  After SENDIT_OK, `done` is called once, on this thread, inside a
     * start(), drain() or send() of yours, this one included; until then the bytes of the body
     * stay as they are.  Waits while too many are in flight, but not inside `done`, where
     * start() serves for a retry or a next request and send() and drain() are EINVAL. */
    sendit_result (*start)(const struct sendit_host *, const struct sendit_http_request *,
                           sendit_done_fn *done, void *ctx);
    /* Wait until no more than `max_left` are in flight.  In abandon(), or when the host stops,
     * they are cancelled instead, their `done` called with ECANCELED.  What is in flight when
     * finish(), abandon(), settle() or compare() returns is cancelled so. */
    sendit_result (*drain)(const struct sendit_host *, uint32_t max_left);
    /* The value of a header, its name in any case; NULL without it. */
    const char *(*header)(const struct sendit_http_response *, const char *name);
};

/*
 * Metrics; `name` is a literal and a word, the host adds stage and pipeline.  A sample that is no
 * number, or beyond a milliard, is left out.  [any]
 *
 * Example:
 *
 *     static void measure(struct sendit_stage_state *self, int64_t began_ms)
 *     {
 *         self->metrics->add(self->host, "images", 1);
 *         self->metrics->observe(self->host, "seconds",
 *                                (double)(self->host->now_ms(self->host) - began_ms) / 1000);
 *     }
 */
struct sendit_metrics {
    void (*add)(const struct sendit_host *, const char *name, int64_t delta);
    void (*observe)(const struct sendit_host *, const char *name, double value);
};

#ifdef __cplusplus
}
#endif
#endif /* SENDIT_SERVICES_H */
