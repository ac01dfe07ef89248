/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/case.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "harness/shape.h"

#define VERDICTS "FAIL|PASS|SKIP|QUARANTINE|RETRY"
#define DEFAULT_CLOCK 1767225600000 /* 2026-01-01T00:00:00Z */
#define MAX_NEST 32

/* ---- the keys ---- */

static const struct shape item_keys[] = {
    {"labels", SHAPE_TEXT, NULL, NULL, false},
    {"facts", SHAPE_MAP, NULL, NULL, false},
    {"attempt", SHAPE_NUMBER, NULL, NULL, false},
    {0},
};
static const struct shape request_keys[] = {
    {"method", SHAPE_TEXT, NULL, NULL, true},
    {"url", SHAPE_TEXT, NULL, NULL, true},
    {0},
};
static const struct shape answer_keys[] = {
    {"status", SHAPE_NUMBER, NULL, NULL, false},
    {"headers", SHAPE_MAP, NULL, NULL, false},
    {"body", SHAPE_ANY, NULL, NULL, false},
    {"error", SHAPE_TEXT, NULL, "ENOMEM|EDENIED|EIO|ECANCELED|ECORRUPT", false},
    {0},
};
static const struct shape http_keys[] = {
    {"request", SHAPE_OBJECT, request_keys, NULL, true},
    {"answer", SHAPE_OBJECT, answer_keys, NULL, true},
    {0},
};
static const struct shape tree_keys[] = {
    {"text", SHAPE_TEXT, NULL, NULL, false},
    {"item", SHAPE_TEXT, NULL, NULL, false},
    {"link", SHAPE_TEXT, NULL, NULL, false},
    {"folder", SHAPE_BOOLEAN, NULL, NULL, false},
    {"fifo", SHAPE_BOOLEAN, NULL, NULL, false},
    {"mode", SHAPE_TEXT, NULL, NULL, false},
    {0},
};
static const struct shape host_keys[] = {
    {"about", SHAPE_TEXT, NULL, NULL, false},
    {"labels", SHAPE_TEXT, NULL, NULL, false},
    {"facts", SHAPE_MAP, NULL, NULL, false},
    {"batch_facts", SHAPE_MAP, NULL, NULL, false},
    {"items", SHAPE_OBJECTS, item_keys, NULL, false},
    {"attempt", SHAPE_NUMBER, NULL, NULL, false},
    {"attempts", SHAPE_NUMBER, NULL, NULL, false},
    {"cancel", SHAPE_NUMBER, NULL, NULL, false},
    {"end", SHAPE_TEXT, NULL, "finish|abandon", false},
    {"settle", SHAPE_NUMBER, NULL, NULL, false},
    {"compare", SHAPE_BOOLEAN, NULL, NULL, false},
    {"clock", SHAPE_TEXT, NULL, NULL, false},
    {"secrets", SHAPE_MAP, NULL, NULL, false},
    {"store", SHAPE_MAP, NULL, NULL, false},
    {"crosswalk", SHAPE_MAPS, NULL, NULL, false},
    {"originals", SHAPE_MAP, NULL, NULL, false},
    {"tree", SHAPE_OBJECTS, tree_keys, NULL, false},
    {"http", SHAPE_ARRAY, http_keys, NULL, false},
    {"faults", SHAPE_TEXTS, NULL, NULL, false},
    {0},
};
static const struct shape result_keys[] = {
    {"verdict", SHAPE_TEXT, NULL, VERDICTS, true}, {"code", SHAPE_TEXT, NULL, NULL, false},
    {"text", SHAPE_TEXT, NULL, NULL, false},       {"labels", SHAPE_TEXT, NULL, NULL, false},
    {"facts", SHAPE_MAP, NULL, NULL, false},       {"tags", SHAPE_ANY, NULL, NULL, false},
    {"tries", SHAPE_NUMBER, NULL, NULL, false},    {0},
};
static const struct shape expect_keys[] = {
    {"about", SHAPE_TEXT, NULL, NULL, false},
    {"refused", SHAPE_TEXT, NULL, NULL, false},
    {"check", SHAPE_TEXT, NULL, VERDICTS, false},
    {"open", SHAPE_TEXT, NULL, VERDICTS, false},
    {"produce", SHAPE_TEXT, NULL, VERDICTS, false},
    {"produced", SHAPE_ANY, NULL, NULL, false},
    {"begin", SHAPE_TEXT, NULL, VERDICTS, false},
    {"verdict", SHAPE_TEXT, NULL, VERDICTS, false},
    {"code", SHAPE_TEXT, NULL, NULL, false},
    {"text", SHAPE_TEXT, NULL, NULL, false},
    {"labels", SHAPE_TEXT, NULL, NULL, false},
    {"facts", SHAPE_MAP, NULL, NULL, false},
    {"tags", SHAPE_ANY, NULL, NULL, false},
    {"tries", SHAPE_NUMBER, NULL, NULL, false},
    {"items", SHAPE_OBJECTS, result_keys, NULL, false},
    {"finish", SHAPE_TEXT, NULL, VERDICTS "|LATER", false},
    {"abandon", SHAPE_TEXT, NULL, VERDICTS, false},
    {"settle", SHAPE_TEXT, NULL, VERDICTS, false},
    {"settled", SHAPE_MAP, NULL, NULL, false},
    {"compare", SHAPE_TEXT, NULL, VERDICTS, false},
    {"differences", SHAPE_TEXTS, NULL, NULL, false},
    {"compared", SHAPE_NUMBERS, NULL, NULL, false},
    {"batch_facts", SHAPE_MAP, NULL, NULL, false},
    {"holds", SHAPE_MAP, NULL, NULL, false},
    {"requests", SHAPE_ANY, NULL, NULL, false},
    {"log", SHAPE_TEXTS, NULL, NULL, false},
    {"metrics", SHAPE_NUMBERS, NULL, NULL, false},
    {"store", SHAPE_ANY, NULL, NULL, false},
    {"crosswalk", SHAPE_ANY, NULL, NULL, false},
    {"audit", SHAPE_TEXTS, NULL, NULL, false},
    {"files", SHAPE_ANY, NULL, NULL, false},
    {"calls", SHAPE_TEXTS, NULL, NULL, false},
    {0},
};

