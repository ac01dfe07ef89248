/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stage.h - the contract between sendit and a stage.  Include only this; it brings services.h,
 * the tables of what the host can do for you.
 *
 * A stage is one shared object that exports one symbol, sendit_stage().  It links to nothing of
 * ours: all it may ask of the host arrives in tables of functions, so that one binary runs in a
 * worker, under `sendit test-stage` and in a fuzzer, and cannot tell which.
 *
 * Your callbacks answer with a verdict; host functions answer with a result.  Seven rules hold
 * everywhere and are not repeated below.
 *
 *  1. Lifetime.  A pointer that the host hands you lives until the callback you are in returns,
 *     unless its comment says otherwise; copy what you keep.  What you hand the host it copies
 *     before it returns.  Nobody frees what the other side made.
 *  2. Fail closed.  Zero is SENDIT_FAIL.  A verdict that the host does not know puts the stage at
 *     fault: the item is quarantined as host.verdict, never passed; without an item it counts as
 *     FAIL.  An unknown flag, option type or ABI refuses the plugin before any file is touched.
 *     Only SENDIT_PASS keeps edits and grants labels.
 *  3. No side door.  No value of a data set and no secret goes into a log line, a reason, a
 *     metric, a store key, a URL or a file name.  Names and URLs may have new values in them:
 *     pseudonyms, new UIDs, shifted dates.  The ids of batches and items are safe to print.
 *  4. Threads.  Each worker process opens its own instance and calls it on one thread, one
 *     callback at a time.  Call the host inside a callback and on its thread; a function marked
 *     [any] on any thread, at any time from open() to close().  Elsewhere a data set is EINVAL; any
 *     other call is EINVAL, too, and misuse.
 *  5. Growth.  Structs grow at the end only.  One that you write says its size, and the host reads
 *     no further; one that the host writes is never shorter than in the header that you compiled,
 *     since an older host refuses you.
 *  6. Trust.  You run in the worker's own process.  What you declare guards against mistakes, not
 *     against malice: nothing here is a sandbox.  Leave exit(), fork(), signals and descriptors
 *     that are not yours alone.  A crash, an exit or a hang past stage_timeout costs the item in
 *     hand when it comes twice; a process left behind, at once.
 *  7. Misuse.  What a comment calls misuse is a bug of the stage, not of the image: the host says
 *     so in the log, answers EINVAL, and takes your answer for FAIL, host.misuse.
 *
 * Strings are NUL-terminated UTF-8, or NULL for none; reserved members are zero.  A list of labels
 * or stages is one string, its words separated by blanks: "ids.replaced deid.header".
 */
#ifndef SENDIT_STAGE_H
#define SENDIT_STAGE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* No exception crosses the border.  From C++17 on, a callback that is not noexcept does not
 * compile; below that, an exception that gets out ends the worker and costs the item. */
