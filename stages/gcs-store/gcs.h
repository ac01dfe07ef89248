/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gcs.h - inside gcs-store: its state, what is remembered of objects, and how one gets there.
 *
 * One thread; all of it is called inside a callback.  A function that can fail fills `why`.
 */
#ifndef SENDIT_GCS_H
#define SENDIT_GCS_H

#include <stdbool.h>

#include <jansson.h>

#include "gcs_crc32c.h"
#include "gcs_name.h"
#include "gcs_pack.h"
#include "google.h"

#define GCS_SCOPE "https://www.googleapis.com/auth/devstorage.read_write"
#define GCS_ROLE "roles/storage.objectUser"
#define GCS_TYPE_ARCHIVE "application/gzip"
#define GCS_TYPE_INSTANCE "application/dicom"

#define GCS_MAX_MULTIPART (8u << 20) /* bytes of an object that goes in one request */
#define GCS_MAX_METADATA 8192        /* bytes of custom metadata, ours included */
#define GCS_MAX_MEMBERS 80000        /* images of an archive */
#define GCS_MAX_NUMBER 9999          /* archives of one name */
#define GCS_MAX_TRIED 4              /* contents that an unfinished attempt may have sent */
#define GCS_MAX_URL 4096
#define GCS_MAX_UPLOADS 64      /* of single objects at once */
#define GCS_PACKED "gcs.packed" /* the fact that an image is in the spool file */
#define GCS_GENERATION 24       /* room for one as text */

enum gcs_mode { MODE_ARCHIVE, MODE_INSTANCE };

struct sendit_stage_state {
    const struct sendit_host *host;
    const struct sendit_files *files;
    const struct sendit_facts *facts;
    const struct sendit_spool *spool;
    const struct sendit_store *store;
    const struct sendit_http *http;
    const struct sendit_metrics *metrics;
    struct google *google;
    struct gcs_names names;
    struct pack *pack;
    json_t *metadata; /* what the site wants with each object; owned */
    const char *bucket, *project, *storage_class, *kms_key, *acl;
    const char *dry_run; /* a folder; NULL: it is real */
    enum gcs_mode mode;
    int64_t retry_delay_ms;
    char batch[SENDIT_ID_SIZE];
    uint32_t attempt;
    /* Of the batch in hand, by mode. */
    struct member *members;
    size_t n_members, max_members;
    struct single *singles;       /* in flight */
    const struct single *in_hand; /* of the item that process() has */
    sendit_verdict hand_verdict;  /* what came of that already, if not PASS */
    struct sendit_why hand_why;
    uint32_t n_singles, n_chunks;
    char *list; /* of objects that are stored and not yet in the journal */
    size_t list_length;
    sendit_verdict failed; /* why the batch cannot go on; PASS: it can */
    struct sendit_why failure;
    int64_t n_objects, n_bytes;
};

/* ---- gcs_upload.c ---- */

/* An object as Google has it. */
struct there {
    uint64_t generation, size;
    uint32_t crc32c;
    char content[PACK_CONTENT]; /* "" for none */
    char once[SENDIT_ID_SIZE];  /* likewise */
};

enum upload_end {
    UPLOAD_STORED = 1,
    UPLOAD_CONFLICT, /* another has the name, and stays */
    UPLOAD_FAILED    /* `verdict` and `why` say how */
};

/* One object, from upload_start() until `done`.  What it points to is the caller's until then. */
struct upload {
    struct sendit_stage_state *self;
    const char *name, *type;
    const struct sendit_part *parts;
    uint32_t n_parts;
    uint64_t total;
    uint32_t crc32c;
    char content[PACK_CONTENT];
    char once[SENDIT_ID_SIZE]; /* "" for none */
    /* May an object of that name that is not the same be replaced? */
    bool (*may_replace)(const struct upload *, const struct there *);
    void (*done)(struct upload *); /* may free it */
    void *ctx;
    /* How it ended. */
    enum upload_end end;
    sendit_verdict verdict;
    struct sendit_why why;
    struct there there;
    /* Its way. */
    uint64_t match; /* the generation that it takes the place of; 0: of none */
    char *session;  /* owned; whoever has it can upload: never shown */
    uint64_t sent;  /* bytes that Google says it has */
    unsigned rounds, looks,
        stalls;               /* uploads begun, looks at what is there, tries without progress */
    char *before, *after;     /* owned: what stands around a multipart body */
    struct sendit_part *body; /* owned */
    uint64_t deleting;        /* a generation that is not what was sent */
};

