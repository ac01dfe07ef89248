/* SPDX-License-Identifier: Apache-2.0 */
/* pipeline.json: what a plan is made of, and the sentence for everything that is none. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "plan/plan.h"

/* ---- stages, as a table ---- */

static sendit_verdict open_none(const struct sendit_host *host, struct sendit_stage_state **self,
                                struct sendit_why *why)
{
    (void)host, (void)self, (void)why;
    return SENDIT_FAIL;
}

static void close_none(struct sendit_stage_state *self)
{
    (void)self;
}

static sendit_verdict settle_none(struct sendit_stage_state *self,
                                  const struct sendit_settle *settle, struct sendit_why *why)
{
    (void)self, (void)settle, (void)why;
    return SENDIT_FAIL;
}

static const struct sendit_option source_options[] = {
    {.name = "folders", .type = SENDIT_OPT_PATH, .flags = SENDIT_OPT_MANY, .help = "Where."},
    {.name = "recursive", .type = SENDIT_OPT_BOOLEAN, .default_value = "true", .help = "Deep."},
};
static const struct sendit_option store_options[] = {
    {.name = "folder", .type = SENDIT_OPT_PATH, .flags = SENDIT_OPT_REQUIRED, .help = "Where to."},
    {.name = "on_conflict",
     .type = SENDIT_OPT_CHOICE,
     .default_value = "quarantine",
     .limit = "quarantine|replace|keep",
     .help = "What then."},
    {.name = "tries",
     .type = SENDIT_OPT_INTEGER,
     .default_value = "3",
     .limit = "1..9",
     .help = "How often."},
    {.name = "wait", .type = SENDIT_OPT_DURATION, .limit = "1s..1h", .help = "How long."},
    {.name = "block", .type = SENDIT_OPT_SIZE, .default_value = "1MiB", .help = "How much."},
    {.name = "words",
     .type = SENDIT_OPT_STRING,
     .flags = SENDIT_OPT_MANY,
     .default_value = "a b",
     .help = "Words."},
    {.name = "any", .type = SENDIT_OPT_JSON, .help = "Anything."},
    {.name = "url", .type = SENDIT_OPT_URL, .help = "A URL."},
    {.name = "token", .type = SENDIT_OPT_SECRET, .help = "A secret."},
};

static const struct sendit_option service_options[] = {
    {.name = "endpoint",
     .type = SENDIT_OPT_URL,
     .default_value = "https://storage.example",
     .help = "Where the service is."},
    {.name = "others",
     .type = SENDIT_OPT_URL,
     .flags = SENDIT_OPT_MANY,
     .default_value = "https://one.example https://two.example",
     .help = "Where others are."},
    {.name = "local",
     .type = SENDIT_OPT_URL,
     .default_value = "http://localhost:8080",
     .help = "What is on this machine."},
    {.name = "url", .type = SENDIT_OPT_URL, .help = "Any."},
};
/* Of a stage that tests may lead elsewhere. */
static const struct sendit_option cloud_options[] = {
    {.name = "endpoint",
     .type = SENDIT_OPT_URL,
     .flags = SENDIT_OPT_TEST,
     .default_value = "https://cloud.example",
     .limit = "TEST_PLAN_EMULATOR_HOST",
     .help = "Where it is."},
    {.name = "login",
     .type = SENDIT_OPT_URL,
     .flags = SENDIT_OPT_TEST,
     .default_value = "https://login.example/token",
     .help = "Where to log in."},
    {.name = "mirrors",
     .type = SENDIT_OPT_URL,
     .flags = SENDIT_OPT_MANY | SENDIT_OPT_TEST,
     .help = "Others."},
    {.name = "header",
     .type = SENDIT_OPT_STRING,
     .flags = SENDIT_OPT_MANY | SENDIT_OPT_TEST,
     .help = "Headers."},
    {.name = "bucket", .type = SENDIT_OPT_STRING, .help = "Which."},
    {.name = "credentials",
     .type = SENDIT_OPT_SECRET,
     .default_value = "file:$A_PLAN file:key.json file:$B_PLAN/below env:C_PLAN",
     .help = "Who."},
};

static const struct sendit_option study_options[] = {
    {.name = "study", .type = SENDIT_OPT_STRING, .help = "Which."},
};
static const struct sendit_option collection_options[] = {
    {.name = "collection", .type = SENDIT_OPT_STRING, .help = "Which."},
};

#define STAGE(n, ...)                                                                              \
    {                                                                                              \
        .magic = SENDIT_MAGIC, .abi = SENDIT_ABI, .size = sizeof(struct sendit_plugin),            \
        .option_size = sizeof(struct sendit_option), .name = n, .version = "1.0.0", .summary = n,  \
        .open = open_none, .close = close_none, .flags = __VA_ARGS__                               \
    }
#define N(a) .n_options = sizeof(a) / sizeof((a)[0]), .options = (a)

static const struct sendit_plugin plugins[] = {
    STAGE("importer", SENDIT_SOURCE, N(source_options)),
    STAGE("pixel-check", SENDIT_READS, .grants = "pixels.checked filters.passed"), /* for short */
    STAGE("deid-filter", SENDIT_READS, .grants = "filters.passed"),
    STAGE("local-anonymizer", SENDIT_MUTATES | SENDIT_IDENTIFIERS,
          .grants = "ids.replaced deid.header"),
    STAGE("restful-anonymizer", SENDIT_MUTATES | SENDIT_NETWORK | SENDIT_SENDS_PHI | SENDIT_SECRETS,
          N(study_options), .grants = "ids.replaced deid.header"),
    STAGE("service", SENDIT_READS, N(service_options)),
    STAGE("cloud", SENDIT_READS, N(cloud_options)),
    STAGE("verifier", SENDIT_ORIGINALS, .grants = "deid.verified"),
    STAGE("reidentifier", SENDIT_REIDENTIFIES),
    STAGE("file-store", SENDIT_EGRESS, N(store_options), .grants_at_finish = "store.stored"),
    STAGE("gcs-store", SENDIT_EGRESS | SENDIT_NETWORK | SENDIT_SECRETS, N(collection_options)),
    STAGE("telemetry", SENDIT_NETWORK),
    STAGE("bigquery-store", SENDIT_READS, .needs = "store.stored", .after = "store.stored"),
    STAGE("needs-site", SENDIT_READS, .needs = "site.seen"),
    STAGE("sees", SENDIT_READS, .grants = "site.seen", .before = "file-store"),
    STAGE("late", SENDIT_READS, .after = "file-store"),
    STAGE("native-one", SENDIT_NATIVE),
    STAGE("grants-late", SENDIT_READS, .grants_at_finish = "deid.header"),
    STAGE("verifies-late", SENDIT_READS, .grants_at_finish = "deid.verified"),
    STAGE("swaps", SENDIT_REIDENTIFIES, .grants = "deid.header",
          .grants_at_finish = "deid.verified"),
    STAGE("second-source", SENDIT_SOURCE),
    STAGE("touches", SENDIT_MUTATES),
    STAGE("needs-verified", SENDIT_READS, .needs = "deid.verified"),
    STAGE("settles", SENDIT_READS, .settle = settle_none),
};

static bool foreign; /* the stages come from a site's folder, also those with names of ours */

static int find(void *ctx, const char *name, const struct stage_file **ret_file, struct err *err)
{
    static struct stage_file files[sizeof(plugins) / sizeof(plugins[0])];
    static char path[] = "/plugins.d/x.so";

    (void)ctx;
    for (size_t i = 0; i < sizeof(plugins) / sizeof(plugins[0]); i++)
        if (!strcmp(plugins[i].name, name)) {
            files[i] = (struct stage_file){
                .plugin = &plugins[i], .path = path, .digest = "d", .ships = !foreign};
            *ret_file = &files[i];
            return 0;
        }
    return err_set(err, ERR_REFUSED, "there is no stage \"%s\" in /plugins.d", name);
}

/* ---- building ---- */

static struct plan_request request;
static struct err err;

/* Single quotes stand for double ones, in sentences ` for a single one. */
static struct plan *build(const char *text)
{
    static char copy[1 << 20];
    struct plan *plan = NULL;
    size_t n = strlen(text);

    assert_true(n < sizeof(copy));
    for (size_t i = 0; i <= n; i++)
        copy[i] = (char)(text[i] == '\'' ? '"' : text[i]);
    request.path = "pipeline.json";
    request.text = copy;
    request.text_len = n;
    err = (struct err){0};
    if (plan_build(&request, find, NULL, &plan, &err)) {
        assert_null(plan);
        return NULL;
    }
    assert_string_equal(err.text, "");
    return plan;
}

static struct plan *must_build(const char *text)
{
    struct plan *plan = build(text);

