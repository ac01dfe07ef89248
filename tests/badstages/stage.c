/* SPDX-License-Identifier: Apache-2.0 */
/* A stage that passes everything; what is wrong with a fixture is defined by its line in
 * CMakeLists.txt. */
#include "sendit/stage.h"

#ifndef BAD_MAGIC
#define BAD_MAGIC SENDIT_MAGIC
#endif
#ifndef BAD_ABI
#define BAD_ABI SENDIT_ABI
#endif
#ifndef BAD_SIZE
#define BAD_SIZE sizeof(struct sendit_plugin)
#endif
#ifndef BAD_FLAGS
#define BAD_FLAGS 0
#endif
#ifndef BAD_TYPE
#define BAD_TYPE SENDIT_OPT_STRING
#endif
#ifndef BAD_PROCESS
#define BAD_PROCESS pass
#endif
#ifndef BAD_OPEN
#define BAD_OPEN start
#endif
#ifndef BAD_GRANTS
#define BAD_GRANTS NULL
#endif
#ifndef BAD_VERSION
#define BAD_VERSION "1.0.0"
#endif
#ifndef BAD_ANSWER
#define BAD_ANSWER &plugin
#endif

struct sendit_stage_state {
    int unused;
};

__attribute__((unused)) static sendit_verdict
start(const struct sendit_host *host, struct sendit_stage_state **ret_self, struct sendit_why *why)
{
    static struct sendit_stage_state self;

    (void)host, (void)why;
    *ret_self = &self;
    return SENDIT_PASS;
}

__attribute__((unused)) static sendit_verdict
pass(struct sendit_stage_state *self, const struct sendit_item *item, struct sendit_why *why)
{
    (void)self, (void)item, (void)why;
    return SENDIT_PASS;
}

static void stop(struct sendit_stage_state *self)
{
    (void)self;
}

static const struct sendit_option options[] = {
    {.name = "word", .type = BAD_TYPE, .default_value = "x", .help = "A word."},
};

__attribute__((unused)) static const struct sendit_plugin plugin = {
    .magic = BAD_MAGIC,
    .abi = BAD_ABI,
    .size = BAD_SIZE,
    .option_size = sizeof(struct sendit_option),
    .flags = BAD_FLAGS,
    SENDIT_OPTIONS(options),
    .name = STAGE_NAME,
    .version = BAD_VERSION,
    .summary = "A fixture of the tests.",
    .grants = BAD_GRANTS,
    .open = BAD_OPEN,
    .process = BAD_PROCESS,
    .close = stop,
};

#ifdef BAD_EXPORT
__attribute__((visibility("default"))) int stray;
#endif

#ifdef BAD_SYMBOL
int missing_everywhere(void);
#endif

__attribute__((visibility("default"))) const struct sendit_plugin *ENTRY(uint32_t abi);
const struct sendit_plugin *ENTRY(uint32_t abi)
{
    (void)abi;
#ifdef BAD_SYMBOL
    if (missing_everywhere())
        return NULL;
#endif
    return BAD_ANSWER;
}
