/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan.h - from pipeline.json to a checked plan: parsing, options, labels, policy and consent.
 *
 * plan_build() does no I/O but for the file itself and what `find` does to load a stage; every
 * error is "file:line:col: path: sentence", exit status 3.  A worker builds the plan again from
 * the same bytes and compares `digest`.
 */
#ifndef SENDIT_PLAN_PLAN_H
#define SENDIT_PLAN_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/err.h"
#include "load/load.h"
#include "sendit/stage.h"

#define PLAN_MAX_LABELS 64
#define PLAN_MAX_STAGES 64
#define PLAN_MAX_FILE (1u << 20) /* bytes of pipeline.json */
#define PLAN_MAX_NEST 32

/* An option with its value, checked and with its default; what config of services.h shows. */
struct plan_value {
    const struct sendit_option *option;
    bool given;     /* in pipeline.json, by --set or by FOLDER, not the default */
    char *text;     /* as text; PATH absolute; SECRET as "env:NAME" or "file:/PATH"; or NULL */
    int64_t number; /* INTEGER, DURATION (ms), SIZE (bytes), BOOLEAN, CHOICE (index) */
    char **list;    /* of a MANY, ended by NULL; never NULL for one */
    char *json;     /* as JSON, or NULL */
    const char *variable; /* of the environment, that it comes from in place of the default */
    unsigned line, col;   /* where it stands; 0 for a default */
};

struct plan_stage {
    char *id, *use;
    bool enabled;
    bool hold;                     /* the core's own: images rest here until resumed */
    const struct stage_file *file; /* NULL only for a disabled entry that cannot be loaded */
    const struct sendit_plugin *plugin;
    struct plan_value *values; /* plugin->n_options of them, in the table's order */
    char **allow;              /* as written, ended by NULL */
    char *because;             /* why it does less than it could; NULL without */
    bool egress;               /* EGRESS, or NETWORK without SENDS_PHI */
    uint64_t needs;            /* label masks: at process(), the policy's for egress included */
    uint64_t needs_at_finish;  /* those that earlier stages grant at finish */
    uint64_t grants, grants_at_finish;
    unsigned line, col; /* of the entry */
};

/* The core's own options, "run" in pipeline.json; ended by an entry without a name. */
extern const struct sendit_option plan_run_options[];
enum {
    PLAN_STAGE_TIMEOUT, /* 5m */
    PLAN_RETRY_FOR,     /* 1h */
    PLAN_WORKER_MEMORY, /* 1GiB */
    PLAN_MIN_FREE,      /* 1GiB */
    PLAN_MAX_INFLATE,   /* 256MiB */
    PLAN_WORKERS,       /* 0: as many as there are cores */
    PLAN_N_RUN
};

struct plan {
    char *path;   /* of pipeline.json as the user wrote it, for messages */
    char *folder; /* absolute, of pipeline.json */
    char *text;   /* its bytes */
    size_t text_len;
    char *state; /* absolute */
    bool dry;
    bool lowered;  /* the policy lacks a label of the core's default */
    char *because; /* why; NULL without */
    uint64_t egress_needs;
    char *labels[PLAN_MAX_LABELS]; /* bit number -> label */
    size_t n_labels;
    struct plan_value run[PLAN_N_RUN];
    struct plan_stage *stages; /* in order, disabled ones too */
    size_t n_stages;
    char digest[DIGEST_HEX]; /* of pipeline.json, overrides and the digests of the stages */
};

/* What pipeline.json is read with. */
struct plan_request {
    const char *path; /* of pipeline.json */
    const char *text; /* its bytes if they are known (a worker), else NULL: read it */
    size_t text_len;
    const char *const *sets; /* "STAGE.OPTION=VALUE"; relative paths as from the current folder */
    size_t n_sets;
    const char *const *folders; /* for the `folders` option of the source, in place of what stands
                                 * in pipeline.json; absolute or relative to the current folder */
    size_t n_folders;
    const char *state; /* --state, or NULL */
};

/* The name under "use" of the core's own entry, and what stands for its file. */
#define PLAN_HOLD "hold"
extern const struct stage_file plan_hold_file;

/* The default policy of the core: labels, ended by NULL. */
extern const char *const plan_default_policy[];

/* How the plan asks for a stage by name; loader_find() in sendit, a table in unit tests. */
typedef int plan_find_fn(void *ctx, const char *name, const struct stage_file **ret_file,
                         struct err *err);

/* What one stage alone is tried with: the object under "config" of an entry. */
struct plan_single {
    const struct stage_file *file;
    const char *path; /* of the text, for messages */
    const char *text; /* NULL: no option is given */
    size_t text_len;
    const char *folder; /* relative paths are taken from here; absolute */
};
/* A plan of one stage, as `sendit test-stage` needs it: options are judged as in a pipeline; order,
 * policy and consent are not asked. */
int plan_single(const struct plan_single *single, struct plan **ret_plan, struct err *err);

int plan_build(const struct plan_request *request, plan_find_fn *find, void *ctx,
               struct plan **ret_plan, struct err *err);
void plan_free(struct plan *plan);

/* The value of an option by name, NULL if the stage has none of that name. */
const struct plan_value *plan_value(const struct plan_stage *stage, const char *name);
/* What is odd about it and no reason to refuse it: "FILE:LINE:COL: sentence" each. */
typedef void plan_warn_fn(void *ctx, const char *sentence);
void plan_warn(const struct plan *plan, plan_warn_fn *each, void *ctx);
/* The enabled source, NULL if there is none. */
const struct plan_stage *plan_source(const struct plan *plan);
/* The hold entry of that id, enabled or not; NULL if there is none. */
const struct plan_stage *plan_hold(const struct plan *plan, const char *id);
/* The first enabled one behind `after` (NULL: of all); NULL if there is none. */
const struct plan_stage *plan_next_hold(const struct plan *plan, const struct plan_stage *after);
/* The words of a label list as a mask; unknown labels are added.  -1: more than PLAN_MAX_LABELS. */
int plan_labels(struct plan *plan, const char *words, uint64_t *ret_mask);
/* "ids.replaced deid.header" of a mask, in bit order; the caller frees it. */
char *plan_label_text(const struct plan *plan, uint64_t mask);
/* The labels of an item that had `labels` when the stage passed it; `edited` says that it changed
 * the item. */
uint64_t plan_labels_after(const struct plan_stage *stage, uint64_t labels, bool edited);
/* Does this option lead to another place than the stage says, for a test and with the site's
 * consent?  All others that are so are refused. */
bool plan_is_diverted(const struct plan_value *value);
/* The flag's word under "allow" ("network"), NULL if it needs no consent. */
const char *plan_consent_word(uint32_t flag);

#endif
