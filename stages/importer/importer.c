/* SPDX-License-Identifier: Apache-2.0 */
/*
 * importer: walks folders, makes a batch of each folder that has files, and watches that a batch
 * holds one study.
 */
#include <sendit/stage.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "folder_heap.h"

#define MAX_DEPTH 64        /* folders in each other, below one that the site named */
#define MAX_SERIES 65536    /* told apart in one batch; more are not counted */
#define STUDY_SIZE (3 * 17) /* three words of 16 hex digits or "-" */

/* A folder that a file-store writes into has this one in it, and is never a source. */
#define OUTPUT_MARK ".sendit"

#define HASH_START 0xcbf29ce484222325u

#define TAG_STUDY_DATE 0x00080020u
#define TAG_STUDY_UID 0x0020000Du
#define TAG_SERIES_UID 0x0020000Eu
#define TAG_STUDY_ID 0x00200010u

struct sendit_stage_state {
    const struct sendit_host *host;
    const struct sendit_dicom *dicom;
    const struct sendit_facts *facts;
    const struct sendit_metrics *metrics;
    const char *const *ignore;
    const char *done_folder;
    int32_t when_done;
    int recursive, hold_mixed, produced;
    struct folder_heap heap; /* to look into */
    uint64_t n_batches, n_temporary, n_outputs;
    /* The batch in hand: what its first image says of the study, "" before. */
    char study[STUDY_SIZE];
    uint64_t n_mixed;
    uint64_t *series; /* hashes of their UIDs, sorted */
    size_t n_series, series_room;
};

/* One folder while it is fed. */
struct feeding {
    struct sendit_stage_state *self;
    const struct sendit_feed *feed;
    const struct folder *folder;
    int open; /* its batch */
};

static const struct sendit_option options[] = {
    {"folders", SENDIT_OPT_PATH, SENDIT_OPT_REQUIRED | SENDIT_OPT_MANY, NULL, NULL,
     "Folders to take images from; folders on the command line stand in their place."},
    {"recursive", SENDIT_OPT_BOOLEAN, 0, "true", NULL,
     "Take folders inside them too, each as a batch of its own."},
    {"ignore", SENDIT_OPT_STRING, SENDIT_OPT_MANY, ".DS_Store Thumbs.db desktop.ini", NULL,
     "Names of files and folders to leave out, as shell patterns."},
    {"on_mixed", SENDIT_OPT_CHOICE, 0, "warn", "warn|quarantine",
     "What becomes of an image whose study is not that of the first in its batch."},
    {"when_done", SENDIT_OPT_CHOICE, 0, "keep", "keep|move|delete",
     "What becomes of the originals of a batch that is done."},
    {"done_folder", SENDIT_OPT_PATH, 0, NULL, NULL, "Where when_done \"move\" puts them."},
};

/* ---- names ---- */

static int ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);

    return n >= m && !strcmp(name + n - m, end);
}

/* Somebody is still writing it: the rename to its final name is what commits it. */
static int is_temporary(const char *name)
{
    return strstr(name, ".tmp") || ends_with(name, "tmp") || ends_with(name, "part");
}

static int is_ignored(const char *const *patterns, const char *name)
{
    for (; *patterns; patterns++)
        if (!fnmatch(*patterns, name, 0))
            return 1;
    return 0;
}

static int is_below(const char *path, const char *folder)
{
    size_t n = strlen(folder);

    return !strncmp(path, folder, n) && (!path[n] || path[n] == '/' || folder[n - 1] == '/');
}

/* "folder/name"; the caller frees it. */
static char *join(const char *folder, const char *name)
{
    size_t n = strlen(folder), size = n + strlen(name) + 2;
    char *path = malloc(size);

    if (path)
        snprintf(path, size, "%s%s%s", folder, n && folder[n - 1] == '/' ? "" : "/", name);
    return path;
}

/* ---- one folder ---- */

