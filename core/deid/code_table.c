/* SPDX-License-Identifier: Apache-2.0 */
#include "deid/code_table.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

/* Where the reader is; `line` counts from 1. */
struct reader {
    const char *path;
    const char *const *columns;
    struct code_table *table;
    struct err *err;
    unsigned line;
    bool named; /* the line of names is behind us */
};

static int refuse(const struct reader *r, const char *what)
{
    return err_set(r->err, ERR_REFUSED, "%s:%u: %s", r->path, r->line, what);
}

/* Four digits, upper case as the standard writes them. */
static bool parse_hex4(const char *text, uint32_t *ret_value)
{
    uint32_t value = 0;

    for (int i = 0; i < 4; i++) {
        char c = text[i];

        if (c >= '0' && c <= '9')
            value = value << 4 | (uint32_t)(c - '0');
        else if (c >= 'A' && c <= 'F')
            value = value << 4 | (uint32_t)(c - 'A' + 10);
        else
            return false;
    }
    *ret_value = value;
    return true;
}

static bool parse_tag(const char *text, uint32_t *ret_tag)
{
    static const struct {
        const char *text;
        uint32_t tag;
    } patterns[] = {{"(50xx,xxxx)", CODE_TABLE_CURVES},
                    {"(60xx,3000)", CODE_TABLE_OVERLAY_DATA},
                    {"(60xx,4000)", CODE_TABLE_OVERLAY_COMMENTS},
                    {"(odd,xxxx)", CODE_TABLE_PRIVATE}};
    uint32_t group, element;

    for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++)
        if (!strcmp(text, patterns[i].text)) {
            *ret_tag = patterns[i].tag;
            return true;
        }
    if (strlen(text) != 11 || text[0] != '(' || text[5] != ',' || text[10] != ')' ||
        !parse_hex4(text + 1, &group) || !parse_hex4(text + 6, &element) || group & 1)
        return false;
    *ret_tag = group << 16 | element;
    return true;
}

/* "X/Z/D", "X/Z/U*", "-". */
static bool parse_codes(const char *text, uint8_t *ret_codes)
{
    static const char letters[] = "XZDUKC";
    uint8_t codes = 0;

    *ret_codes = 0;
    if (!strcmp(text, "-"))
        return true;
    for (;;) {
        const char *letter = *text ? strchr(letters, *text) : NULL;
        uint8_t bit = (uint8_t)(letter ? 1u << (letter - letters) : 0u);

        if (!bit || codes & bit)
            return false;
        codes |= bit;
        text++;
        if (!strcmp(text, "*"))
            text++;
        if (!*text)
            break;
        if (*text++ != '/')
            return false;
    }
    *ret_codes = codes;
    return true;
}

/* Cut a line at its tabs; -1 if it has not as many fields as there are columns. */
static int split(const struct reader *r, char *line, char *fields[CODE_TABLE_MAX_CODES + 1])
{
    size_t n = 0;

    while (r->columns[n]) {
        char *tab = strchr(line, '\t');

        if (!tab != !r->columns[n + 1])
            return -1;
        if (tab)
            *tab = '\0';
        fields[n++] = line;
        line = tab ? tab + 1 : NULL;
    }
    return 0;
}

static int read_names(struct reader *r, char *line)
{
    char *fields[CODE_TABLE_MAX_CODES + 1];

    if (split(r, line, fields))
        return refuse(r, "the first line must name the columns");
    for (size_t i = 0; r->columns[i]; i++)
        if (strcmp(fields[i], r->columns[i]) != 0)
            return refuse(r, "the columns are not those of this table");
    r->named = true;
    return 0;
}

static int read_row(struct reader *r, char *line)
{
    struct code_table *table = r->table;
    struct code_row *row = &table->rows[table->n_rows];
    char *fields[CODE_TABLE_MAX_CODES + 1];

    if (table->n_rows == CODE_TABLE_MAX_ROWS)
        return refuse(r, "the table has too many rows");
    if (split(r, line, fields))
        return refuse(r, "a row has a tag and one code for each column, separated by tabs");
    if (!parse_tag(fields[0], &row->tag))
        return refuse(r, "this is not a tag; write (0010,0020) with capital letters");
    if (table->n_rows && row->tag <= row[-1].tag)
        return refuse(r, "rows must be sorted by tag, each tag once");
    for (size_t i = 1; r->columns[i]; i++)
        if (!parse_codes(fields[i], &row->codes[i - 1]))
            return refuse(r, "an action is X, Z, D, U, K or C, several with / between, or -");
    if (!row->codes[0])
        return refuse(r, "a row needs an action in its first column");
    row->line = r->line;
    table->n_rows++;
    return 0;
}

static int read_lines(struct reader *r, char *text)
{
    while (*text) {
        char *end = strchr(text, '\n');
        int result = 0;

        r->line++;
        if (!end)
            return refuse(r, "the last line has no end; the file may be cut short");
        *end = '\0';
        if (text[0] != '#')
            result = r->named ? read_row(r, text) : read_names(r, text);
        *end = '\n';
        if (result)
            return -1;
        text = end + 1;
    }
    if (!r->table->n_rows)
        return refuse(r, "the table has no rows");
    return 0;
}

int code_table_load(const char *path, const char *const *columns, struct code_table *ret_table,
                    struct err *err)
{
    struct code_table table = {0};
    struct reader r = {.path = path, .columns = columns, .table = &table, .err = err};
    char *copy = NULL;

    if (file_read(path, CODE_TABLE_MAX_BYTES, &table.text, &table.len)) {
        err_set(err, ERR_REFUSED, "\"%s\" cannot be read: %s", path, strerror(errno));
        return -1;
    }
    if (memchr(table.text, '\0', table.len)) {
        err_set(err, ERR_REFUSED, "%s: the file has a NUL in it", path);
        goto fail;
    }
    copy = strdup(table.text); /* that of the digest stays whole */
    table.rows = calloc(CODE_TABLE_MAX_ROWS, sizeof(*table.rows));
    if (!copy || !table.rows) {
        err_set(err, ERR_PLACE, "no memory for \"%s\"", path);
        goto fail;
    }
    if (read_lines(&r, copy))
        goto fail;
    free(copy);
    *ret_table = table;
    return 0;
fail:
    free(copy);
    code_table_free(&table);
    return -1;
}

void code_table_free(struct code_table *table)
{
    free(table->rows);
    free(table->text);
    *table = (struct code_table){0};
}