    if (!plan)
        fail_msg("%s", err.text);
    return plan;
}

static void refused_with(const char *text, int code, const char *sentence)
{
    char expected[sizeof(err.text)];
    struct plan *plan = build(text);

    plan_free(plan);
    assert_null(plan);
    for (size_t i = 0; i <= strlen(sentence); i++)
        expected[i] = (char)(sentence[i] == '\'' ? '"' : sentence[i] == '`' ? '\'' : sentence[i]);
    assert_string_equal(err.text, expected);
    assert_int_equal(err.code, code);
}

static void refused(const char *text, const char *sentence)
{
    refused_with(text, ERR_REFUSED, sentence);
}

/* ---- pieces ---- */

#define IMPORTER "{'use':'importer'}"
#define CHECK "{'use':'pixel-check'}"
#define ANONYMIZER "{'use':'local-anonymizer'}"
#define STORE "{'use':'file-store','config':{'folder':'clean'}}"
#define STAGES(...) "{'stages':[" __VA_ARGS__ "]}"
#define DRY(...) "{'dry':true,'stages':[" __VA_ARGS__ "]}"
#define WHOLE STAGES(IMPORTER "," CHECK "," ANONYMIZER "," STORE)

struct refusal_case {
    const char *text, *sentence; /* behind "pipeline.json:" */
};

static void all_refused(const struct refusal_case *cases, size_t n)
{
    char sentence[sizeof(err.text)];

    for (size_t i = 0; i < n; i++) {
        snprintf(sentence, sizeof(sentence), "pipeline.json:%s", cases[i].sentence);
        refused(cases[i].text, sentence);
    }
}
#define ALL_REFUSED(cases) all_refused(cases, sizeof(cases) / sizeof((cases)[0]))

/* ---- the file ---- */

static void what_is_no_json(void **state)
{
    static const struct refusal_case cases[] = {
        {"", "1:1: the file ends too early"},
        {"\n ", "2:2: the file ends too early"},
        {"{", "1:2: a name between ' and ' was expected here"},
        {"{a:1}", "1:2: a name between ' and ' was expected here"},
        {"{// c\n}", "1:2: a name between ' and ' was expected here"},
        {"# c", "1:1: JSON has no comments"},
        {"[1,//\n2]", "1:4: [1]: JSON has no comments"},
        {"{}x", "1:3: nothing may follow here"},
        {"{'state':1}\n\n  x", "3:3: nothing may follow here"},
        {"{'a':1,}", "1:8: a comma after the last member is one too many"},
        {"[1,]", "1:4: a comma after the last element is one too many"},
        {"{'a' 1}", "1:6: a: a colon was expected here"},
        {"{'a':}", "1:6: a: a value was expected here"},
        {"{'a':1 'b':2}", "1:8: a comma or } was expected here"},
        {"[1 2]", "1:4: a comma or ] was expected here"},
        {"{'a':tru}", "1:6: a: a value was expected here"},
        {"nul", "1:1: a value was expected here"},
        {"{'a':NaN}", "1:6: a: a value was expected here"},
        {"{'a':01}", "1:6: a: this is not a number as JSON writes it"},
        {"{'a':+1}", "1:6: a: a value was expected here"},
        {"{'a':1.}", "1:6: a: this is not a number as JSON writes it"},
        {"{'a':.5}", "1:6: a: a value was expected here"},
        {"{'a':1e}", "1:6: a: this is not a number as JSON writes it"},
        {"{'a':1e400}", "1:6: a: this number is too large"},
        {"{'a':-1e400}", "1:6: a: this number is too large"},
        {"{'a':12345678901234567890}", "1:6: a: this number is too large"},
        {"{'a':1000000000000000000000000000000000000000000000000000000000000000}",
         "1:6: a: this number is too long"},
        {"{'state':'a\n'}", "1:12: state: text ends on the line where it begins; write \\n"},
        {"{'state':'a\tb'}", "1:12: state: a control character must be written as \\u00XX"},
        {"{'state':'a", "1:10: state: this text has no closing '"},
        {"{'state':'\\x'}", "1:11: state: after a backslash comes one of ' \\ / b f n r t u"},
        {"{'state':'\\u12g4'}", "1:11: state: after \\u come four hexadecimal digits"},
        {"{'state':'\\ud800'}", "1:11: state: half a surrogate pair is no character"},
        {"{'state':'\\udc00'}", "1:11: state: half a surrogate pair is no character"},
        {"{'state':'a\\u0000b'}", "1:12: state: a NUL has no place here"},
        {"{'state':'\xff'}", "1:11: state: this is not UTF-8"},
        {"{'state':'\xed\xa0\x80'}", "1:11: state: this is not UTF-8"},
        {"\xef\xbb\xbf{}",
         "1:1: the file begins with a byte order mark; save it as UTF-8 without one"},
        {"{'state':'a','state':'b'}",
         "1:14: state: this name stands twice in one object; the first is on line 1"},
        {"{'\\u0073tate':'a',\n'state':'b'}",
         "2:1: state: this name stands twice in one object; the first is on line 1"},
    };

    (void)state;
    ALL_REFUSED(cases);
}

static void columns_count_characters(void **state)
{
    (void)state;
    refused("{'stat\xc3\xa9':1, 'x':2}",
            "pipeline.json:1:2: stat\xc3\xa9: there is no such key; did you mean "
            "'state'?");
    refused("{'state':'\xc3\xbc\xe6\xbc\xa2', 'x':2}",
            "pipeline.json:1:16: x: there is no such key");
}

static void nul_bytes_and_sizes_are_bounded(void **state)
{
    static char text[PLAN_MAX_FILE + 2];
    struct plan *plan = NULL;

    (void)state;
    request.path = "pipeline.json";
    request.text = memcpy(text, "{\"state\":\"a\0b\"}", 15);
    request.text_len = 15;
    assert_int_equal(plan_build(&request, find, NULL, &plan, &err), -1);
    assert_string_equal(err.text, "pipeline.json:1:12: state: a NUL has no place here");
    request.text = memcpy(text, "{}\0", 3);
    request.text_len = 3;
    assert_int_equal(plan_build(&request, find, NULL, &plan, &err), -1);
    assert_string_equal(err.text, "pipeline.json:1:3: nothing may follow here");
    memset(text, ' ', sizeof(text));
    request.text = text;
    request.text_len = PLAN_MAX_FILE + 1;
    assert_int_equal(plan_build(&request, find, NULL, &plan, &err), -1);
    assert_string_equal(err.text, "pipeline.json: it has more than 1048576 bytes");
    request.text = NULL;
    request.path = "/nowhere/pipeline.json";
    assert_int_equal(plan_build(&request, find, NULL, &plan, &err), -1);
    assert_string_equal(err.text,
                        "/nowhere/pipeline.json: it cannot be read: No such file or directory");
    request.path = "/tmp";
    assert_int_equal(plan_build(&request, find, NULL, &plan, &err), -1);
    assert_string_equal(err.text, "/tmp: it cannot be read: Is a directory");
    assert_null(plan);
}

static void nesting_is_bounded(void **state)
{
    static char text[20100];

    (void)state;
    for (int depth = 31; depth <= 10000; depth = depth < 34 ? depth + 1 : depth * 10) {
        /* three more are around it: the root, the array, and the entry */
        size_t n = (size_t)sprintf(text, "{'x':[{'any':");

        memset(text + n, '[', (size_t)depth);
        memset(text + n + depth, ']', (size_t)depth);
        strcpy(text + n + 2 * depth, "}]}");
        assert_null(build(text));
        if (depth + 3 <= PLAN_MAX_NEST)
            assert_null(strstr(err.text, "nested"));
        else
            assert_non_null(strstr(err.text, ": this is nested too deeply"));
    }
    text[0] = '\0';
    memset(text, '[', PLAN_MAX_NEST);
    memset(text + PLAN_MAX_NEST, ']', PLAN_MAX_NEST);
    text[2 * PLAN_MAX_NEST] = '\0';
    refused(text, "pipeline.json:1:1: an object was expected, this is an array");
    memset(text, '[', PLAN_MAX_NEST + 1);
    text[PLAN_MAX_NEST + 1] = '\0';
    assert_null(build(text));
    assert_non_null(strstr(err.text, ":1:33: "));
    assert_non_null(strstr(err.text, ": this is nested too deeply"));
}

/* ---- shapes ---- */