/* ---- the files ---- */

/* 0 with text NULL if it is not there. */
static int read_file(struct case_file *file, const char *folder, const char *name, struct err *err)
{
    file->path = file_join(folder, name);
    if (!file->path)
        return err_set(err, ERR_PLACE, "no memory");
    if (!file_read(file->path, CASE_MAX_FILE, &file->text, &file->len))
        return 0;
    file->text = NULL;
    if (errno == ENOENT)
        return 0;
    return err_set(err, ERR_REFUSED, "%s: it cannot be read: %s", file->path, strerror(errno));
}

static int parse_file(struct case_file *file, const struct shape *shapes, struct err *err)
{
    if (!file->text)
        return 0;
    return json_doc_parse(&file->doc, file->path, file->text, file->len, MAX_NEST, err) ||
                   shape_check(&file->doc, file->doc.root, shapes, err)
               ? -1
               : 0;
}

/* ---- what host.json says ---- */

static struct json_node *host_node(struct test_case *tc, const char *key)
{
    return tc->host.text ? json_doc_get(tc->host.doc.root, key) : NULL;
}

static int read_number(struct test_case *tc, const char *key, uint32_t max, uint32_t *ret_number,
                       struct err *err)
{
    struct json_node *node = host_node(tc, key);
    json_int_t n = node ? json_integer_value(node->value) : 0;

    if (!node)
        return 0;
    if (n < 1 || n > max)
        return json_doc_error(&tc->host.doc, node, err, "a number from 1 to %u was expected",
                              (unsigned)max);
    *ret_number = (uint32_t)n;
    return 0;
}

/* "2026-11-24T10:15:00Z" */
static int read_clock(struct test_case *tc, struct err *err)
{
    struct json_node *node = host_node(tc, "clock");
    struct tm tm = {0};
    const char *end;

    tc->clock_ms = DEFAULT_CLOCK;
    if (!node)
        return 0;
    end = strptime(json_string_value(node->value), "%Y-%m-%dT%H:%M:%SZ", &tm);
    if (!end || *end)
        return json_doc_error(&tc->host.doc, node, err,
                              "a time such as \"2026-11-24T10:15:00Z\" was expected");
    tc->clock_ms = (int64_t)timegm(&tm) * 1000;
    return 0;
}

