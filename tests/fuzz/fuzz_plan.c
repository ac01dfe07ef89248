/* SPDX-License-Identifier: Apache-2.0 */
/* pipeline.json: any bytes, against one source and one store. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "plan/plan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static sendit_verdict open_nothing(const struct sendit_host *host,
                                   struct sendit_stage_state **ret_self, struct sendit_why *why)
{
    (void)host, (void)ret_self, (void)why;
    return SENDIT_FAIL;
}

static void close_nothing(struct sendit_stage_state *self)
{
    (void)self;
}

static const struct sendit_option options[] = {
    {"folders", SENDIT_OPT_PATH, SENDIT_OPT_MANY, NULL, NULL, "Where to look."},
    {"limit", SENDIT_OPT_INTEGER, 0, "5", "1..9", "A number."},
    {"size", SENDIT_OPT_SIZE, 0, "1MiB", "1KiB..", "A size."},
    {"wait", SENDIT_OPT_DURATION, 0, "1s", "..1h", "A time."},
    {"how", SENDIT_OPT_CHOICE, 0, "a", "a|b", "A choice."},
    {"url", SENDIT_OPT_URL, 0, NULL, NULL, "A URL."},
    {"secret", SENDIT_OPT_SECRET, 0, "file:$FUZZ_A file:$FUZZ_B/c", NULL, "A secret."},
    {"endpoint", SENDIT_OPT_URL, SENDIT_OPT_TEST, "https://a.example", "FUZZ_HOST", "A service."},
    {"any", SENDIT_OPT_JSON, 0, NULL, NULL, "Anything."},
};
static const struct sendit_plugin plugins[] = {
    {.magic = SENDIT_MAGIC,
     .abi = SENDIT_ABI,
     .size = sizeof(struct sendit_plugin),
     .option_size = sizeof(struct sendit_option),
     .flags = SENDIT_SOURCE | SENDIT_READS,
     SENDIT_OPTIONS(options),
     .name = "in",
     .version = "1.0.0",
     .summary = "in",
     .grants = "ids.replaced deid.header pixels.checked",
     .open = open_nothing,
     .close = close_nothing},
    {.magic = SENDIT_MAGIC,
     .abi = SENDIT_ABI,
     .size = sizeof(struct sendit_plugin),
     .option_size = sizeof(struct sendit_option),
     .flags = SENDIT_EGRESS | SENDIT_READS,
     SENDIT_OPTIONS(options),
     .name = "out",
     .version = "1.0.0",
     .summary = "out",
     .open = open_nothing,
     .close = close_nothing},
};

static int find(void *ctx, const char *name, const struct stage_file **ret_file, struct err *err)
{
    static char in[] = "/in.so", out[] = "/out.so";
    static const struct stage_file files[] = {
        {.plugin = &plugins[0], .path = in, .digest = "0", .ships = true},
        {.plugin = &plugins[1], .path = out, .digest = "1", .ships = true},
    };

    (void)ctx;
    for (size_t i = 0; i < 2; i++)
        if (!strcmp(files[i].plugin->name, name)) {
            *ret_file = &files[i];
            return 0;
        }
    return err_set(err, ERR_REFUSED, "no stage \"%s\"", name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct plan_request request = {.path = "pipeline.json"};
    struct plan *plan = NULL;
    struct err err = {0};
    char *text = malloc(size + 1);

    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    request.text = text;
    request.text_len = size;
    if (!plan_build(&request, find, NULL, &plan, &err))
        plan_free(plan);
    else if (!err.text[0] || strncmp(err.text, "pipeline.json", 13))
        abort(); /* refused without saying where */
    free(text);
    return 0;
}