/* Links are followed in the path that the site wrote, and nowhere below it. */
static int open_folder(const struct folder *folder)
{
    char *copy = strdup(folder->path), *name, *rest;
    int fd = -1;

    if (!copy)
        return -1;
    rest = copy + folder->root_length;
    if (*rest)
        *rest++ = '\0';
    fd = open(copy, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    while (fd >= 0 && (name = strsep(&rest, "/"))) {
        int parent = fd;

        if (!*name)
            continue;
        fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        close(parent);
    }
    free(copy);
    return fd;
}

static int is_output(int fd)
{
    struct stat st;

    return !fstatat(fd, OUTPUT_MARK, &st, AT_SYMLINK_NOFOLLOW) && S_ISDIR(st.st_mode);
}

/* Moved files keep their place below the folder that the site named: its name comes first. */
static char *done_parent(const struct sendit_stage_state *self, const struct folder *folder)
{
    const char *root = folder->path + folder->root_length, *last;

    if (!*root)
        return strdup(self->done_folder);
    while (root > folder->path && root[-1] != '/')
        root--;
    last = strrchr(folder->path, '/');
    if (last <= root)
        return strdup(self->done_folder);

    char *name = strndup(root, (size_t)(last - root));
    char *path = name ? join(self->done_folder, name) : NULL;

    free(name);
    return path;
}

static sendit_result open_batch(struct feeding *feeding)
{
    struct sendit_stage_state *self = feeding->self;
    sendit_result r;
    char *parent;

    if (feeding->open)
        return SENDIT_OK;
    r = feeding->feed->open_batch(feeding->feed, feeding->folder->path);
    feeding->open = r == SENDIT_OK;
    if (r != SENDIT_OK || self->when_done == SENDIT_LEAVE)
        return r;
    if (self->when_done == SENDIT_DELETE)
        return feeding->feed->when_done(feeding->feed, SENDIT_DELETE, NULL);
    parent = done_parent(self, feeding->folder);
    r = parent ? feeding->feed->when_done(feeding->feed, SENDIT_MOVE, parent) : SENDIT_ENOMEM;
    free(parent);
    return r;
}

/* A file, or with `code` one that is none of ours. */
static sendit_result feed_file(struct feeding *feeding, const char *path, const char *code)
{
    sendit_result r = open_batch(feeding);

    if (r != SENDIT_OK)
        return r;
    return code ? feeding->feed->ignore(feeding->feed, path, code)
                : feeding->feed->add(feeding->feed, path);
}

/* A folder inside: later a batch of its own, or left out. */
static sendit_result feed_subfolder(struct feeding *feeding, const char *name, char *path)
{
    struct sendit_stage_state *self = feeding->self;
    int marked = self->when_done == SENDIT_MOVE && ends_with(name, ".err");

    if (is_temporary(name))
        self->n_temporary++;
    else if (self->recursive && !is_ignored(self->ignore, name) && !marked &&
             !(self->done_folder && is_below(path, self->done_folder)))
        return folder_heap_push(&self->heap, path, feeding->folder->root_length,
                                feeding->folder->depth + 1);
    free(path);
    return SENDIT_OK;
}

static mode_t type_of(int fd, const struct dirent *entry)
{
    struct stat st;

    if (entry->d_type != DT_UNKNOWN)
        return (mode_t)DTTOIF((unsigned)entry->d_type);
    return fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) ? S_IFREG : st.st_mode & S_IFMT;
}

static sendit_result feed_entry(struct feeding *feeding, int fd, const struct dirent *entry)
{
    const char *name = entry->d_name, *code = NULL;
    char *path = join(feeding->folder->path, name);
    mode_t type = type_of(fd, entry);
    sendit_result r;

    if (!path)
        return SENDIT_ENOMEM;
    if (S_ISDIR(type))
        return feed_subfolder(feeding, name, path);
    if (S_ISLNK(type))
        code = "import.symlink";
    else if (!S_ISREG(type))
        code = "import.not_regular";
    else if (is_temporary(name))
        code = "import.temporary";
    else if (is_ignored(feeding->self->ignore, name))
        code = "import.ignored";
    r = feed_file(feeding, path, code);
    free(path);
    return r;
}

