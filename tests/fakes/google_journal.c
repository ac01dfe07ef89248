/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the fake Google keeps: FOLDER/journal, a JSON object of one member a line, written before an
 * answer goes out; FOLDER/data, the bytes.  A line that a kill has cut was never answered for.
 */
#include "google.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int journal = -1;

static void replay(const char *what, json_t *value)
{
    const char *generation = json_string_value(json_object_get(value, "generation"));

    if (generation && strtoll(generation, NULL, 10) > google.generation)
        google.generation = strtoll(generation, NULL, 10);
    if (!strncmp(what, "token", 5))
        token_replay(value);
    else if (!strncmp(what, "object", 6))
        storage_replay(what, value);
    else if (!strncmp(what, "session", 7))
        upload_replay(what, value);
    else
        bigquery_replay(what, value);
}

static int read_journal(const char *path)
{
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t size = 0;
    ssize_t n;
    off_t whole = 0;

    while (file && (n = getline(&line, &size, file)) > 0 && line[n - 1] == '\n') {
        json_t *entry = json_loads(line, 0, NULL), *value;
        const char *what;

        if (!entry) {
            fprintf(stderr, "%s has a line that is none\n", path);
            return -1;
        }
        json_object_foreach(entry, what, value) replay(what, value);
        json_decref(entry);
        whole += n;
    }
    free(line);
    if (file)
        fclose(file);
    return file && truncate(path, whole) ? -1 : 0;
}

int journal_open(void)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s/data", google.folder);
    if ((mkdir(google.folder, 0700) && errno != EEXIST) || (mkdir(path, 0700) && errno != EEXIST)) {
        perror(path);
        return -1;
    }
    snprintf(path, sizeof(path), "%s/journal", google.folder);
    if (read_journal(path))
        return -1;
    upload_recover();
    journal = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (journal < 0)
        perror(path);
    return journal < 0 ? -1 : 0;
}

void journal_write(const char *what, json_t *value)
{
    json_t *entry = json_pack("{s:o}", what, value);
    char *text = json_dumps(entry, JSON_COMPACT);
    size_t length = text ? strlen(text) : 0;

    json_decref(entry);
    if (!text)
        abort();
    text[length] = '\n';
    if (write(journal, text, length + 1) != (ssize_t)length + 1) {
        perror("journal");
        exit(4);
    }
    free(text);
}