static void what_has_the_wrong_shape(void **state)
{
    static const struct refusal_case cases[] = {
        {"[]", "1:1: an object was expected, this is an array"},
        {"null", "1:1: an object was expected, this is null"},
        {"{}", "1:1: a pipeline has 'stages', an array of entries"},
        {"{'stats':'x'}", "1:2: stats: there is no such key; did you mean 'state'?"},
        {"{'state':''}", "1:10: state: this is empty"},
        {"{'state':1}", "1:10: state: text was expected, this is a whole number"},
        {"{'dry':1}", "1:8: dry: true or false was expected, this is a whole number"},
        {"{'dry':'true'}", "1:8: dry: true or false was expected, this is text"},
        {"{'$schema':1}", "1:12: $schema: text was expected, this is a whole number"},
        {"{'stages':{}}", "1:11: stages: an array of entries was expected, this is an object"},
        {"{'stages':[]}", "1:11: stages: 1 to 64 entries were expected, here are 0"},
        {STAGES("1"), "1:12: stages[0]: an object was expected, this is a whole number"},
        {STAGES("{}"), "1:12: stages[0]: an entry names its stage: 'use': 'importer'"},
        {STAGES("{'use':1}"), "1:19: stages[0].use: text was expected, this is a whole number"},
        {STAGES("{'use':''}"), "1:19: stages[0].use: this is empty"},
        {STAGES("{'use':'../x'}"),
         "1:19: stages[0].use: a stage is called by its name, [a-z][a-z0-9-]*, never by a path"},
        {STAGES("{'use':'/a/b.so'}"),
         "1:19: stages[0].use: a stage is called by its name, [a-z][a-z0-9-]*, never by a path"},
        {STAGES("{'use':'nothing'}"),
         "1:19: stages[0].use: there is no stage 'nothing' in /plugins.d"},
        {STAGES("{'use':'importer','id':'Nope'}"),
         "1:35: stages[0].id: a name of [a-z][a-z0-9-]* was expected"},
        {STAGES("{'use':'importer','id':7}"),
         "1:35: stages[0].id: text was expected, this is a whole number"},
        {STAGES("{'use':'importer','id':'run'}"),
         "1:35: stages[0].id: 'run' is the core`s own name; give the entry another 'id'"},
        {STAGES(IMPORTER ",\n" IMPORTER),
         "2:8: stages[1].use: two entries are called 'importer', the first on line 1; give each an "
         "'id' of its own"},
        {STAGES(IMPORTER ",{'use':'pixel-check','id':'importer'}"),
         "1:57: stages[1].id: two entries are called 'importer', the first on line 1; give each an "
         "'id' of its own"},
        {STAGES("{'use':'importer','enabled':1}"),
         "1:40: stages[0].enabled: true or false was expected, this is a whole number"},
        {STAGES("{'use':'importer','enable':true}"),
         "1:30: stages[0].enable: there is no such key; did you mean 'enabled'?"},
        {STAGES("{'use':'importer','path':'x.so'}"), "1:30: stages[0].path: there is no such key"},
        {STAGES("{'use':'importer','config':[]}"),
         "1:39: stages[0].config: an object was expected, this is an array"},
        {"{'run':[],'stages':[" IMPORTER "," CHECK "," ANONYMIZER "," STORE "]}",
         "1:8: run: an object was expected, this is an array"},
        {"{'run':{'retry_fro':'1h'},'stages':[" IMPORTER "]}",
         "1:9: run.retry_fro: 'run' has no such option; did you mean 'retry_for'?"},
        {"{'run':{'retry_for':'1y'},'stages':[" IMPORTER "]}",
         "1:21: run.retry_for: a duration such as '90s' (ms, s, m, h, d) was expected"},
        {"{'run':{'max_inflate':'3GiB'},'stages':[" IMPORTER "]}",
         "1:23: run.max_inflate: 3GiB is outside 1MiB..2GiB"},
    };

    (void)state;
    ALL_REFUSED(cases);
}

#define WITH(option) STAGES(IMPORTER ",{'use':'file-store','config':{'folder':'x'," option "}}")

static void options_that_do_not_fit_their_table(void **state)
{
    static const struct refusal_case cases[] = {
        {STAGES("{'use':'importer','config':{'folder':['x']}}"),
         "1:40: stages[0].config.folder: stage 'importer' has no such option; did you mean "
         "'folders'?"},
        {STAGES("{'use':'importer','config':{'folders':'x'}}"),
         "1:50: stages[0].config.folders: an array was expected, this is text; put it between [ "
         "and ]"},
        {STAGES("{'use':'importer','config':{'folders':['']}}"),
         "1:51: stages[0].config.folders[0]: a path was expected, this is empty"},
        {STAGES(IMPORTER ",{'use':'file-store'}"),
         "1:31: stages[1]: stage 'file-store' needs the option 'folder': Where to."},
        {STAGES(IMPORTER ",{'use':'file-store','id':'out','config':{'any':1}}"),
         "1:71: stages[1].config: stage 'out' needs the option 'folder': Where to."},
        {WITH("'on_conflict':'kep'"),
         "1:88: stages[1].config.on_conflict: one of quarantine|replace|keep was expected; did you "
         "mean 'keep'?"},
        {WITH("'on_conflict':true"),
         "1:88: stages[1].config.on_conflict: text was expected, this is true or false"},
        {WITH("'tries':10"), "1:82: stages[1].config.tries: 10 is outside 1..9"},
        {WITH("'tries':1.5"),
         "1:82: stages[1].config.tries: a whole number was expected, this is a number with a "
         "fraction"},
        {WITH("'tries':'1'"),
         "1:82: stages[1].config.tries: a whole number was expected, this is text"},
        {WITH("'tries':null"),
         "1:82: stages[1].config.tries: a whole number was expected, this is null"},
        {WITH("'wait':90"),
         "1:81: stages[1].config.wait: a duration such as '90s' was expected, this is a whole "
         "number"},
        {WITH("'wait':'2h'"), "1:81: stages[1].config.wait: 2h is outside 1s..1h"},
        {WITH("'block':'8MB'"),
         "1:82: stages[1].config.block: a size such as '8MiB' (B, KiB, MiB, GiB) was expected"},
        {WITH("'words':['a',1]"),
         "1:87: stages[1].config.words[1]: text was expected, this is a whole number"},
        {WITH("'url':'ftp://x'"),
         "1:80: stages[1].config.url: a URL such as 'https://host.example/path' was expected"},
        {WITH("'token':'swordfish'"),
         "1:82: stages[1].config.token: a secret never stands here itself: write 'env:NAME' or "
         "'file:PATH'"},
    };

    (void)state;
    ALL_REFUSED(cases);
}

/* ---- policy and consent ---- */

static void policies_that_are_none(void **state)
{
    static const struct refusal_case cases[] = {
        {"{'policy':1}", "1:11: policy: an object was expected, this is a whole number"},
        {"{'policy':{'egres_needs':[]}}",
         "1:12: policy.egres_needs: there is no such key; did you mean 'egress_needs'?"},
        {"{'policy':{'egress_needs':1}}",
         "1:27: policy.egress_needs: an array of labels was expected, this is a whole number"},
        {"{'policy':{'egress_needs':[1]}}",
         "1:28: policy.egress_needs[0]: text was expected, this is a whole number"},
        {"{'policy':{'egress_needs':['x']}}",
         "1:28: policy.egress_needs[0]: a label such as 'deid.header' was expected"},
        {"{'policy':{'egress_needs':['deid.heade']}}",
         "1:28: policy.egress_needs[0]: no stage of ours knows this label; did you mean "
         "'deid.header'?"},
        {"{'policy':{'egress_needs':['deid.header','deid.header']}}",
         "1:42: policy.egress_needs[1]: this label stands here twice"},
        {"{'policy':{'egress_needs':[]}}",
         "1:27: policy.egress_needs: the policy lacks pixels.checked filters.passed ids.replaced "
         "deid.header, "
         "which the core asks for; write why under policy.because"},
        {"{'policy':{'egress_needs':['pixels.checked','ids.replaced','filters.passed']}}",
         "1:27: policy.egress_needs: the policy lacks deid.header, which the core asks for; write "
         "why under policy.because"},
        {"{'policy':{'because':' '}}",
         "1:22: policy.because: a reason was expected, this is blank"},
        {"{'policy':{'because':'a\\nb'}}", "1:22: policy.because: a reason is one line of text"},
    };

    (void)state;
    ALL_REFUSED(cases);
}

static void an_entry_says_why(void **state)
{
    static const struct refusal_case cases[] = {
        {STAGES(IMPORTER ",{'use':'pixel-check','because':' '}"),
         "1:62: stages[1].because: a reason was expected, this is blank"},
        {STAGES(IMPORTER ",{'use':'pixel-check','because':1}"),
         "1:62: stages[1].because: text was expected, this is a whole number"},
    };
    struct plan *plan = must_build(STAGES(
        IMPORTER "," CHECK ",{'use':'local-anonymizer','because':'the trial reads it'}," STORE));

    (void)state;
    assert_string_equal(plan->stages[2].because, "the trial reads it");
    assert_null(plan->stages[1].because);
    plan_free(plan);
    ALL_REFUSED(cases);
}