/* Closes `fd`. */
static sendit_result feed_entries(struct feeding *feeding, int fd)
{
    DIR *dir = fdopendir(fd);
    struct dirent *entry;
    sendit_result r = SENDIT_OK;

    if (!dir) {
        close(fd);
        return SENDIT_ENOMEM;
    }
    while (r == SENDIT_OK && (errno = 0, entry = readdir(dir)))
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            r = feed_entry(feeding, fd, entry);
    if (r == SENDIT_OK && errno)
        r = SENDIT_EIO;
    closedir(dir);
    return r;
}

static sendit_result feed_folder(struct sendit_stage_state *self, const struct sendit_feed *feed,
                                 const struct folder *folder)
{
    struct feeding feeding = {.self = self, .feed = feed, .folder = folder};
    sendit_result r;
    int fd = -1;

    if (folder->depth > MAX_DEPTH) {
        r = feed_file(&feeding, folder->path, "import.too_deep");
    } else if ((fd = open_folder(folder)) >= 0) {
        if (is_output(fd)) {
            self->n_outputs++;
            close(fd);
            return SENDIT_OK;
        }
        r = feed_entries(&feeding, fd);
    } else if (errno == ENOMEM || errno == EMFILE || errno == ENFILE) {
        r = SENDIT_ENOMEM;
    } else {
        /* As a batch of one that fails with the reason when it is read: never in silence. */
        r = feed_file(&feeding, folder->path, NULL);
    }
    if (r == SENDIT_OK && feeding.open) {
        r = feed->close_batch(feed);
        self->n_batches++;
    }
    return r;
}

/* ---- callbacks ---- */

static sendit_verdict check(const struct sendit_host *host, int online, struct sendit_why *why)
{
    const struct sendit_config *config = SENDIT_SERVICE(host, config);
    const char *const *folder = config->list(host, "folders");
    const char *done = config->text(host, "done_folder");

    (void)online;
    if (config->number(host, "when_done") != SENDIT_MOVE)
        return SENDIT_PASS;
    if (!done)
        return sendit_because(why, SENDIT_FAIL, "import.done_folder",
                              "when_done \"move\" needs done_folder: where the originals go.");
    for (; *folder; folder++)
        if (is_below(*folder, done))
            return sendit_because(why, SENDIT_FAIL, "import.done_folder",
                                  "done_folder holds a folder that is imported; name another.");
    return SENDIT_PASS;
}

static sendit_verdict start(const struct sendit_host *host, struct sendit_stage_state **ret_self,
                            struct sendit_why *why)
{
    const struct sendit_config *config = SENDIT_SERVICE(host, config);
    struct sendit_stage_state *self = calloc(1, sizeof(*self));

    if (!self)
        return sendit_because(why, SENDIT_RETRY, "import.memory", "There is no memory.");
    self->host = host;
    self->dicom = SENDIT_SERVICE(host, dicom);
    self->facts = SENDIT_SERVICE(host, facts);
    self->metrics = SENDIT_SERVICE(host, metrics);
    self->ignore = config->list(host, "ignore");
    self->recursive = config->number(host, "recursive") != 0;
    self->hold_mixed = config->number(host, "on_mixed") == 1;
    self->when_done = (int32_t)config->number(host, "when_done");
    if (self->when_done == SENDIT_MOVE)
        self->done_folder = config->text(host, "done_folder");
    *ret_self = self;
    return SENDIT_PASS;
}

/* All folders that the site named are looked at before the first is fed. */
static sendit_verdict look_at(const char *path, struct sendit_why *why)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), error = errno, output;

    if (fd >= 0) {
        output = is_output(fd);
        close(fd);
        if (!output)
            return SENDIT_PASS;
        return sendit_because(
            why, SENDIT_FAIL, "import.place",
            "\"%.120s\" is a folder that sendit writes into; import from another.", path);
    }
    if (error == ENOENT)
        return sendit_because(why, SENDIT_FAIL, "import.missing",
                              "The folder \"%.120s\" is missing: make it, or name another.", path);
    if (error == ENOTDIR)
        return sendit_because(why, SENDIT_FAIL, "import.place",
                              "\"%.120s\" is no folder; name the folder that it is in.", path);
    return sendit_because(why, SENDIT_FAIL, "import.unreadable",
                          "The folder \"%.120s\" cannot be read: %s.", path, strerror(error));
}