static int read_faults(struct test_case *tc, struct err *err)
{
    struct json_node *node = host_node(tc, "faults"), *child;

    for (child = node ? node->first : NULL; child; child = child->next) {
        char text[sizeof(err->text)];

        if (tc->n_faults == SPY_MAX_FAULTS)
            return json_doc_error(&tc->host.doc, child, err, "there are more than %d faults",
                                  SPY_MAX_FAULTS);
        if (spy_parse(json_string_value(child->value), &tc->faults[tc->n_faults++], err)) {
            snprintf(text, sizeof(text), "%s", err->text);
            return json_doc_error(&tc->host.doc, child, err, "%s", text);
        }
    }
    return 0;
}

static bool is_there(const char *folder, const char *name, mode_t type)
{
    char *path = file_join(folder, name);
    struct stat st;
    bool there = path && !stat(path, &st) && (st.st_mode & S_IFMT) == type;

    free(path);
    return there;
}

static int find_input(struct test_case *tc, struct err *err)
{
    bool dcm = is_there(tc->folder, "in.dcm", S_IFREG);
    bool dump = is_there(tc->folder, "in.dump", S_IFREG);
    bool folder = is_there(tc->folder, "in", S_IFDIR);

    if (dcm + dump + folder > 1)
        return err_set(err, ERR_REFUSED, "%s: it has more than one of in.dcm, in.dump and in/",
                       tc->folder);
    tc->input = dcm ? CASE_DCM : dump ? CASE_DUMP : folder ? CASE_FOLDER : CASE_NO_INPUT;
    return 0;
}

int case_read(struct test_case *tc, const char *folder, struct err *err)
{
    const char *slash;

    memset(tc, 0, sizeof(*tc));
    tc->attempt = tc->attempts = 1;
    tc->folder = realpath(folder, NULL);
    if (!tc->folder)
        return err_set(err, ERR_REFUSED, "%s: %s", folder, strerror(errno));
    slash = strrchr(tc->folder, '/');
    tc->name = strdup(slash[1] ? slash + 1 : tc->folder);
    if (!tc->name)
        return err_set(err, ERR_PLACE, "no memory");
    if (find_input(tc, err) || read_file(&tc->config, tc->folder, "config.json", err) ||
        read_file(&tc->host, tc->folder, "host.json", err) ||
        read_file(&tc->expect, tc->folder, "expect.json", err) ||
        parse_file(&tc->host, host_keys, err) || parse_file(&tc->expect, expect_keys, err) ||
        read_clock(tc, err) || read_faults(tc, err) ||
        read_number(tc, "attempt", UINT32_MAX, &tc->attempt, err) ||
        read_number(tc, "attempts", CASE_MAX_ATTEMPTS, &tc->attempts, err) ||
        read_number(tc, "cancel", CASE_MAX_ITEMS, &tc->cancel, err) ||
        read_number(tc, "settle", CASE_MAX_ATTEMPTS, &tc->settle, err))
        return -1;
    tc->compare = json_is_true(case_host(tc, "compare"));
    tc->abandon =
        case_host(tc, "end") && !strcmp(json_string_value(case_host(tc, "end")), "abandon");
    return 0;
}

static void file_fini(struct case_file *file)
{
    json_doc_fini(&file->doc);
    free(file->path);
    free(file->text);
}

void case_fini(struct test_case *tc)
{
    file_fini(&tc->config);
    file_fini(&tc->host);
    file_fini(&tc->expect);
    free(tc->folder);
    free(tc->name);
    memset(tc, 0, sizeof(*tc));
}

const json_t *case_host(const struct test_case *tc, const char *key)
{
    return json_object_get(tc->host.doc.json, key);
}

const json_t *case_expect(const struct test_case *tc, const char *key)
{
    return json_object_get(tc->expect.doc.json, key);
}

const json_t *case_of_item(const struct test_case *tc, const char *item, const char *key)
{
    const json_t *own = json_object_get(json_object_get(case_host(tc, "items"), item), key);

    return own ? own : case_host(tc, key);
}

bool case_is_one(const char *folder)
{
    static const struct {
        const char *name;
        mode_t type;
    } signs[] = {{"expect.json", S_IFREG}, {"in.dcm", S_IFREG},      {"in.dump", S_IFREG},
                 {"host.json", S_IFREG},   {"config.json", S_IFREG}, {"in", S_IFDIR}};

    for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++)
        if (is_there(folder, signs[i].name, signs[i].type))
            return true;
    return false;
}