static void a_lowered_policy_says_why(void **state)
{
    struct plan *plan = must_build(
        "{'policy':{'egress_needs':['ids.replaced'],'because':'a test'},'stages':[" IMPORTER
        "," ANONYMIZER "," STORE "]}");

    (void)state;
    assert_true(plan->lowered);
    assert_string_equal(plan->because, "a test");
    plan_free(plan);
    plan = must_build(WHOLE);
    assert_false(plan->lowered);
    assert_null(plan->because);
    plan_free(plan);
}

static void consent_is_asked_for(void **state)
{
    static const struct refusal_case cases[] = {
        {STAGES("{'use':'importer','allow':'network'}"),
         "1:38: stages[0].allow: an array of words was expected, this is text"},
        {STAGES("{'use':'importer','allow':['netwrk']}"),
         "1:39: stages[0].allow[0]: there is no such consent; did you mean 'network'?"},
        {STAGES("{'use':'importer','allow':['network','network']}"),
         "1:49: stages[0].allow[1]: this consent stands here twice"},
        {STAGES("{'use':'importer','allow':['grant:x']}"),
         "1:39: stages[0].allow[0]: after grant: comes a label such as 'deid.header'"},
        {DRY(IMPORTER ",{'use':'restful-anonymizer'}"),
         "1:42: stages[1]: stage 'restful-anonymizer' talks to the network; if it may, add "
         "'network' to its 'allow'"},
        {DRY(IMPORTER ",{'use':'restful-anonymizer','allow':['network','secrets']}"),
         "1:78: stages[1].allow: stage 'restful-anonymizer' sends identified values out; if it "
         "may, add 'sends-phi' to its 'allow'"},
        {DRY(IMPORTER ",{'use':'restful-anonymizer','allow':['network','sends-phi']}"),
         "1:78: stages[1].allow: stage 'restful-anonymizer' sees the values behind its secrets; if "
         "it may, add 'secrets' to its 'allow'"},
        {DRY(IMPORTER ",{'use':'verifier'}"),
         "1:42: stages[1]: stage 'verifier' sees identifying values from before any edit; if it "
         "may, add 'originals' to its 'allow'"},
        {DRY(IMPORTER ",{'use':'reidentifier'}"),
         "1:42: stages[1]: stage 'reidentifier' makes images identified again; if it may, add "
         "'reidentifies' to its 'allow'"},
        {DRY(IMPORTER ",{'use':'native-one'}"),
         "1:42: stages[1]: stage 'native-one' goes past the host`s checks with its own C++; if it "
         "may, add 'native' to its 'allow'"},
    };

    (void)state;
    ALL_REFUSED(cases);
    /* a disabled entry needs none */
    plan_free(must_build(STAGES(IMPORTER "," CHECK "," ANONYMIZER ","
                                         "{'use':'restful-anonymizer','enabled':false}," STORE)));
    /* and all words are known */
    plan_free(
        must_build(DRY(IMPORTER ",{'use':'pixel-check','allow':['network','sends-phi','secrets',"
                                "'native','originals','reidentifies','grant:a.b']}")));
    plan_free(must_build(DRY(IMPORTER ",{'use':'service','allow':['emulator']}")));
}

#define SERVICE(config) DRY(IMPORTER ",{'use':'service','config':{" config "}}")
#define DIVERTED(option)                                                                           \
    "1:42: stages[1]: '" option "' of stage 'service' leads to this machine, not to the service; " \
    "if that is for a test, add 'emulator' to its 'allow'"

static void a_service_on_this_machine_needs_consent(void **state)
{
    static const struct refusal_case cases[] = {
        {SERVICE("'endpoint':'http://127.0.0.1:9000'"), DIVERTED("endpoint")},
        {SERVICE("'endpoint':'http://LOCALHOST/x'"), DIVERTED("endpoint")},
        {SERVICE("'endpoint':'https://localhost'"), DIVERTED("endpoint")},
        {SERVICE("'endpoint':'http://[::1]:1/'"), DIVERTED("endpoint")},
        {SERVICE("'others':['https://one.example','http://127.9.9.9']"), DIVERTED("others")},
        {DRY(IMPORTER ",{'use':'service','config':{'endpoint':'http://localhost'},"
                      "'allow':['network']}"),
         "1:108: stages[1].allow: 'endpoint' of stage 'service' leads to this machine, not to the "
         "service; if that is for a test, add 'emulator' to its 'allow'"},
    };
    static const char *const fine[] = {
        SERVICE("'endpoint':'https://localhost.example'"),
        SERVICE("'local':'http://127.0.0.1:1'"),
        SERVICE("'url':'http://localhost:1'"),
        SERVICE(""),
        DRY(IMPORTER ",{'use':'service','config':{'endpoint':'http://localhost','others':"
                     "['http://[::1]']},'allow':['emulator']}"),
        DRY(IMPORTER ",{'use':'service','enabled':false,"
                     "'config':{'endpoint':'http://localhost'}}"),
    };

    (void)state;
    ALL_REFUSED(cases);
    for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++)
        plan_free(must_build(fine[i]));
}

#define CLOUD(config, allow)                                                                       \
    DRY(IMPORTER ",{'use':'cloud','allow':[" allow "],'config':{" config "}}")
#define NEEDS_CONSENT                                                                              \
    " of stage 'cloud' is for tests against another server; if this is one, add 'emulator' to "    \
    "its 'allow', else drop it"
#define LEADS_OUT                                                                                  \
    " of stage 'cloud' is for tests and leads to this machine only; name localhost, 127.0.0.1 or " \
    "[::1], or drop it for the service itself"

static void options_for_tests_need_consent(void **state)
{
    static const struct refusal_case cases[] = {
        {CLOUD("'endpoint':'http://127.0.0.1:1'", ""),
         "1:89: stages[1].config.endpoint: 'endpoint'" NEEDS_CONSENT},
        {CLOUD("'endpoint':'https://cloud.example'", ""),
         "1:89: stages[1].config.endpoint: 'endpoint'" NEEDS_CONSENT},
        {CLOUD("'login':'http://[::1]:1'", "'network'"),
         "1:95: stages[1].config.login: 'login'" NEEDS_CONSENT},
        {CLOUD("'mirrors':[]", ""), "1:88: stages[1].config.mirrors: 'mirrors'" NEEDS_CONSENT},
        {CLOUD("'header':['x: y']", ""), "1:87: stages[1].config.header: 'header'" NEEDS_CONSENT},
    };

    (void)state;
    ALL_REFUSED(cases);
    plan_free(must_build(CLOUD("'bucket':'b'", "")));
    plan_free(must_build(CLOUD("'header':['x: y']", "'emulator'")));
    plan_free(must_build(DRY(IMPORTER ",{'use':'cloud','enabled':false,"
                                      "'config':{'endpoint':'http://127.0.0.1:1'}}")));
}

static void options_for_tests_lead_to_this_machine(void **state)
{
    static const char *const out[] = {"https://cloud.example",
                                      "http://127.0.0.1.example:9",
                                      "http://127.evil.example",
                                      "http://localhost.example",
                                      "http://[::1].example",
                                      "http://[::2]:9",
                                      "http://[::ffff:127.0.0.1]:1",
                                      "http://0.0.0.0:9",
                                      "http://127.1:9",
                                      "http://128.0.0.1",
                                      "http://cloud.example/[::1]",
                                      "http://cloud.example?://localhost",
                                      "http://cloud.example/://[::1]"};
    static const char *const here[] = {"http://127.0.0.1:9023", "https://localhost/x?y",
                                       "http://[::1]:9", "http://LocalHost:1", "http://127.9.8.7"};
    char text[400], sentence[400];

    (void)state;
    for (size_t i = 0; i < sizeof(out) / sizeof(out[0]); i++) {
        snprintf(text, sizeof(text), CLOUD("'endpoint':'%s'", "'emulator'"), out[i]);
        snprintf(sentence, sizeof(sentence),
                 "pipeline.json:1:99: stages[1].config.endpoint: 'endpoint'" LEADS_OUT);
        refused(text, sentence);
    }
    refused(CLOUD("'mirrors':['http://localhost','https://cloud.example']", "'emulator'"),
            "pipeline.json:1:98: stages[1].config.mirrors: 'mirrors'" LEADS_OUT);
    for (size_t i = 0; i < sizeof(here) / sizeof(here[0]); i++) {
        struct plan *plan;

        snprintf(text, sizeof(text), CLOUD("'endpoint':'%s'", "'emulator'"), here[i]);
        plan = must_build(text);
        assert_true(plan_is_diverted(plan_value(&plan->stages[1], "endpoint")));
        assert_false(plan_is_diverted(plan_value(&plan->stages[1], "login")));
        plan_free(plan);
    }
}