#if defined(__cplusplus) && __cplusplus >= 201703L
#define SENDIT_NOTHROW noexcept
#else
#define SENDIT_NOTHROW
#endif
#ifdef __cplusplus
extern "C" {
#endif

/* A host runs the plugins of its own major whose minor is not above its own. */
#define SENDIT_MAGIC 0x53444954u /* "SDIT" */
#define SENDIT_ABI_MAJOR 1u      /* raised when an old plugin would misbehave */
#define SENDIT_ABI_MINOR 0u      /* raised when something is added */
#define SENDIT_ABI ((SENDIT_ABI_MAJOR << 16) | SENDIT_ABI_MINOR)

#define SENDIT_ID_SIZE 64 /* room for any id or once_key below, with its NUL */

/* Result of a host function. */
enum {
    SENDIT_OK = 0,
    SENDIT_EABSENT = -1,   /* no such tag, key or name; what is present and empty is OK and "" */
    SENDIT_EINVAL = -2,    /* the caller's mistake; rule 7 */
    SENDIT_ENOMEM = -3,    /* no memory, or one of the host's bounds reached */
    SENDIT_EDENIED = -4,   /* your flags do not declare it, or no option of yours names that host */
    SENDIT_EIO = -5,       /* disk, network or peer; a retry may help */
    SENDIT_ECONFLICT = -6, /* somebody else was first */
    SENDIT_ECANCELED = -7, /* shutdown or deadline: answer SENDIT_RETRY soon */
    SENDIT_ECORRUPT = -8,  /* cannot be decoded or converted, or is too large: quarantine */
    SENDIT_ESTOPPED = -9   /* your own visitor said SENDIT_STOP */
};
typedef int32_t sendit_result;

/* Answer of a callback: what becomes of the item or, without one, of the batch. */
enum {
    SENDIT_FAIL = 0,       /* stop the batch and tell somebody: a bug, or nothing can work */
    SENDIT_PASS = 1,       /* keep edits, grant labels, on to the next stage */
    SENDIT_SKIP = 2,       /* drop edits, grant nothing, on to the next stage */
    SENDIT_QUARANTINE = 3, /* drop edits, hold for a human; no later stage sees it */
    SENDIT_RETRY = 4,      /* drop edits, try again after a pause; the site's retry_for ends it */
    SENDIT_LATER = 5       /* of finish() alone: the batch is through here but for what settle()
                            * does, and DONEPROCESSING until each stage that said so has settled it */
};
typedef int32_t sendit_verdict;

/*
 * What a stage does.  You declare it, `sendit plan` shows it, and the host holds you to it: what is
 * not declared is a NULL table, or SENDIT_EDENIED.  A flag with a word in quotes needs the site's
 * consent, too: that word under "allow" in your entry of pipeline.json.  The others need none.
 */
enum {
    SENDIT_READS = 1 << 0,         /* reads attributes, or the item as a file */
    SENDIT_MUTATES = 1 << 1,       /* edits; PASS of an edited item takes deid.verified away */
    SENDIT_PIXELS = 1 << 2,        /* reads decoded pixels; with MUTATES, blanks them */
    SENDIT_SOURCE = 1 << 3,        /* has produce(); stands first */
    SENDIT_EGRESS = 1 << 4,        /* hands items to anyone outside the state folder, by way of a
                                    * local folder too: policy.egress_needs adds to `needs` */
    SENDIT_IDENTIFIERS = 1 << 5,   /* makes pseudonyms, uses the crosswalk */
    SENDIT_NETWORK = 1 << 6,       /* "network": talks to the hosts of its URL options */
    SENDIT_SENDS_PHI = 1 << 7,     /* "sends-phi": and by design sends identified values there */
    SENDIT_SECRETS = 1 << 8,       /* "secrets": sees the values behind its SECRET options */
    SENDIT_ORIGINALS = 1 << 9,     /* "originals": sees identifying values from before any edit */
    SENDIT_REIDENTIFIES = 1 << 10, /* "reidentifies": PASS takes all five labels of ours away */
    SENDIT_NATIVE = 1 << 11        /* "native": uses the host's own C++ object of a data set */
};

/* Options of a stage: from this table the host checks pipeline.json, where any other key is an
 * error, fills defaults, prints help and makes the JSON Schema.  Read them with sendit_config. */
enum {
    SENDIT_OPT_STRING = 1,
    SENDIT_OPT_INTEGER,  /* limit "1..64", of which either end may be left out */
    SENDIT_OPT_BOOLEAN,  /* true, false */
    SENDIT_OPT_CHOICE,   /* limit "archive|instance" */
    SENDIT_OPT_DURATION, /* "90s"; ms, s, m, h, d; limit "1s..1h" */
    SENDIT_OPT_SIZE,     /* "8MiB"; B, KiB, MiB, GiB; limit "1MiB.." */
    SENDIT_OPT_PATH,     /* relative to the folder of pipeline.json */
    SENDIT_OPT_URL,      /* and sendit_http may talk to its host */
    SENDIT_OPT_SECRET,   /* "env:NAME" or "file:PATH", never the value itself; "file:$NAME" is the
                          * path in that variable, "file:$NAME/PATH" lies below it.  A default may
                          * be several of them, separated by blanks: the first counts whose variable
                          * is set and, if it says PATH, whose file is there; none may do */
    SENDIT_OPT_JSON      /* any other shape; check() judges it */
};
enum {
    SENDIT_OPT_REQUIRED = 1 << 0, /* without it the plan is refused */
    SENDIT_OPT_MANY = 1 << 1,     /* an array of them */
    SENDIT_OPT_TEST = 1 << 2      /* another server for tests: set only with the site's consent,
                                   * "allow": ["emulator"]; a URL then leads to loopback.  `limit`
                                   * of a URL names the variable that, with that consent alone,
                                   * goes before the default: "STORAGE_EMULATOR_HOST" */
};
struct sendit_option {
    const char *name; /* snake_case */
    int32_t type;
    uint32_t flags;
    const char *default_value; /* as text; of a MANY the words, separated by blanks */
    const char *limit;
    const char *help; /* one sentence */
};

struct sendit_stage_state; /* your instance: define it; the host only carries the pointer */
struct sendit_dataset;     /* the host's: a DICOM data set, or an item of a sequence in one */
struct sendit_host;

/* Why not PASS: zeroed by the host before each callback, filled by you with sendit_because(). */
struct sendit_why {
    uint32_t retry_after_s; /* a hint for SENDIT_RETRY; the site's retry_for goes before it */
    char code[32];          /* stable, "gcs.precondition"; "" reads as NAME.unknown; not host.* */
    char text[220];         /* one sentence for the operator */
};

struct sendit_item {
    uint32_t attempt, reserved; /* attempt: 1 the first time */
    const char *id;             /* opaque, the same on every try */
    const char *once_key;       /* likewise, and only this stage's: for effects on a remote side */
    const char *labels;         /* earned so far */
    struct sendit_dataset *ds;  /* to read and edit as your flags say */
};

struct sendit_batch {
    uint32_t attempt, reserved;
    const char *id;
    const char *once_key;
    uint64_t n_items; /* at most; earlier stages may keep some from you */
};

/* How a source hands over work, inside produce() and on its thread.  A batch that is not closed
 * when produce() returns is forgotten; a closed one stands, whatever produce() answers.  Each may
 * answer EINVAL (no batch is open, or one is already; a path that is not absolute), EIO when the
 * ledger is gone, ECANCELED when the host stops: then return RETRY. */
enum { SENDIT_LEAVE, SENDIT_MOVE, SENDIT_DELETE };
struct sendit_feed {
    void *priv;
    /* Start a batch.  `key`, usually the path of its folder, names it for ever; it may be PHI and
     * is shown as a hash.  With a known key, only files that are new or changed are taken. */
    sendit_result (*open_batch)(const struct sendit_feed *, const char *key);
    /* A file by its absolute path.  A worker reads it later, in place: let it stay as it is.  One
     * that is not there is counted as failed; OK all the same. */
    sendit_result (*add)(const struct sendit_feed *, const char *path);
    /* A file that is none of sendit's business: counted, under the reason `code`. */
    sendit_result (*ignore)(const struct sendit_feed *, const char *path, const char *code);
    /* What the host does with the files once the batch is DONE, `folder` being where they move.
     * Without this call they stay; one that is quarantined or failed stays in any case. */
    sendit_result (*when_done)(const struct sendit_feed *, int32_t how, const char *folder);
    /* The batch is complete and durable; a worker may take it at once. */
    sendit_result (*close_batch)(const struct sendit_feed *);
};

/* Tells what became of batches whose finish() answered LATER. */
struct sendit_settle {
    void *priv;
    uint32_t last, reserved; /* last: this run has nothing else to do: do now all that waits */
    /* That batch is settled here: PASS, or FAIL, which makes it ERROR.  In order with store->put():
     * once a later put() has answered OK, this is durable, too.  One that does not wait for this
     * stage: OK, and nothing.  It may be told while finish() of that batch is still under way. */
    sendit_result (*batch)(const struct sendit_settle *, const char *batch_id,
                           sendit_verdict verdict, const char *code, const char *text);
};

/* What differs between what the ledger keeps and what is there; for `sendit reconcile`.  `code` is
 * a reason as in sendit_why, `text` one sentence. */
struct sendit_compare {
    void *priv;
    /* `subject`: a name that is safe to print, such as an object's. */
    sendit_result (*differs)(const struct sendit_compare *, const char *code, const char *subject,
                             const char *text);
    /* "objects": how many were compared; counts of one word add up. */
    sendit_result (*counted)(const struct sendit_compare *, const char *what, uint64_t n);
};

typedef sendit_verdict sendit_check_fn(const struct sendit_host *, int online,
                                       struct sendit_why *) SENDIT_NOTHROW;
typedef sendit_verdict sendit_open_fn(const struct sendit_host *,
                                      struct sendit_stage_state **ret_self,
                                      struct sendit_why *) SENDIT_NOTHROW;
typedef sendit_verdict sendit_feed_fn(struct sendit_stage_state *, const struct sendit_feed *,
                                      struct sendit_why *) SENDIT_NOTHROW;
typedef sendit_verdict sendit_batch_fn(struct sendit_stage_state *, const struct sendit_batch *,
                                       struct sendit_why *) SENDIT_NOTHROW;
typedef sendit_verdict sendit_item_fn(struct sendit_stage_state *, const struct sendit_item *,
                                      struct sendit_why *) SENDIT_NOTHROW;
typedef sendit_verdict sendit_settle_fn(struct sendit_stage_state *, const struct sendit_settle *,
                                        struct sendit_why *) SENDIT_NOTHROW;
typedef sendit_verdict sendit_compare_fn(struct sendit_stage_state *, const struct sendit_compare *,
                                         struct sendit_why *) SENDIT_NOTHROW;
typedef void sendit_close_fn(struct sendit_stage_state *) SENDIT_NOTHROW;

/*
 * The descriptor: constant, so that order, help and documentation come from it without running
 * any code of yours but sendit_stage().
 *
 * Labels are words with a dot that an item earns on its way.  pixels.checked, filters.passed,
 * ids.replaced, deid.header and deid.verified belong to the stages that ship; a site's own stage
 * grants one only with consent, "allow": ["grant:deid.header"].  Other labels are free to all.
 *
 * Calls come as: open (produce | begin process* (finish | abandon) | settle | compare)* close.
 * open, close and one of produce and process are required; any other left out passes.
 */
struct sendit_plugin {
    uint32_t magic, abi, size, option_size; /* SENDIT_PLUGIN() fills these */
    uint32_t flags, n_options;
    const struct sendit_option *options; /* SENDIT_OPTIONS() fills both */
    const char *name;                    /* [a-z][a-z0-9-]*, the stem of the file name */
    const char *version;                 /* semver */
    const char *summary;                 /* one line */
    const char *needs;            /* labels without which an item is quarantined, not shown; one
                                   * that is granted at finish is asked for at your finish() */
    const char *grants;           /* labels that PASS earns an item */
    const char *grants_at_finish; /* and those that it has once finish() passed: "store.stored" */
    const char *after;            /* stages, or labels (these have a dot), that come earlier if */
    const char *before;           /* they come at all; and those that come later */

    /* Judge the options beyond their table: PASS or FAIL; there is no instance yet.  No I/O and no
     * effect, unless `online` asks you to try, with the least possible call, what you will need.
     * What the ledger keeps (facts, store, ids) answers EIO here. */
    sendit_check_fn *check;
    /* Make an instance.  With PASS set *ret_self, and one close() will follow; with anything else
     * leave nothing behind.  RETRY is for a service that is away, and open() comes again; any
     * other answer counts as FAIL. */
    sendit_open_fn *open;
    /* Feed a batch or two and return: PASS if there was one, SKIP if there is none now, RETRY if
     * the origin is away.  Never wait for work.  Runs in one process only. */
    sendit_feed_fn *produce;
    /* A batch comes.  After PASS one finish() or abandon() follows, unless the worker dies; SKIP
     * keeps you out of this batch, and its items earn nothing here. */
    sendit_batch_fn *begin;
    /* The work.  It may come again for an item, after a retry or a crash: the data set is then as
     * it was before the first try; remote effects are yours to make happen once.  A RETRY of a
     * stage with NETWORK gives its whole batch back, and none is begun before it is time again. */
    sendit_item_fn *process;
    /* Flush.  Items count as done here only when this passes; single ones are taken out with
     * host->hold().  Stages finish in pipeline order.  After RETRY comes finish() again, or
     * abandon() and some time later the batch from its beginning.  After LATER, which a stage with
     * settle() may answer, its items wait until settle() has told of the batch.  Should another
     * stage not finish, or hold an item for another attempt, all of them come again, and so does
     * finish(): what it finds done already is PASS. */
    sendit_batch_fn *finish;
    /* In place of finish(), when batch or host are being stopped.  Release what begin() took; the
     * verdict is only logged. */
    sendit_batch_fn *abandon;
    /* Called between batches in one worker at a time, every few seconds while batches of yours wait
     * (finish() said LATER), and with `last` when no other work is left, again after each RETRY
     * until all are settled or retry_for has passed.  No batch is open.  Do not wait for a remote
     * side unless `last`; start, return PASS, and look again next time.  store, http, secrets,
     * metrics are there; data sets, facts, spool are not.  Killed in here it is called again: what
     * you keep in the store is your journal.  After PASS with `last` a batch that still waits is
     * ERROR, host.settle.  FAIL ends the run; what waits is left to the next one. */
    sendit_settle_fn *settle;
    /* Compare; change nothing: put() and append() of store, assign() of ids are EDENIED.  PASS:
     * compared whole, with or without differences; RETRY: what is there cannot be asked now.  The
     * tables are those of settle(). */
    sendit_compare_fn *compare;
    /* Free the instance.  Of the host only [any] may be called.  A worker has ten seconds for all
     * its stages, then it is ended; what finish() passed stays. */
    sendit_close_fn *close;
};

/* The one exported symbol.  NULL declines this host. */
typedef const struct sendit_plugin *sendit_entry_fn(uint32_t host_abi);

/* The host.  It lives from open(), or check(), until close(), as do its tables. */
enum { SENDIT_DEBUG, SENDIT_INFO, SENDIT_WARN, SENDIT_ERROR };
struct sendit_host {
    void *priv;
    const char *stage; /* the id of your entry in pipeline.json */
    uint32_t abi, reserved;
    /* `event` is a stable slug, "upload.done", `text` one sentence of up to 1,000 bytes.  Of a
     * thousand lines in a batch the rest is only counted.  [any] */
    void (*log)(const struct sendit_host *, int32_t level, const char *event, const char *text);
    /* Nonzero when you should come to an end: poll it in long loops.  [any] */
    int (*canceled)(const struct sendit_host *);
    /* Wall clock in milliseconds; tests set it.  [any] */
    int64_t (*now_ms)(const struct sendit_host *);
    /* What SENDIT_SERVICE() calls: a table, or NULL if your flags do not declare it.  [any] */
    const void *(*service)(const struct sendit_host *, const char *id, size_t size);
    /* Take back the PASS that you gave an item of this batch, until finish() returns: for a store
     * that learns late.  `verdict` is SENDIT_QUARANTINE, or SENDIT_RETRY, which has the next
     * attempt at the batch take it again.  Any other, the item in hand, or an id that did not come
     * in this attempt is misuse. */
    sendit_result (*hold)(const struct sendit_host *, const char *item_id, sendit_verdict verdict,
                          const char *code, const char *text);
};

#ifdef __cplusplus
}
#define SENDIT_C extern "C"
#else
#define SENDIT_C
#endif

