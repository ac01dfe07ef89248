/* SPDX-License-Identifier: Apache-2.0 */
/* The frame of the commands: options, texts for people, tables, pages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "cli/options.h"
#include "cli/page.h"
#include "cli/stage_words.h"
#include "cli/table.h"

/* ---- numbers ---- */

static void test_number(void **state)
{
    static const struct {
        unsigned long long n;
        const char *text;
    } cases[] = {
        {0, "0"},
        {7, "7"},
        {999, "999"},
        {1000, "1,000"},
        {12345, "12,345"},
        {999999, "999,999"},
        {1000000, "1,000,000"},
        {UINT64_MAX, "18,446,744,073,709,551,615"},
    };
    char text[32];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_string_equal(cli_number(cases[i].n, text), cases[i].text);
}

static void test_bytes(void **state)
{
    static const struct {
        unsigned long long n;
        const char *text;
    } cases[] = {
        {0, "0 B"},           {999, "999 B"},     {1000, "1.0 kB"},      {1234567, "1.2 MB"},
        {999949, "999.9 kB"}, {999950, "1.0 MB"}, {999999999, "1.0 GB"}, {UINT64_MAX, "18.4 EB"},
    };
    char text[32];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_string_equal(cli_bytes(cases[i].n, text), cases[i].text);
}

static void test_time(void **state)
{
    char text[32];

    (void)state;
    setenv("TZ", "UTC", 1);
    tzset();
    assert_string_equal(cli_time(1763979302123, text), "2025-11-24 10:15:02");
    assert_string_equal(cli_time(0, text), "-");
    assert_in_range(strlen(cli_time(INT64_MAX, text)), 1, 31);
    assert_in_range(strlen(cli_time(INT64_MIN, text)), 1, 31);
    setenv("TZ", "UTC-2", 1);
    tzset();
    assert_string_equal(cli_time(1763979302123, text), "2025-11-24 12:15:02");
}

/* ---- options ---- */

/* Parse "a b c", words separated by single blanks; "_" stands for an empty word. */
static int parse(const char *words, struct cli_line *line, struct err *err)
{
    static char copy[512];
    static char *argv[40];
    static char nothing[1];
    int argc = 0;

    snprintf(copy, sizeof(copy), "%s", words);
    for (char *at = copy, *word; (word = strsep(&at, " "));)
        argv[argc++] = strcmp(word, "_") ? word : nothing;
    argv[argc] = NULL;
    memset(err, 0, sizeof(*err));
    return options_parse(argc, argv, line, err);
}

static void expect_good(const char *words, struct cli_line *line)
{
    struct err err;

    if (parse(words, line, &err))
        fail_msg("%s: %s", words, err.text);
}

static void expect_bad(const char *words, const char *sentence)
{
    struct cli_line line;
    struct err err;

    if (!parse(words, &line, &err))
        fail_msg("%s was taken", words);
    assert_int_equal(err.code, ERR_USAGE);
    if (!strstr(err.text, sentence))
        fail_msg("%s: \"%s\" does not say \"%s\"", words, err.text, sentence);
    options_fini(&line);
}

static void test_good_options(void **state)
{
    struct cli_line line;

    (void)state;
    expect_good("sendit run -p a.json --set x.y=1 --state=s --set z.w= --plugins one --plugins=two "
                "--workers 8 data more",
                &line);
    assert_ptr_equal(line.cli.command, &cli_run);
    assert_string_equal(line.cli.pipeline, "a.json");
    assert_string_equal(line.cli.state, "s");
    assert_int_equal(line.cli.n_sets, 2);
    assert_string_equal(line.cli.sets[0], "x.y=1");
    assert_string_equal(line.cli.sets[1], "z.w=");
    assert_int_equal(line.cli.n_plugins, 2);
    assert_string_equal(line.cli.plugins[1], "two");
    assert_int_equal(line.cli.workers, 8);
    assert_int_equal(line.cli.n_args, 2);
    assert_string_equal(line.cli.args[0], "data");
    assert_string_equal(line.cli.args[1], "more");
    assert_null(line.cli.args[2]);
    assert_int_equal(line.ask, CLI_ASK_RUN);
    assert_false(line.loud);
    options_fini(&line);

    /* Letters in one word, options before the command, the end of options. */
    expect_good("sendit -vvq -pb.json run -- --json -v", &line);
    assert_int_equal(line.cli.verbose, 1);
    assert_true(line.loud);
    assert_string_equal(line.cli.pipeline, "b.json");
    assert_false(line.cli.json);
    assert_int_equal(line.cli.n_args, 2);
    assert_string_equal(line.cli.args[0], "--json");
    options_fini(&line);

    /* "-" is a word, not an option; the last of two wins. */
    expect_good("sendit run - --state a --state b", &line);
    assert_string_equal(line.cli.args[0], "-");
    assert_string_equal(line.cli.state, "b");
    options_fini(&line);
}