static void consent_without_use_is_refused(void **state)
{
    (void)state;
    refused(DRY(IMPORTER ",{'use':'pixel-check','allow':['network','emulator']}"),
            "pipeline.json:1:82: stages[1].allow[1]: stage 'pixel-check' has no option that leads "
            "to another server; drop 'emulator'");
    plan_free(must_build(
        DRY(IMPORTER ",{'use':'deid-filter','enabled':false,'allow':['emulator']}," CHECK)));
}

#define HOLD "{'use':'hold'}"
#define HELD(before, after) STAGES(IMPORTER "," CHECK "," ANONYMIZER before "," HOLD after)

static void holds_stand_where_images_can_rest(void **state)
{
    static const struct refusal_case cases[] = {
        {STAGES(HOLD "," IMPORTER "," CHECK "," ANONYMIZER "," STORE),
         "1:27: stage 'importer' is the source; move it before 'hold'"},
        {STAGES(IMPORTER "," CHECK "," ANONYMIZER "," STORE "," HOLD),
         "1:129: stage 'hold' has no enabled stage behind it that could go on; move it before the "
         "one that is to wait, or disable it"},
        {HELD("," STORE, ",{'use':'hold','id':'other'}"),
         "1:129: stage 'hold' has no enabled stage behind it that could go on; move it before the "
         "one that is to wait, or disable it"},
        {DRY(IMPORTER "," HOLD "," CHECK),
         "1:42: stage 'hold' lets images rest until they go on, but 'dry' is true and none does; "
         "disable it or drop 'dry'"},
        {HELD("", ",{'use':'verifier','allow':['originals']}," STORE),
         "1:95: stage 'verifier' sees identifying values from before any edit, which no image has "
         "any more that rested; move it before 'hold'"},
        {HELD(",{'use':'settles'}", "," STORE),
         "1:80: stage 'settles' settles batches when they are through, and behind it they rest; "
         "move it behind 'hold'"},
        {STAGES(IMPORTER "," CHECK "," HOLD "," STORE),
         "1:68: stage 'file-store' hands images out, but nothing before it grants 'deid.header'; "
         "add 'local-anonymizer' before it, or write why not under policy.because"},
        {STAGES(IMPORTER ",{'use':'hold','config':{}}"),
         "1:45: stages[1].config: there is no such key"},
        {STAGES(IMPORTER ",{'use':'hold','allow':['network']}"),
         "1:45: stages[1].allow: there is no such key"},
        {HELD("", "," HOLD "," STORE),
         "1:102: stages[4].use: two entries are called 'hold', the first on line 1; give each an "
         "'id' of its own"},
    };

    (void)state;
    ALL_REFUSED(cases);
    plan_free(must_build(HELD("", ",{'use':'hold','id':'other','because':'two look'}," STORE)));
    plan_free(must_build(STAGES(IMPORTER "," CHECK "," HOLD "," ANONYMIZER "," STORE)));
    plan_free(must_build(DRY(IMPORTER ",{'use':'hold','enabled':false}," CHECK)));
    plan_free(must_build(
        STAGES(IMPORTER "," CHECK "," ANONYMIZER "," STORE ",{'use':'hold','enabled':false}")));
}

static void holds_are_found(void **state)
{
    struct plan *plan = must_build(
        HELD("", ",{'use':'hold','id':'off','enabled':false},{'use':'hold','id':'other'}," STORE));

    (void)state;
    assert_ptr_equal(plan_hold(plan, "hold"), &plan->stages[3]);
    assert_ptr_equal(plan_hold(plan, "off"), &plan->stages[4]);
    assert_null(plan_hold(plan, "importer")); /* no hold */
    assert_null(plan_hold(plan, ""));
    assert_ptr_equal(plan_next_hold(plan, NULL), &plan->stages[3]);
    assert_ptr_equal(plan_next_hold(plan, &plan->stages[3]), &plan->stages[5]);
    assert_ptr_equal(plan_next_hold(plan, &plan->stages[4]), &plan->stages[5]);
    assert_null(plan_next_hold(plan, &plan->stages[5]));
    plan_free(plan);
}

static void note_warning(void *ctx, const char *sentence)
{
    strncat(ctx, sentence, 999 - strlen(ctx));
    strncat(ctx, "\n", 999 - strlen(ctx));
}

static void warned(const char *study, const char *collections, const char *sentence)
{
    char text[1200], found[1000] = "";
    struct plan *plan;

    snprintf(text, sizeof(text),
             STAGES(IMPORTER "," CHECK ",{'use':'restful-anonymizer','allow':['network',"
                             "'sends-phi','secrets'],'config':{%s}}%s"),
             study, collections);
    plan = must_build(text);
    plan_warn(plan, note_warning, found);
    assert_string_equal(found, sentence);
    plan_free(plan);
}

#define CLOUD_STORE(id, name, ...)                                                                 \
    ",{'use':'gcs-store','id':'" id "','allow':['network','secrets']" __VA_ARGS__                  \
    ",'config':{'collection':'" name "'}}"

static void a_study_is_called_as_its_collection(void **state)
{
    (void)state;
    warned("'study':'irb12345'", CLOUD_STORE("gcs", "IRB12345"), "");
    warned("'study':'irb12345'", CLOUD_STORE("gcs", "irb12345"), "");
    warned("'study':'irb1'", "," STORE, "");
    warned("", CLOUD_STORE("gcs", "IRB1"), "");
    warned("'study':'irb1'", CLOUD_STORE("gcs", "IRB2", ",'enabled':false") "," STORE, "");
    warned("'study':'irb1'", CLOUD_STORE("gcs", "IRB12"),
           "pipeline.json:1:141: \"restful-anonymizer\" asks for identifiers of the study "
           "\"irb1\", and \"gcs\" stores into the collection \"IRB12\": a study is called as its "
           "collection, in lower case\n");
    warned("'study':'IRB1'", CLOUD_STORE("gcs", "IRB1"),
           "pipeline.json:1:141: \"restful-anonymizer\" asks for identifiers of the study "
           "\"IRB1\", and \"gcs\" stores into the collection \"IRB1\": a study is called as its "
           "collection, in lower case\n");
    warned("'study':'irb1'", CLOUD_STORE("one", "IRB1") CLOUD_STORE("two", "IRB2"),
           "pipeline.json:1:141: \"restful-anonymizer\" asks for identifiers of the study "
           "\"irb1\", and \"two\" stores into the collection \"IRB2\": a study is called as its "
           "collection, in lower case\n");
}

#define VARIABLE "TEST_PLAN_EMULATOR_HOST"

/* What the variable makes of the default; the consent alone lets it. */
static void leads_to(const char *variable, const char *text, const char *url, bool by_variable)
{
    const struct plan_value *value;
    struct plan *plan;

    assert_int_equal(setenv(VARIABLE, variable, 1), 0);
    plan = must_build(text);
    value = plan_value(&plan->stages[1], "endpoint");
    assert_string_equal(value->text, url);
    if (by_variable)
        assert_string_equal(value->variable, VARIABLE);
    else
        assert_null(value->variable);
    assert_int_equal(plan_is_diverted(value), by_variable || value->given);
    plan_free(plan);
    unsetenv(VARIABLE);
}

static void a_variable_leads_to_an_emulator(void **state)
{
    static const char with[] = CLOUD("", "'emulator'"), without[] = CLOUD("", "");

    (void)state;
    leads_to("localhost:9023", with, "http://localhost:9023", true);
    leads_to("127.0.0.1:9023", with, "http://127.0.0.1:9023", true);
    leads_to("[::1]:9023", with, "http://[::1]:9023", true);
    leads_to("http://127.0.0.1:9023", with, "http://127.0.0.1:9023", true);
    leads_to("http://127.0.0.1:9023/", with, "http://127.0.0.1:9023", true);
    leads_to("http://127.0.0.1:9023/storage/v1", with, "http://127.0.0.1:9023", true);
    leads_to("localhost:9023/bigquery/v2/?x#y", with, "http://localhost:9023", true);
    leads_to("https://localhost:9023", with, "https://localhost:9023", true);
    leads_to("localhost", with, "http://localhost", true);
    leads_to("", with, "https://cloud.example", false);
    /* an option goes before it, and without consent there is none */
    leads_to("localhost:1", CLOUD("'endpoint':'http://localhost:2'", "'emulator'"),
             "http://localhost:2", false);
    leads_to("localhost:9023", without, "https://cloud.example", false);
    leads_to("cloud.evil.example", without, "https://cloud.example", false);
}