/* `done` is called once, perhaps in here. */
void upload_start(struct upload *upload);
/* The JSON of an object to be made; the caller's.  NULL without memory. */
char *upload_metadata(const struct upload *upload);
/* The URL of its request; 0 if it is too long. */
int upload_url(const struct upload *upload, const char *kind, char ret_url[GCS_MAX_URL]);
/* The URL of an object; likewise. */
int object_url(const struct sendit_stage_state *self, const char *name, char ret_url[GCS_MAX_URL]);
/* 0 if it is one, with all that we need of it. */
int there_read(struct there *ret, const json_t *object, const char *bucket, const char *name);
/* What is there under a name: PASS, SKIP for nothing.  Not while uploads are in flight. */
sendit_verdict object_look(struct sendit_stage_state *self, const char *name, struct there *ret,
                           struct sendit_why *why);

/* ---- gcs_journal.c ---- */

/* An image in an archive: which, and what of it went in. */
struct record_member {
    uint64_t item; /* a hash of its id */
    uint32_t crc;  /* of its tar entry */
};

/* What is remembered of an archive. */
struct record {
    char key[SENDIT_ID_SIZE];
    uint64_t revision; /* 0: it is not kept yet */
    char bucket[256], object[NAME_TEMPLATE_SIZE];
    bool stored;
    struct there there;                      /* of what is stored */
    char tried[GCS_MAX_TRIED][PACK_CONTENT]; /* the last first */
    struct record_member *members;           /* owned, in order */
    size_t n_members;
};

/* PASS, SKIP if there is none (then with a key, and empty). */
sendit_verdict record_read(struct sendit_stage_state *self, const char *base, unsigned number,
                           struct record *ret, struct sendit_why *why);
/* SKIP if somebody else was first: read it again. */
sendit_verdict record_write(struct sendit_stage_state *self, struct record *record,
                            struct sendit_why *why);
sendit_verdict record_drop(struct sendit_stage_state *self, struct record *record,
                           struct sendit_why *why);
void record_fini(struct record *record);
uint64_t record_hash(const char *item);
/* The member with that hash, or NULL. */
const struct record_member *record_find(const struct record *record, uint64_t item);
void record_sort(struct record_member *members, size_t n);

/* A line for a single object that is stored; journal_flush() keeps them. */
sendit_verdict journal_add(struct sendit_stage_state *self, const char *name,
                           const struct there *there, struct sendit_why *why);
sendit_verdict journal_flush(struct sendit_stage_state *self, struct sendit_why *why);

/* Each object of the journal that is stored in this bucket; -1 from `take` ends it. */
typedef int journal_take_fn(void *ctx, const char *name, const struct there *there);
sendit_result journal_each(struct sendit_stage_state *self, journal_take_fn *take, void *ctx);

/* ---- gcs_archive.c, gcs_single.c ---- */

/* The item in hand; what begin(), process(), finish() and abandon() do in each mode. */
sendit_verdict archive_process(struct sendit_stage_state *self, const struct sendit_item *item,
                               struct sendit_why *why);
sendit_verdict archive_finish(struct sendit_stage_state *self, struct sendit_why *why);
void archive_forget(struct sendit_stage_state *self);
sendit_verdict single_process(struct sendit_stage_state *self, const struct sendit_item *item,
                              struct sendit_why *why);
sendit_verdict single_finish(struct sendit_stage_state *self, struct sendit_why *why);
void single_forget(struct sendit_stage_state *self);

/* The facts of an item whose object is there. */
sendit_verdict tell_stored(struct sendit_stage_state *self, const char *item, const char *object,
                           const struct there *there, struct sendit_why *why);
/* EABSENT if a later stage held it. */
sendit_result find_packed(struct sendit_stage_state *self, const char *item);
sendit_verdict because_of_pack(const struct sendit_stage_state *self, enum pack_result result,
                               struct sendit_why *why);

/* ---- gcs_dry.c ---- */

/* Write the request of an upload in place of sending it. */
sendit_verdict dry_write(const struct upload *upload, struct sendit_why *why);

/* ---- gcs_compare.c ---- */

/* Tell each difference between the journal and the bucket. */
sendit_verdict bucket_compare(struct sendit_stage_state *self, const struct sendit_compare *compare,
                              struct sendit_why *why);

#endif