#include "services.h"

/* ---- conveniences: no ABI from here on ---- */

/* const struct sendit_dicom *dicom = SENDIT_SERVICE(host, dicom); */
/* clang-format off */
#define SENDIT_SERVICE(host, what) \
    ((const struct sendit_##what *)(host)->service((host), "sendit." #what "/1", \
                                                   sizeof(struct sendit_##what)))

/* SENDIT_PLUGIN(.flags = SENDIT_READS, SENDIT_OPTIONS(options), .name = "mine", ...);  once, with
 * the members in the order of the struct.  C++ has such initializers from C++20 on: below that it
 * stands in a .c file, which names your extern "C" callbacks: sendit_item_fn mine_process; */
#define SENDIT_PLUGIN(...) \
    _Pragma("GCC diagnostic push") \
    _Pragma("GCC diagnostic ignored \"-Wmissing-field-initializers\"") \
    static const struct sendit_plugin sendit_plugin_ = { \
        .magic = SENDIT_MAGIC, .abi = SENDIT_ABI, .size = sizeof(struct sendit_plugin), \
        .option_size = sizeof(struct sendit_option), __VA_ARGS__}; \
    _Pragma("GCC diagnostic pop") \
    SENDIT_C __attribute__((visibility("default"))) sendit_entry_fn SENDIT_ENTRY; \
    const struct sendit_plugin *SENDIT_ENTRY(uint32_t abi) { return (void)abi, &sendit_plugin_; } \
    typedef int sendit_plugin_wants_semicolon
#define SENDIT_OPTIONS(array) .n_options = sizeof(array) / sizeof((array)[0]), .options = (array)
/* clang-format on */
#ifndef SENDIT_ENTRY
#define SENDIT_ENTRY sendit_stage /* define others to link several stages into one fuzzer */
#endif

/*
 * The verdict that a host function's result asks for, when you have no better one.
 *
 * EINVAL and EDENIED are the stage's mistake, and FAIL: the batch stops.  What is odd in an image
 * is ECORRUPT, and costs the image; but put() of a value that you took from one, or that its
 * character set lacks, is EINVAL: quarantine that yourself.  EABSENT is QUARANTINE, too:
 * where something may be absent, look at that first.
 */
static inline sendit_verdict sendit_verdict_of(sendit_result r)
{
    if (r == SENDIT_ENOMEM || r == SENDIT_EIO || r == SENDIT_ECANCELED)
        return SENDIT_RETRY;
    if (r == SENDIT_EINVAL || r == SENDIT_EDENIED)
        return SENDIT_FAIL;
    return r == SENDIT_OK ? SENDIT_PASS : SENDIT_QUARANTINE;
}

/* return sendit_because(why, SENDIT_RETRY, "gcs.busy", "status %d", status); */
__attribute__((format(printf, 4, 5))) static inline sendit_verdict
sendit_because(struct sendit_why *why, sendit_verdict verdict, const char *code, const char *text,
               ...)
{
    va_list ap;

    snprintf(why->code, sizeof(why->code), "%s", code);
    va_start(ap, text);
    vsnprintf(why->text, sizeof(why->text), text, ap);
    va_end(ap);
    return verdict;
}

#endif /* SENDIT_STAGE_H */