static void a_variable_leads_nowhere_else(void **state)
{
    static const char *const forms[] = {"ftp://localhost:1",
                                        "file:///etc",
                                        "://localhost",
                                        "http://",
                                        ":9023",
                                        "localhost:",
                                        "localhost:x",
                                        "localhost:0",
                                        "localhost:65536",
                                        "localhost:1:2",
                                        "[::1]9",
                                        "me@localhost:1",
                                        "local host:1",
                                        "http://me:you@localhost:1",
                                        "localhost\\@x:1",
                                        "[::1"};
    static const char *const out[] = {"cloud.example:443", "https://cloud.example",
                                      "http://127.0.0.1.example:1", "0.0.0.0:9023", "10.0.0.1:1"};
    static const char with[] = CLOUD("", "'emulator'");

    (void)state;
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        setenv(VARIABLE, forms[i], 1);
        refused(with, "pipeline.json:1:42: stages[1]: the variable " VARIABLE
                      " for 'endpoint' of stage 'cloud': 'HOST:PORT' or 'http://HOST:PORT' was "
                      "expected");
    }
    for (size_t i = 0; i < sizeof(out) / sizeof(out[0]); i++) {
        setenv(VARIABLE, out[i], 1);
        refused(with, "pipeline.json:1:42: stages[1]: the variable " VARIABLE
                      " for 'endpoint' of stage 'cloud': an emulator is on this machine: "
                      "localhost, 127.0.0.1 or [::1]");
    }
    unsetenv(VARIABLE);
}

/* A worker with another environment has another plan. */
static void where_a_variable_leads_is_in_the_digest(void **state)
{
    static const char *const values[] = {"localhost:1", "localhost:2", ""};
    char digests[3][DIGEST_HEX];

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct plan *plan;

        setenv(VARIABLE, values[i], 1);
        plan = must_build(CLOUD("", "'emulator'"));
        memcpy(digests[i], plan->digest, sizeof(digests[i]));
        plan_free(plan);
    }
    unsetenv(VARIABLE);
    assert_string_not_equal(digests[0], digests[1]);
    assert_string_not_equal(digests[0], digests[2]);
    assert_string_not_equal(digests[1], digests[2]);
}

static void a_default_secret_has_several_places(void **state)
{
    struct plan *plan = must_build(CLOUD("", ""));
    const struct plan_value *value = plan_value(&plan->stages[1], "credentials");
    char expected[4200];

    (void)state;
    snprintf(expected, sizeof(expected),
             "file:$A_PLAN file:%s/key.json file:$B_PLAN/below "
             "env:C_PLAN",
             plan->folder);
    assert_string_equal(value->text, expected);
    plan_free(plan);
    /* one that is given is one place, also with a blank in it */
    plan = must_build(CLOUD("'credentials':'file:/a b'", ""));
    assert_string_equal(plan_value(&plan->stages[1], "credentials")->text, "file:/a b");
    plan_free(plan);
    refused(CLOUD("'credentials':'file:$A file:$B'", ""),
            "pipeline.json:1:92: stages[1].config.credentials: after env: and $ comes the name of "
            "a variable");
}

static void a_sites_stage_needs_consent_for_each_label_of_ours(void **state)
{
    static const struct refusal_case cases[] = {
        {WHOLE, "1:31: stages[1]: stage 'pixel-check' does not ship with sendit and grants "
                "'pixels.checked'; if you vouch for it, add 'grant:pixels.checked' to its 'allow'"},
        {STAGES(IMPORTER ",{'use':'local-anonymizer','allow':['grant:ids.replaced']}"),
         "1:65: stages[1].allow: stage 'local-anonymizer' does not ship with sendit and grants "
         "'deid.header'; if you vouch for it, add 'grant:deid.header' to its 'allow'"},
        {DRY(IMPORTER ",{'use':'grants-late'}"), /* at finish, too */
         "1:42: stages[1]: stage 'grants-late' does not ship with sendit and grants 'deid.header'; "
         "if you vouch for it, add 'grant:deid.header' to its 'allow'"},
    };

    (void)state;
    foreign = true;
    ALL_REFUSED(cases);
    plan_free(must_build(STAGES(
        IMPORTER ",{'use':'pixel-check','allow':['grant:pixels.checked','grant:filters.passed']},"
                 "{'use':'local-anonymizer',"
                 "'allow':['grant:ids.replaced','grant:deid.header']}," STORE)));
    plan_free(must_build(DRY(IMPORTER ",{'use':'sees'}"))); /* its own label is free */
    foreign = false;
}

/* ---- the proof ---- */

static void the_sentence_of_the_house(void **state)
{
    (void)state;
    refused("{\n"
            "  'state': 'state',\n"
            "  'policy': { 'egress_needs': ['pixels.checked', 'filters.passed', 'ids.replaced', "
            "'deid.header'] },\n"
            "  'stages': [\n"
            "    { 'use': 'importer', 'config': { 'folders': ['data'] } },\n"
            "    { 'use': 'pixel-check' },\n"
            "    { 'use': 'local-anonymizer', 'enabled': false },\n"
            "\n"
            "      { 'use': 'file-store', 'config': { 'folder': 'clean' } }\n"
            "  ]\n"
            "}\n",
            "pipeline.json:9:7: stage 'file-store' hands images out, but nothing before it grants "
            "'deid.header'; enable 'local-anonymizer' before it, or write why not under "
            "policy.because");
}

#define NOTHING_GRANTS "stage 'file-store' hands images out, but nothing before it grants "
#define OR_WHY ", or write why not under policy.because"

static void nothing_identified_can_leave(void **state)
{
    static const struct refusal_case cases[] = {
        {STAGES(IMPORTER "," STORE),
         "1:31: " NOTHING_GRANTS "'deid.header'; add 'local-anonymizer' before it" OR_WHY},
        {STAGES(IMPORTER "," CHECK "," STORE "," ANONYMIZER),
         "1:53: " NOTHING_GRANTS "'deid.header'; move 'local-anonymizer' before it" OR_WHY},
        {STAGES(IMPORTER "," CHECK "," STORE ",{'use':'local-anonymizer','enabled':false}"),
         "1:53: " NOTHING_GRANTS "'deid.header'; enable 'local-anonymizer' and move it before this "
         "one" OR_WHY},
        {STAGES(IMPORTER "," ANONYMIZER "," STORE),
         "1:58: " NOTHING_GRANTS "'filters.passed'; add 'deid-filter' before it" OR_WHY},
        {STAGES(IMPORTER ",{'use':'deid-filter'}," ANONYMIZER "," STORE),
         "1:80: " NOTHING_GRANTS "'pixels.checked'; add 'pixel-check' before it" OR_WHY},
        {STAGES(IMPORTER "," ANONYMIZER ",{'use':'pixel-check','enabled':false}," STORE),
         "1:96: " NOTHING_GRANTS "'filters.passed'; enable 'pixel-check' before it" OR_WHY},
        /* a label that comes at finish comes too late */
        {STAGES(IMPORTER "," CHECK ",{'use':'grants-late'}," STORE),
         "1:75: " NOTHING_GRANTS "'deid.header'; add 'local-anonymizer' before it" OR_WHY},
        /* a stage that talks to the network and does not send PHI by design hands out, too */
        {STAGES(IMPORTER ",{'use':'telemetry','allow':['network']}"),
         "1:31: stage 'telemetry' hands images out, but nothing before it grants 'deid.header'; "
         "add 'local-anonymizer' before it" OR_WHY},
        /* what one took away is gone, also if a label of ours was granted before */
        {STAGES(IMPORTER "," CHECK "," ANONYMIZER
                         ",{'use':'reidentifier','allow':['reidentifies']}," STORE),
         "1:128: stage 'file-store' hands images out, but 'reidentifier' before it takes "
         "'deid.header' away; move 'reidentifier' behind it or disable it"},
        {STAGES(IMPORTER "," CHECK "," ANONYMIZER /* what such a stage grants itself is lost, too */
                         ",{'use':'swaps','allow':['reidentifies']}," STORE),
         "1:121: stage 'file-store' hands images out, but 'swaps' before it takes "
         "'deid.header' away; move 'swaps' behind it or disable it"},
        /* what the site adds counts like ours */
        {"{'policy':{'egress_needs':['pixels.checked','filters.passed','ids.replaced','deid.header'"
         ","
         "'site.seen']},'stages':[" IMPORTER "," CHECK "," ANONYMIZER "," STORE "]}",
         "1:183: " NOTHING_GRANTS "'site.seen'; add a stage that does before it" OR_WHY},
        {"{'policy':{'egress_needs':['pixels.checked','filters.passed','ids.replaced','deid.header'"
         ","
         "'deid.verified']},'stages':[" IMPORTER "," CHECK "," ANONYMIZER
         ",{'use':'verifier','allow':['originals']},{'use':'touches'}," STORE "]}",
         "1:246: stage 'file-store' hands images out, but 'touches' before it takes "
         "'deid.verified' away; move 'touches' behind it or disable it"},
        /* each store by itself */
        {STAGES(STORE), "1:11: stages: no enabled stage is a source; begin with 'importer'"},
    };

    (void)state;
    ALL_REFUSED(cases);
    plan_free(must_build(WHOLE));
    plan_free(must_build(STAGES(IMPORTER "," ANONYMIZER "," CHECK "," STORE)));
    /* of two stores both are proved */
    refused(
        STAGES(IMPORTER "," CHECK "," ANONYMIZER "," STORE
                        ",{'use':'reidentifier','allow':['reidentifies']},{'use':'file-store',"
                        "'id':'again','config':{'folder':'x'}}"),
        "pipeline.json:1:177: stage 'again' hands images out, but 'reidentifier' before it takes "
        "'deid.header' away; move 'reidentifier' behind it or disable it");
}