static void test_asks(void **state)
{
    static const struct {
        const char *words;
        enum cli_ask ask;
        const struct cli_command *command;
    } cases[] = {
        {"sendit --help", CLI_ASK_HELP, NULL},
        {"sendit help", CLI_ASK_HELP, NULL},
        {"sendit help plan", CLI_ASK_HELP, &cli_plan},
        {"sendit plan -h", CLI_ASK_HELP, &cli_plan},
        {"sendit quarantine --help", CLI_ASK_HELP, &cli_quarantine},
        {"sendit --version", CLI_ASK_VERSION, NULL},
        {"sendit log --man", CLI_ASK_MAN, &cli_log},
        {"sendit status", CLI_ASK_RUN, &cli_status},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct cli_line line;

        expect_good(cases[i].words, &line);
        assert_int_equal(line.ask, cases[i].ask);
        assert_ptr_equal(line.cli.command, cases[i].command);
        options_fini(&line);
    }
}

static void test_bad_options(void **state)
{
    (void)state;
    expect_bad("sendit plann", "there is no command \"plann\"; did you mean \"plan\"?");
    expect_bad("sendit statsu", "did you mean \"status\"?");
    expect_bad("sendit help rnu", "did you mean \"run\"?");
    expect_bad("sendit _", "there is no command \"\"");
    expect_bad("sendit -v", "a command is missing");
    expect_bad("sendit run --workrs 3", "there is no option --workrs; did you mean --workers?");
    expect_bad("sendit run --xyzzy", "there is no option --xyzzy");
    expect_bad("sendit run -x", "there is no option -x");
    expect_bad("sendit run -v\033", "there is no option -?");
    expect_bad("sendit run -p", "--pipeline takes a value: FILE");
    expect_bad("sendit run --state", "--state takes a value: FOLDER");
    expect_bad("sendit run --state=", "--state takes a FOLDER, this is empty");
    expect_bad("sendit run --plugins _", "--plugins takes a FOLDER, this is empty");
    expect_bad("sendit run --json=yes", "--json takes no value");
    expect_bad("sendit run --workers 0", "--workers takes a whole number from 1 to 256");
    expect_bad("sendit run --workers 257", "whole number");
    expect_bad("sendit run --workers -1", "whole number");
    expect_bad("sendit run --workers 4x", "whole number");
    expect_bad("sendit run --workers 99999999999999999999", "whole number");
    expect_bad("sendit plan --workers 4", "plan takes no --workers");
    expect_bad("sendit plan --paths", "plan takes no --paths");
    expect_bad("sendit --paths run", "run takes no --paths");
    expect_bad("sendit plan extra", "plan does not take \"extra\"");
    expect_bad("sendit stages a b", "stages does not take \"b\"");
    expect_bad("sendit quarantine", "quarantine needs more");
    /* What is only for the build is not suggested. */
    expect_bad("sendit run --mann", "there is no option --mann");
}

static void test_json_after_an_error(void **state)
{
    struct cli_line line;
    struct err err;

    (void)state;
    assert_int_equal(parse("sendit plann --json", &line, &err), -1);
    assert_true(line.cli.json);
    options_fini(&line);
    assert_int_equal(parse("sendit plann -- --json", &line, &err), -1);
    assert_false(line.cli.json);
    options_fini(&line);
}

/* Every option that is shown can be given to a command that takes it. */
static void test_every_option_is_known(void **state)
{
    (void)state;
    for (const struct cli_option *option = cli_options; option->name; option++)
        for (const struct cli_command *const *at = cli_commands; *at; at++) {
            char words[128];
            struct cli_line line;

            if (option->takes & ~(*at)->takes)
                continue;
            snprintf(words, sizeof(words), "sendit %s%s --%s%s%s", (*at)->name,
                     (*at)->min_args ? " list" : "", option->name, option->value ? " " : "",
                     option->value ? "1" : "");
            expect_good(words, &line);
            options_fini(&line);
        }
}

/* ---- tables and pages ---- */

/* What a function prints; the caller frees it. */
static char *printed(void (*print)(const void *, FILE *), const void *what)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    assert_non_null(out);
    print(what, out);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void print_table(const void *what, FILE *out)
{
    table_print(what, out);
}

static void expect_table(const struct table *table, const char *expected)
{
    char *text = printed(print_table, table);

    assert_string_equal(text, expected);
    free(text);
}

