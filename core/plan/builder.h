/* SPDX-License-Identifier: Apache-2.0 */
/*
 * builder.h - what the files of plan/ share while a plan is being built.  Nobody else includes it.
 */
#ifndef SENDIT_PLAN_BUILDER_H
#define SENDIT_PLAN_BUILDER_H

#include "plan/json_doc.h"
#include "plan/plan.h"

/* The first labels of each plan, in this order: bits 0 to 4. */
#define PLAN_OURS 0x1fu
enum { PLAN_PIXELS, PLAN_FILTERS, PLAN_IDS, PLAN_HEADER, PLAN_VERIFIED };

struct builder {
    const struct plan_request *request;
    plan_find_fn *find;
    void *find_ctx;
    struct json_doc doc;
    struct plan *plan;
    char *cwd;                                  /* absolute */
    struct json_node *entries[PLAN_MAX_STAGES]; /* of plan->stages */
    struct err *err;
};

/* One table of options: a stage's, or the core's own. */
struct option_scope {
    const char *id;                /* "run", or the id of the entry */
    const char *what;              /* "stage \"file-store\"", for messages */
    struct json_node *config;      /* NULL without */
    const struct json_node *place; /* where a missing option is missed */
    const struct sendit_option *options;
    size_t n_options;
    bool enabled;  /* else required options may be absent */
    bool source;   /* takes the folders of the command line */
    bool emulator; /* may lead to another server, for tests: variables count, too */
};
/* Fills `values`, n_options of them, zeroed before. */
int builder_values(struct builder *b, const struct option_scope *scope, struct plan_value *values);
void builder_free_values(struct plan_value *values, size_t n);
/* Each --set has STAGE.OPTION=VALUE with a known STAGE and OPTION. */
int builder_check_sets(struct builder *b);
/* The last --set of STAGE.OPTION, NULL without. */
const char *builder_set(const struct builder *b, const char *stage, const char *option);

/* Is this word under "allow" of the entry? */
bool builder_allows(const struct plan_stage *stage, const char *word);
/* Where a consent of entry `i` is missing: under "allow", or at the entry without one. */
const struct json_node *builder_allow_place(struct builder *b, size_t i);
/* Options that lead to another server need the consent "emulator", which is good for nothing else;
 * those of SENDIT_OPT_TEST lead to loopback. */
int builder_emulator(struct builder *b, size_t i);

/* Labels, policy, consent and order; the last thing before the plan is handed out. */
int builder_policy(struct builder *b, struct json_node *policy);
int builder_allow(struct builder *b, struct plan_stage *stage, struct json_node *allow);
/* One line of text, or NULL if the node is. */
int builder_because(struct builder *b, struct json_node *node, char **ret_because);
int builder_prove(struct builder *b);
/* Hold entries stand where something can rest, and go on. */
int builder_holds(struct builder *b);

int builder_no_memory(struct builder *b);
/* Text of a member, checked to be text and not empty. */
int builder_text(struct builder *b, struct json_node *node, const char **ret_text);
/* The first member that json_doc_get() did not ask for is an error; `known` ends with NULL. */
int builder_refuse_unknown(struct builder *b, struct json_node *object, const char *const *known);

#endif