static sendit_verdict fill_heap(struct sendit_stage_state *self, struct sendit_why *why)
{
    const struct sendit_config *config = SENDIT_SERVICE(self->host, config);
    const char *const *folder = config->list(self->host, "folders");

    for (; *folder; folder++) {
        sendit_verdict verdict = look_at(*folder, why);

        if (verdict != SENDIT_PASS)
            return verdict;
        if (folder_heap_push(&self->heap, strdup(*folder), strlen(*folder), 0) != SENDIT_OK)
            return sendit_because(why, SENDIT_RETRY, "import.memory", "There is no memory.");
    }
    return SENDIT_PASS;
}

static void tell_left_out(struct sendit_stage_state *self)
{
    char text[160];

    if (self->n_temporary) {
        snprintf(text, sizeof(text),
                 "%" PRIu64 " folders have a temporary name and were left for later.",
                 self->n_temporary);
        self->host->log(self->host, SENDIT_INFO, "import.temporary", text);
    }
    if (self->n_outputs) {
        snprintf(text, sizeof(text),
                 "%" PRIu64 " folders were left out, since sendit writes into them.",
                 self->n_outputs);
        self->host->log(self->host, SENDIT_WARN, "import.output", text);
    }
}

static sendit_verdict produce(struct sendit_stage_state *self, const struct sendit_feed *feed,
                              struct sendit_why *why)
{
    sendit_verdict verdict;
    sendit_result r = SENDIT_OK;
    char *last = NULL;

    if (self->produced)
        return SENDIT_SKIP;
    self->n_batches = self->n_temporary = self->n_outputs = 0;
    verdict = fill_heap(self, why);
    while (verdict == SENDIT_PASS && r == SENDIT_OK && self->heap.n) {
        struct folder folder = folder_heap_pop(&self->heap);

        /* One that the site named twice, or named inside another. */
        if (!last || strcmp(last, folder.path))
            r = feed_folder(self, feed, &folder);
        free(last);
        last = folder.path;
    }
    free(last);
    folder_heap_fini(&self->heap);
    if (verdict != SENDIT_PASS)
        return verdict;
    if (r != SENDIT_OK)
        return sendit_because(why, sendit_verdict_of(r), "import.interrupted",
                              "The folders could not be read to their end.");
    tell_left_out(self);
    self->produced = 1;
    return self->n_batches ? SENDIT_PASS : SENDIT_SKIP;
}

static sendit_verdict begin(struct sendit_stage_state *self, const struct sendit_batch *batch,
                            struct sendit_why *why)
{
    const char *known;

    (void)batch, (void)why;
    self->n_mixed = 0;
    self->n_series = 0;
    self->study[0] = '\0';
    /* After a crash the first image may be decided already, and is then not shown again. */
    if (self->facts->get(self->host, NULL, "import.study", &known) == SENDIT_OK)
        snprintf(self->study, sizeof(self->study), "%s", known);
    return SENDIT_PASS;
}

/* FNV-1a, which goes on from `h`. */
static uint64_t hash(uint64_t h, const char *text)
{
    for (; *text; text++)
        h = (h ^ (unsigned char)*text) * 0x100000001b3u;
    return h;
}

/*
 * The study as three words: its UID, its date and its id, "-" for one that the image lacks.  They
 * are kept as a fact, which is never an original value; the UID is in each, so that nobody can
 * guess a date from its hash.  0 for an image without a UID.
 */