static void the_order_of_stages(void **state)
{
    static const struct refusal_case cases[] = {
        {DRY(CHECK), "1:22: stages: no enabled stage is a source; begin with 'importer'"},
        {DRY("{'use':'importer','enabled':false}," CHECK),
         "1:22: stages: no enabled stage is a source; begin with 'importer'"},
        {DRY(CHECK "," IMPORTER),
         "1:45: stage 'importer' is the source; move it before 'pixel-check'"},
        {DRY(IMPORTER ",{'use':'second-source'}"),
         "1:42: stage 'second-source' is a second source, after 'importer'; disable one of them"},
        {DRY(IMPORTER "," ANONYMIZER ",{'use':'local-anonymizer','id':'again'}"),
         "1:69: stage 'again' grants 'ids.replaced', and so does 'local-anonymizer' before it; "
         "disable one of them"},
        {STAGES(IMPORTER "," CHECK "," ANONYMIZER ",{'use':'bigquery-store'}," STORE),
         "1:80: stage 'bigquery-store' needs a label, but nothing before it grants 'store.stored'; "
         "move 'file-store' before it"},
        {DRY(IMPORTER ",{'use':'needs-site'}"),
         "1:42: stage 'needs-site' needs a label, but nothing before it grants 'site.seen'; add a "
         "stage that does before it"},
        {STAGES(IMPORTER "," CHECK "," ANONYMIZER "," STORE ",{'use':'sees'}"),
         "1:129: stage 'sees' must come before 'file-store'; move it there"},
        {STAGES(IMPORTER "," CHECK "," ANONYMIZER ",{'use':'late'}," STORE),
         "1:80: stage 'late' must come after 'file-store'; move 'file-store' before it"},
        {DRY(IMPORTER ",{'use':'verifier','allow':['originals']},{'use':'touches'},{'use':"
                      "'needs-verified'}"),
         "1:101: stage 'needs-verified' needs a label, but 'touches' before it takes "
         "'deid.verified' away; move 'touches' behind it or disable it"},
        {DRY(IMPORTER ",{'use':'verifies-late'},{'use':'touches'},{'use':'needs-verified'}"),
         "1:84: stage 'needs-verified' needs a label, but 'touches' before it takes "
         "'deid.verified' away; move 'touches' behind it or disable it"},
        {DRY(IMPORTER ",{'use':'swaps','allow':['reidentifies']},{'use':'needs-verified'}"),
         "1:83: stage 'needs-verified' needs a label, but 'swaps' before it takes "
         "'deid.verified' away; move 'swaps' behind it or disable it"},
        {STAGES(IMPORTER "," CHECK "," ANONYMIZER),
         "1:11: stages: no enabled stage hands images out; enable a store, or write 'dry': true to "
         "check images only"},
        {"{'dry':true,'policy':{'egress_needs':[],'because':'x'},'stages':[" IMPORTER "," STORE
         "]}",
         "1:85: stage 'file-store' hands images out, but 'dry' is true; disable it or drop 'dry'"},
    };
    struct plan *plan;

    (void)state;
    ALL_REFUSED(cases);
    plan = must_build(STAGES(IMPORTER "," CHECK "," ANONYMIZER "," STORE
                                      ",{'use':'bigquery-store'},{'use':'late'}"));
    assert_int_equal(plan->stages[4].needs, 0); /* granted at finish, asked for at finish */
    assert_int_not_equal(plan->stages[4].needs_at_finish, 0);
    plan_free(plan);
    plan_free(must_build(DRY(IMPORTER ",{'use':'touches'},{'use':'verifies-late'},{'use':"
                                      "'needs-verified'}")));
    plan = must_build(DRY(IMPORTER "," CHECK));
    assert_true(plan->dry);
    plan_free(plan);
}

/* ---- what a plan has ---- */

static const struct plan_value *value(const struct plan *plan, size_t stage, const char *name)
{
    const struct plan_value *found = plan_value(&plan->stages[stage], name);

    assert_non_null(found);
    return found;
}

static void values_and_defaults(void **state)
{
    char cwd[PATH_MAX], path[PATH_MAX + 32];
    struct plan *plan = must_build(
        "{'run':{'retry_for':'2m'},'stages':[{'use':'importer','config':{'folders':['b','/a/../c']}"
        "}," CHECK "," ANONYMIZER ",{'use':'file-store','config':{'folder':'out','wait':'90s',"
        "'any':{'k':[1,2]},'token':'file:t','on_conflict':'keep'}}]}");
    const struct plan_value *folders = value(plan, 0, "folders");

    (void)state;
    assert_non_null(getcwd(cwd, sizeof(cwd)));
    snprintf(path, sizeof(path), "%s/b", cwd);
    assert_string_equal(folders->list[0], path);
    assert_string_equal(folders->list[1], "/c");
    assert_null(folders->list[2]);
    assert_true(folders->given);
    assert_int_equal(value(plan, 0, "recursive")->number, 1);
    assert_false(value(plan, 0, "recursive")->given);
    snprintf(path, sizeof(path), "%s/out", cwd);
    assert_string_equal(value(plan, 3, "folder")->text, path);
    assert_int_equal(value(plan, 3, "wait")->number, 90000);
    assert_int_equal(value(plan, 3, "on_conflict")->number, 2);
    assert_int_equal(value(plan, 3, "tries")->number, 3);
    assert_int_equal(value(plan, 3, "block")->number, 1 << 20);
    assert_string_equal(value(plan, 3, "words")->list[1], "b");
    assert_string_equal(value(plan, 3, "words")->json, "[\"a\",\"b\"]");
    assert_string_equal(value(plan, 3, "any")->json, "{\"k\":[1,2]}");
    snprintf(path, sizeof(path), "file:%s/t", cwd);
    assert_string_equal(value(plan, 3, "token")->text, path);
    assert_null(value(plan, 3, "url")->text);
    assert_null(plan_value(&plan->stages[3], "nothing"));
    assert_int_equal(plan->run[PLAN_RETRY_FOR].number, 120000);
    assert_int_equal(plan->run[PLAN_MAX_INFLATE].number, 256 << 20);
    snprintf(path, sizeof(path), "%s/state", cwd);
    assert_string_equal(plan->state, path);
    assert_ptr_equal(plan_source(plan), &plan->stages[0]);
    plan_free(plan);
}

static void a_disabled_entry_that_is_not_there_is_no_error(void **state)
{
    struct plan *plan = must_build(STAGES(
        IMPORTER "," CHECK "," ANONYMIZER ",{'use':'nothing','enabled':false,'config':{'x':1}},"
                 "{'use':'file-store','id':'off','enabled':false}," STORE));

    (void)state;
    assert_null(plan->stages[3].plugin);
    assert_false(plan->stages[4].enabled); /* what is required may be missing */
    plan_free(plan);
    refused(
        STAGES(IMPORTER ",{'use':'file-store','enabled':false,'config':{'foldr':'x'}}"),
        "pipeline.json:1:77: stages[1].config.foldr: stage 'file-store' has no such option; did "
        "you mean 'folder'?"); /* but what stands there must be right */
}

/* ---- the command line ---- */