static void test_table(void **state)
{
    static const char *const heads[] = {"name", ">n", "last", NULL};
    struct table table;

    (void)state;
    table_init(&table, heads);
    expect_table(&table, "name  n  last\n");
    table_add(&table, "a");
    table_add_number(&table, 1234);
    table_add(&table, NULL);
    table_add(&table, "two\nlines!");
    table_add_number(&table, 5);
    table_addf(&table, "%s\n\n%d", "x", 3);
    table_add(&table, "J\xc3\xb6rg");
    table_add(&table, "");
    table_add_blank(&table);
    expect_table(&table, "name        n  last\n"
                         "a       1,234  -\n"
                         "two         5  x\n"
                         "lines!\n"
                         "               3\n"
                         "J\xc3\xb6rg        -\n");
    table_fini(&table);
}

/* Names of files may have any bytes; none may reach the terminal as a command. */
static void test_table_is_tame(void **state)
{
    static const char *const heads[] = {"", NULL};
    struct table table;

    (void)state;
    table_init(&table, heads);
    table_add(&table, "a\033[31mb\tc\x7f");
    table_add(&table, "\xc2\x9b\xc2\xa0|\x9b\xff\xc3");
    table_add(&table, "\xf0\x9f\x98\x80|\xe2\x82");
    expect_table(&table, "a\\x1b[31mb\\x09c\\x7f\n"
                         "\\xc2\\x9b\xc2\xa0|\\x9b\\xff\\xc3\n"
                         "\xf0\x9f\x98\x80|\\xe2\\x82\n");
    table_fini(&table);
}

static void print_safe(const void *what, FILE *out)
{
    table_print_safe(what, out);
}

static void test_safe_text(void **state)
{
    char *text = printed(print_safe, "one\ntwo\r\033]0;x\007");

    (void)state;
    assert_string_equal(text, "one\\x0atwo\\x0d\\x1b]0;x\\x07");
    free(text);
}

static void print_help(const void *what, FILE *out)
{
    page_help(what, out);
}

static void print_man(const void *what, FILE *out)
{
    page_man(what, out);
}

/* Help and man page of a command name the same options; no line of text is taken for a request of
 * troff. */
static void test_pages(void **state)
{
    static const char *const requests[] = {".TH ", ".SH ", ".TP", ".B ", ".BR ",
                                           ".PP",  ".nf",  ".fi", NULL};

    (void)state;
    for (const struct cli_command *const *at = cli_commands; *at; at++) {
        char *help = printed(print_help, *at), *man = printed(print_man, *at);
        char *rest = man;

        assert_non_null(strstr(help, "usage: sendit "));
        for (const struct cli_option *option = cli_options; option->name; option++) {
            bool shown = option->help && !(option->takes & ~(*at)->takes);
            char word[40];
            struct buf escaped = {0};

            snprintf(word, sizeof(word), "--%s", option->name);
            assert_int_equal(strstr(help, word) != NULL, shown);
            for (const char *at_word = word; *at_word; at_word++)
                buf_add(&escaped, *at_word == '-' ? "\\-" : at_word, *at_word == '-' ? 2 : 1);
            assert_int_equal(strstr(man, escaped.data) != NULL, shown);
            buf_fini(&escaped);
        }
        for (char *line; (line = strsep(&rest, "\n"));) {
            const char *const *request = requests;

            while (*request && strncmp(line, *request, strlen(*request)))
                request++;
            assert_true(line[0] != '.' || *request);
            assert_true(line[0] != '\'');
        }
        free(help);
        free(man);
    }
}

/* Text that troff would take for a request or an escape. */
static void test_man_page_escapes(void **state)
{
    static const struct cli_command odd = {.name = "odd",
                                           .usage = "odd [X]",
                                           .summary = "does \\n nothing",
                                           .help = ".SH is text,\n'so is this,\na-b \\(dq",
                                           .examples = "odd \"x y\"\tsee"};
    char *man = printed(print_man, &odd);

    (void)state;
    assert_non_null(strstr(man, "\n\\&.SH is text,\n\\&'so is this,\na\\-b \\e(dq\n"));
    assert_non_null(strstr(man, "sendit\\-odd \\- does \\en nothing\n"));
    assert_non_null(strstr(man, ".B odd \\(dqx y\\(dq\nsee\n"));
    free(man);
}

static void test_flags(void **state)
{
    uint32_t all = 0;
    char *text = words_of_flags(SENDIT_READS | SENDIT_EGRESS);

    (void)state;
    assert_string_equal(text, "reads\nhands images out");
    free(text);
    text = words_of_flags(0);
    assert_string_equal(text, "");
    free(text);
    /* A flag without a word would be hidden from whoever reads the plan. */
    for (const struct flag_word *at = flag_words; at->flag; at++)
        all |= at->flag;
    assert_int_equal(all, (SENDIT_NATIVE << 1) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_number),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_time),
        cmocka_unit_test(test_good_options),
        cmocka_unit_test(test_asks),
        cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_json_after_an_error),
        cmocka_unit_test(test_every_option_is_known),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_table_is_tame),
        cmocka_unit_test(test_safe_text),
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_man_page_escapes),
        cmocka_unit_test(test_flags),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