static int describe_study(const struct sendit_stage_state *self, struct sendit_dataset *ds,
                          char ret_study[STUDY_SIZE])
{
    static const uint32_t tags[] = {TAG_STUDY_UID, TAG_STUDY_DATE, TAG_STUDY_ID};
    uint64_t h = HASH_START;
    const char *value;
    size_t n = 0;

    for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++) {
        int there = self->dicom->get(ds, tags[i], &value) == SENDIT_OK && *value;

        if (!there && tags[i] == TAG_STUDY_UID)
            return 0;
        if (i)
            ret_study[n++] = ' ';
        if (!i)
            h = hash(h, value);
        if (there)
            snprintf(ret_study + n, STUDY_SIZE - n, "%016" PRIx64, i ? hash(h, value) : h);
        else
            snprintf(ret_study + n, STUDY_SIZE - n, "-");
        n += strlen(ret_study + n);
    }
    return 1;
}

/* What one of them lacks does not tell them apart. */
static int same_study(const char *a, const char *b)
{
    while (*a && *b) {
        size_t n = strcspn(a, " "), m = strcspn(b, " ");

        if (*a != '-' && *b != '-' && (n != m || memcmp(a, b, n)))
            return 0;
        a += n + (a[n] == ' ');
        b += m + (b[m] == ' ');
    }
    return 1;
}

/* For the tally alone: without memory a series is not counted. */
static void note_series(struct sendit_stage_state *self, struct sendit_dataset *ds)
{
    size_t low = 0, high = self->n_series;
    const char *uid;
    uint64_t h;

    if (self->dicom->get(ds, TAG_SERIES_UID, &uid) != SENDIT_OK || !*uid)
        return;
    h = hash(HASH_START, uid);
    while (low < high) {
        size_t middle = (low + high) / 2;

        if (self->series[middle] == h)
            return;
        if (h < self->series[middle])
            high = middle;
        else
            low = middle + 1;
    }
    if (self->n_series == self->series_room && self->series_room < MAX_SERIES) {
        size_t room = self->series_room ? 2 * self->series_room : 64;
        uint64_t *series = realloc(self->series, room * sizeof(*series));

        if (!series)
            return;
        self->series = series;
        self->series_room = room;
    }
    if (self->n_series == self->series_room)
        return;
    memmove(&self->series[low + 1], &self->series[low],
            (self->n_series - low) * sizeof(self->series[0]));
    self->series[low] = h;
    self->n_series++;
}

static sendit_verdict process(struct sendit_stage_state *self, const struct sendit_item *item,
                              struct sendit_why *why)
{
    char study[STUDY_SIZE];
    sendit_result r;

    note_series(self, item->ds);
    if (!describe_study(self, item->ds, study))
        return SENDIT_PASS; /* which the anonymizer holds for that */
    if (!self->study[0]) {
        r = self->facts->put(self->host, NULL, "import.study", study);
        if (r != SENDIT_OK)
            return sendit_because(why, sendit_verdict_of(r), "import.fact",
                                  "The study of the batch could not be noted.");
        memcpy(self->study, study, sizeof(study));
    }
    if (same_study(self->study, study))
        return SENDIT_PASS;
    self->n_mixed++;
    if (!self->hold_mixed)
        return SENDIT_PASS;
    return sendit_because(why, SENDIT_QUARANTINE, "import.mixed",
                          "It is of another study than the first image of its folder.");
}

static sendit_verdict finish(struct sendit_stage_state *self, const struct sendit_batch *batch,
                             struct sendit_why *why)
{
    char text[160];

    (void)batch, (void)why;
    if (self->n_mixed) {
        snprintf(text, sizeof(text),
                 "%" PRIu64 " images have another study, study date or study id than the first.",
                 self->n_mixed);
        self->host->log(self->host, SENDIT_WARN, "import.mixed", text);
    }
    self->n_mixed = 0;
    if (self->n_series)
        self->metrics->add(self->host, "series", (int64_t)self->n_series);
    self->n_series = 0;
    return SENDIT_PASS;
}

static void stop(struct sendit_stage_state *self)
{
    folder_heap_fini(&self->heap);
    free(self->series);
    free(self);
}

SENDIT_PLUGIN(.flags = SENDIT_READS | SENDIT_SOURCE, SENDIT_OPTIONS(options), .name = "importer",
              .version = "1.0.0", .summary = "Takes folders of DICOM images, each as a batch.",
              .check = check, .open = start, .produce = produce, .begin = begin, .process = process,
              .finish = finish, .close = stop);
