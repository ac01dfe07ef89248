/* SPDX-License-Identifier: Apache-2.0 */
/*
 * elsewhere: a service that tests may have answered by another server.  It asks nobody: it logs
 * where it would, and that it found its credentials.
 */
#include <sendit/stage.h>

#include <stdlib.h>

static const struct sendit_option options[] = {
    {"endpoint", SENDIT_OPT_URL, SENDIT_OPT_TEST, "https://service.example",
     "ELSEWHERE_EMULATOR_HOST", "Where the service is."},
    {"header", SENDIT_OPT_STRING, SENDIT_OPT_MANY | SENDIT_OPT_TEST, NULL, NULL,
     "Headers of every request."},
    {"mirrors", SENDIT_OPT_URL, SENDIT_OPT_MANY | SENDIT_OPT_TEST, NULL, NULL, "Others like it."},
    {"credentials", SENDIT_OPT_SECRET, 0,
     "file:$ELSEWHERE_CREDENTIALS file:$ELSEWHERE_HOME/credentials.json", NULL,
     "What it shows there."},
};

struct sendit_stage_state {
    const struct sendit_host *host;
};

static sendit_verdict start(const struct sendit_host *host, struct sendit_stage_state **ret_self,
                            struct sendit_why *why)
{
    struct sendit_stage_state *self = calloc(1, sizeof(*self));

    if (!self)
        return sendit_because(why, SENDIT_RETRY, "elsewhere.memory", "There is no memory.");
    self->host = host;
    *ret_self = self;
    return SENDIT_PASS;
}

static sendit_verdict begin(struct sendit_stage_state *self, const struct sendit_batch *batch,
                            struct sendit_why *why)
{
    const struct sendit_host *host = self->host;
    const struct sendit_config *config = SENDIT_SERVICE(host, config);
    const struct sendit_secrets *secrets = SENDIT_SERVICE(host, secrets);
    const char *value;
    sendit_result r = secrets->get(host, "credentials", &value);

    (void)batch;
    host->log(host, SENDIT_WARN, "elsewhere.leads", config->text(host, "endpoint"));
    if (r != SENDIT_OK && r != SENDIT_EABSENT)
        return sendit_because(why, SENDIT_FAIL, "elsewhere.credentials",
                              "The credentials cannot be used.");
    host->log(host, SENDIT_WARN, r == SENDIT_OK ? "elsewhere.known" : "elsewhere.nobody",
              "It looked for its credentials.");
    return SENDIT_PASS;
}

static sendit_verdict process(struct sendit_stage_state *self, const struct sendit_item *item,
                              struct sendit_why *why)
{
    (void)self, (void)item, (void)why;
    return SENDIT_PASS;
}

static void stop(struct sendit_stage_state *self)
{
    free(self);
}

SENDIT_PLUGIN(.flags = SENDIT_READS | SENDIT_NETWORK | SENDIT_SECRETS, SENDIT_OPTIONS(options),
              .name = "elsewhere", .version = "1.0.0",
              .summary = "A service that may be on this machine, for tests.", .open = start,
              .begin = begin, .process = process, .close = stop);
