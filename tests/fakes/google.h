/* SPDX-License-Identifier: Apache-2.0 */
/*
 * google.h - the fake Google.  One thread for each connection; the lock of `google` is held while a
 * request is answered, not while its bytes come, nor while it is told to wait.
 *
 * A request is a struct call: begun when its headers are there (its operation is known then, and
 * which fault it meets), fed, answered by the handler of its route, and sent.  What must survive a
 * kill is in the journal (google_journal.c) before an answer goes out.
 */
#ifndef SENDIT_TESTS_GOOGLE_H
#define SENDIT_TESTS_GOOGLE_H

#include <jansson.h>
#include <microhttpd.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>

#define GOOGLE_STEP (256u << 10) /* what a chunk must be a multiple of */
#define GOOGLE_MAX_JSON (64u << 20)
#define GOOGLE_MAX_ARGS 4

struct call;
typedef void call_fn(struct call *);

/* Bytes of an upload: a part of a file in the folder. */
struct media {
    char file[64];    /* "": not kept */
    const char *path; /* where they are now; NULL: nowhere */
    uint64_t offset, length;
    uint32_t crc32c;
    unsigned char md5[16];
    char type[128];
};

struct digests {
    uint32_t crc32c;
    EVP_MD_CTX *md5;
};

struct session;

enum sink { SINK_MEMORY, SINK_SPOOL, SINK_SESSION, SINK_NONE };

struct route {
    const char *method, *pattern; /* a star is one part of the path */
    const char *part, *id;        /* of the log; of the discovery document */
    call_fn *begin;               /* or NULL: looks at the headers, and may set op and sink */
    call_fn *answer;
};

struct answer {
    unsigned status; /* 0: none yet */
    json_t *json;    /* or */
    char *text;      /* of the heap */
    size_t length;
    char type[128];
    char *path; /* or a part of a file; of the heap */
    uint64_t offset;
    struct {
        char name[40], value[1024];
    } headers[8];
    int n_headers;
};

struct call {
    struct MHD_Connection *connection;
    const struct route *route;
    char *uri;                   /* as it was sent */
    char *path;                  /* of it */
    json_t *query;               /* decoded */
    char *args[GOOGLE_MAX_ARGS]; /* what the stars were, decoded */
    const char *method, *op;
    unsigned number;
    int begun, admin, spool;
    json_t *fault; /* the rule, or NULL */
    const char *fault_name;
    int64_t after; /* the fault comes after so many bytes; -1: not by bytes */
    int swallow, hung_up;
    enum sink sink;
    char *body;
    size_t room;
    uint64_t length;  /* of what came */
    json_t *asked;    /* the JSON of the request */
    const char *what; /* became of it */
    struct session *session;
    unsigned epoch;
    uint64_t skip; /* bytes that the session has already */
    struct answer answer;
};

extern struct google {
    const char *folder, *log, *script_path;
    const char *admin; /* a token that may do all, and meets no fault */
    int anonymous;     /* no token is asked for */
    int discard;       /* bytes of objects are not kept */
    int tls;
    pthread_mutex_t lock; /* guards the rest */
    json_t *script;
    unsigned requests;
    int64_t generation; /* the last one */
} google;

/* google_server.c */
/* An error as Google says it. */
void refuse(struct call *, unsigned status, const char *reason, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void answer_json(struct call *, unsigned status, json_t *value); /* takes the value */
void answer_header(struct call *, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
const char *call_header(const struct call *, const char *name);
const char *call_query(const struct call *, const char *name);
/* "https://127.0.0.1:1234", as the client names us; of the heap. */
char *call_origin(const struct call *);
/* The body as a JSON object, kept in call->asked; NULL: refused. */
json_t *call_json(struct call *);
/* A member of the script, or the number of it. */
json_t *script_get(const char *name);
int64_t script_number(const char *name, int64_t otherwise);
int script_lists(const char *name, const char *text); /* is it in that array */
int64_t now_us(void);
int64_t next_generation(void);
void time_text(char to[40], int64_t us);                         /* RFC 3339, in UTC */
char *percent_decode(const char *text, size_t length, int plus); /* NULL: not to be decoded */
void percent_encode(char *to, size_t size, const char *text);

/* google_fault.c */
void fault_load(void);          /* the script, if it is another than before */
void fault_find(struct call *); /* which fault it meets */
int fault_is(const struct call *, const char *name);
int64_t fault_number(const struct call *, const char *name, int64_t otherwise);
const char *fault_text(const struct call *, const char *name);
/* In place of an answer; true if there is one now. */
int fault_answers(struct call *);
void fault_spoils(struct call *); /* the answer that is there */
void retry_create(struct call *);
void retry_get(struct call *);
void retry_delete(struct call *);
void wait_ms(int64_t ms);

/* google_token.c */
void token_post(struct call *);
void metadata_get(struct call *);
void token_replay(const json_t *);
void token_expire_all(void);
/* Whether its token is good for one of the scopes (blanks between them); if not it is refused. */
int auth_scope(struct call *, const char *scopes);
/* Whether the permission was not taken away. */
int auth_may(struct call *, const char *permission, const char *resource);
int auth_has(const struct call *, const char *permission); /* the same, and refuses nothing */

/* google_storage.c */
void bucket_get(struct call *);
void bucket_test_permissions(struct call *);
void object_begin(struct call *);
void object_get(struct call *);
void object_list(struct call *);
void object_delete(struct call *);
/* What an upload begins with: checks all that can be known now.  -1: refused. */
int storage_starts(struct call *, const char *bucket, const json_t *query, json_t *resource);
/* The bytes are there: the object, or a refusal. */
void storage_commit(struct call *, const char *bucket, const json_t *query, const json_t *resource,
                    const struct media *);
void storage_replay(const char *what, json_t *);

/* google_upload.c */
void upload_begin(struct call *); /* of storage and BigQuery */
void upload_answer(struct call *);
int upload_append(struct call *, const char *data, size_t n); /* to its session; -1: hang up */
void upload_forget(struct call *);
void upload_replay(const char *what, const json_t *);
void upload_recover(void);
void digests_start(struct digests *);
void digests_add(struct digests *, const void *data, size_t n);
void digests_end(struct digests *, struct media *); /* frees */

/* google_bigquery.c */
void dataset_get(struct call *);
void dataset_insert(struct call *);
void table_get(struct call *);
void table_insert(struct call *);
void table_patch(struct call *);
void table_delete(struct call *);
void table_list(struct call *);
void bigquery_replay(const char *what, json_t *);
/* google_jobs.c */
int bigquery_starts(struct call *, const char *project, json_t *job);
void bigquery_commit(struct call *, const char *project, const json_t *job, const struct media *);

/* google_fields.c: the query's `fields`; NULL if it is not one.  A new reference. */
json_t *fields_select(const json_t *value, const char *fields);

/* google_journal.c */
int journal_open(void);                              /* and tells the others what was */
void journal_write(const char *what, json_t *value); /* takes the value */

#endif