static void settings_override(void **state)
{
    const char *sets[] = {"file-store.folder=elsewhere", "file-store.words=x,y",
                          "file-store.any=[1]",          "run.retry_for=3m",
                          "pixel-check.enabled=true",    "file-store.tries=4",
                          "file-store.tries=5",          "importer.folders=[\"a,b\",\"c\"]"};
    char cwd[PATH_MAX], path[PATH_MAX + 32];
    struct plan *plan;

    (void)state;
    request.sets = sets;
    request.n_sets = sizeof(sets) / sizeof(sets[0]);
    plan =
        must_build(STAGES(IMPORTER ",{'use':'pixel-check','enabled':false}," ANONYMIZER "," STORE));
    assert_non_null(getcwd(cwd, sizeof(cwd)));
    snprintf(path, sizeof(path), "%s/elsewhere", cwd);
    assert_string_equal(value(plan, 3, "folder")->text, path);
    assert_string_equal(value(plan, 3, "words")->list[0], "x");
    assert_string_equal(value(plan, 3, "words")->list[1], "y");
    assert_string_equal(value(plan, 3, "any")->json, "[1]");
    assert_int_equal(value(plan, 3, "tries")->number, 5); /* the last one counts */
    snprintf(path, sizeof(path), "%s/a,b", cwd);
    assert_string_equal(value(plan, 0, "folders")->list[0], path);
    assert_int_equal(plan->run[PLAN_RETRY_FOR].number, 180000);
    assert_true(plan->stages[1].enabled);
    plan_free(plan);
    request.sets = NULL;
    request.n_sets = 0;
}

static void settings_that_are_none(void **state)
{
    static const struct {
        const char *set, *sentence;
    } cases[] = {
        {"x", "--set takes STAGE.OPTION=VALUE"},
        {"x=1", "--set takes STAGE.OPTION=VALUE"},
        {".x=1", "--set takes STAGE.OPTION=VALUE"},
        {"x.=1", "--set takes STAGE.OPTION=VALUE"},
        {"x=swordfish.y", "--set takes STAGE.OPTION=VALUE"},
        {"file-stor.folder=x",
         "--set file-stor.folder: no entry is called 'file-stor'; did you mean 'file-store'?"},
        {"file-store.foldr=x",
         "--set file-store.foldr: 'file-store' has no option 'foldr'; did you "
         "mean 'folder'?"},
        {"run.retry=1h", "--set run.retry: 'run' has no option 'retry'; did you mean 'retry_for'?"},
        {"run.retry_for=soon",
         "--set run.retry_for: a duration such as '90s' (ms, s, m, h, d) was expected"},
        {"pixel-check.enabled=maybe", "--set pixel-check.enabled: true or false was expected"},
        {"file-store.token=swordfish", "--set file-store.token: a secret never stands here itself: "
                                       "write 'env:NAME' or 'file:PATH'"},
        {"file-store.words=[1]",
         "--set file-store.words:1:2: [0]: text was expected, this is a whole number"},
        {"file-store.any={", "--set file-store.any: this is not JSON"},
        {"file-store.folder=", "--set file-store.folder: a path was expected, this is empty"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        request.sets = &cases[i].set;
        request.n_sets = 1;
        refused_with(WHOLE, ERR_USAGE, cases[i].sentence);
    }
    request.sets = NULL;
    request.n_sets = 0;
    /* turning the anonymizer off by --set is proved like all else */
    request.sets = (const char *const[]){"local-anonymizer.enabled=false"};
    request.n_sets = 1;
    refused(WHOLE, "pipeline.json:1:80: " NOTHING_GRANTS
                   "'deid.header'; enable 'local-anonymizer' before it" OR_WHY);
    request.sets = NULL;
    request.n_sets = 0;
}

static void folders_of_the_command_line(void **state)
{
    const char *folders[] = {"one", "/two/", "thr\xe9"};
    char cwd[PATH_MAX], path[PATH_MAX + 32];
    struct plan *plan;

    (void)state;
    request.folders = folders;
    request.n_folders = 3;
    plan = must_build(
        STAGES("{'use':'importer','config':{'folders':['x']}}," CHECK "," ANONYMIZER "," STORE));
    assert_non_null(getcwd(cwd, sizeof(cwd)));
    snprintf(path, sizeof(path), "%s/one", cwd);
    assert_string_equal(value(plan, 0, "folders")->list[0], path);
    assert_string_equal(value(plan, 0, "folders")->list[1], "/two");
    snprintf(path, sizeof(path), "%s/thr\xe9", cwd); /* a path is bytes */
    assert_string_equal(value(plan, 0, "folders")->list[2], path);
    plan_free(plan);
    refused_with(DRY("{'use':'second-source'}"), ERR_USAGE,
                 "the source 'second-source' has no option 'folders', so FOLDER cannot be given");
    request.n_folders = 0;
    request.folders = NULL;
    request.state = "here";
    plan =
        must_build("{'state':'there','stages':[" IMPORTER "," CHECK "," ANONYMIZER "," STORE "]}");
    snprintf(path, sizeof(path), "%s/here", cwd);
    assert_string_equal(plan->state, path);
    plan_free(plan);
    request.state = "";
    refused_with(WHOLE, ERR_USAGE, "--state takes a folder");
    request.state = NULL;
}

static void a_digest_is_of_all_that_counts(void **state)
{
    const char *sets[] = {"file-store.tries=4"}, *folders[] = {"x"};
    struct plan *plain = must_build(WHOLE), *other;

    (void)state;
    other = must_build(WHOLE);
    assert_string_equal(plain->digest, other->digest);
    plan_free(other);
    other = must_build(WHOLE " ");
    assert_string_not_equal(plain->digest, other->digest);
    plan_free(other);
    request.sets = sets;
    request.n_sets = 1;
    other = must_build(WHOLE);
    assert_string_not_equal(plain->digest, other->digest);
    plan_free(other);
    request.n_sets = 0;
    request.folders = folders;
    request.n_folders = 1;
    other = must_build(WHOLE);
    assert_string_not_equal(plain->digest, other->digest);
    plan_free(other);
    request.n_folders = 0;
    request.state = "another";
    other = must_build(WHOLE);
    assert_string_not_equal(plain->digest, other->digest);
    plan_free(other);
    request.state = NULL;
    plan_free(plain);
}

static void too_many_of_anything(void **state)
{
    static char text[1 << 18];
    size_t n = (size_t)sprintf(text, "{'dry':true,'stages':[" IMPORTER);

    (void)state;
    for (int i = 1; i < PLAN_MAX_STAGES; i++)
        n += (size_t)sprintf(text + n, ",{'use':'pixel-check','id':'p%d'}", i);
    strcpy(text + n, "]}");
    plan_free(must_build(text));
    strcpy(text + n, "," ANONYMIZER "]}");
    refused(text, "pipeline.json:1:22: stages: 1 to 64 entries were expected, here are 65");
    n = (size_t)sprintf(text, "{'k':0");
    for (int i = 0; i < 1000; i++)
        n += (size_t)sprintf(text + n, ",'k%d':0", i);
    strcpy(text + n, "}");
    assert_null(build(text));
    assert_non_null(strstr(err.text, ": an object has at most 1000 members"));
    n = (size_t)sprintf(text, "{'policy':{'egress_needs':['pixels.checked','ids.replaced',"
                              "'deid.header'");
    for (int i = 0; i < PLAN_MAX_LABELS; i++)
        n += (size_t)sprintf(text + n, ",'site.label%d'", i);
    strcpy(text + n, "]}}");
    assert_null(build(text));
    assert_non_null(strstr(err.text, "policy.egress_needs[62]: there are too many labels"));
}

static int fresh(void **state)
{
    (void)state;
    request = (struct plan_request){0};
    foreign = false;
    return 0;
}

int main(void)
{
#define FRESH(f) cmocka_unit_test_setup(f, fresh)
    const struct CMUnitTest tests[] = {
        FRESH(what_is_no_json),
        FRESH(columns_count_characters),
        FRESH(nul_bytes_and_sizes_are_bounded),
        FRESH(nesting_is_bounded),
        FRESH(what_has_the_wrong_shape),
        FRESH(options_that_do_not_fit_their_table),
        FRESH(policies_that_are_none),
        FRESH(an_entry_says_why),
        FRESH(a_lowered_policy_says_why),
        FRESH(consent_is_asked_for),
        FRESH(a_service_on_this_machine_needs_consent),
        FRESH(options_for_tests_need_consent),
        FRESH(options_for_tests_lead_to_this_machine),
        FRESH(consent_without_use_is_refused),
        FRESH(holds_stand_where_images_can_rest),
        FRESH(holds_are_found),
        FRESH(a_study_is_called_as_its_collection),
        FRESH(a_variable_leads_to_an_emulator),
        FRESH(a_variable_leads_nowhere_else),
        FRESH(where_a_variable_leads_is_in_the_digest),
        FRESH(a_default_secret_has_several_places),
        FRESH(a_sites_stage_needs_consent_for_each_label_of_ours),
        FRESH(the_sentence_of_the_house),
        FRESH(nothing_identified_can_leave),
        FRESH(the_order_of_stages),
        FRESH(values_and_defaults),
        FRESH(a_disabled_entry_that_is_not_there_is_no_error),
        FRESH(settings_override),
        FRESH(settings_that_are_none),
        FRESH(folders_of_the_command_line),
        FRESH(a_digest_is_of_all_that_counts),
        FRESH(too_many_of_anything),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
