/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process that waits: it starts another that works, hears a line of JSON for each file, and
 * starts it anew behind a file on which a stage crashed or hung.
 */
#include "diff/diff.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "diff/diff_files.h"
#include "diff/diff_way.h"

#define MAX_LINE ((size_t)64 << 20) /* bytes; a value has up to DIFF_MAX_TEXT */
#define LOOK_EACH_MS 200

struct waiting {
    const struct diff_request *request;
    const char *scratch;
    struct diff_files files;
    struct diff_page *page; /* shared */
    size_t next;            /* the file that is told next */
    const struct diff_told *told;
    bool in_file; /* its end is to come */
    struct err *err;
    /* the process that works */
    pid_t pid;
    int pipe;
    bool timed_out;
    struct buf line;
};

/* ---- the process that works ---- */

/* No core file, which would hold patients; what a stage prints is no part of the answer; it ends
 * with its parent. */
static void confine(pid_t parent)
{
    const struct rlimit none = {0, 0};

    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    (void)dup2(STDERR_FILENO, STDOUT_FILENO);
}

static size_t files_in_batch(const struct diff_files *files, size_t from)
{
    size_t n = 0;

    while (from + n < files->n && files->files[from + n].batch == files->files[from].batch)
        n++;
    return n;
}

static int work_through(struct waiting *w, struct diff_way *way, FILE *out, struct err *err)
{
    const struct diff_files *files = &w->files;

    for (size_t i = w->next; i < files->n; i++) {
        if (i == w->next || files->files[i].batch != files->files[i - 1].batch)
            if (diff_way_begin(way, files_in_batch(files, i), err))
                return -1;
        atomic_store(&w->page->taking, true);
        if (diff_way_take(way, files->files[i].path, i + 1, out))
            return err_set(err, ERR_PLACE, "no memory");
        atomic_store(&w->page->taking, false);
        if (i + 1 == files->n || files->files[i + 1].batch != files->files[i].batch)
            diff_way_end(way);
    }
    return 0;
}

static void work(struct waiting *w, int fd)
{
    FILE *out = fdopen(fd, "w");
    struct diff_way way = {0};
    struct err err = {.code = ERR_PLACE, .text = "no memory"};

    if (!out)
        _exit(1);
    if (diff_way_init(&way, w->request, w->page, w->scratch, &err) ||
        work_through(w, &way, out, &err)) {
        json_t *text = json_string(err.text);

        diff_way_tell(out, DIFF_LINE_BROKEN,
                      json_pack("{s:o, s:i}", "text", text ? text : json_string("a stage refused"),
                                "status", err.code ? err.code : ERR_REFUSED));
    }
    fflush(out);
    diff_way_fini(&way);
    _exit(0);
}

static int start(struct waiting *w)
{
    pid_t parent = getpid();
    int ends[2];

    atomic_store(&w->page->stage, -1);
    atomic_store(&w->page->taking, false);
    w->timed_out = w->in_file = false;
    w->line.len = 0;
    if (pipe(ends))
        return err_set(w->err, ERR_PLACE, "no pipe: %s", strerror(errno));
    fflush(NULL); /* else both would write it */
    w->pid = fork();
    if (!w->pid) {
        close(ends[0]);
        confine(parent);
        work(w, ends[1]);
    }
    close(ends[1]);
    if (w->pid < 0) {
        close(ends[0]);
        return err_set(w->err, ERR_PLACE, "no process: %s", strerror(errno));
    }
    w->pipe = ends[0];
    return 0;
}

/* ---- the process that waits ---- */

static json_t *name_json(const char *text)
{
    json_t *json = json_string(text);
    struct buf safe = {0};

    if (json)
        return json;
    for (const unsigned char *at = (const unsigned char *)text; *at; at++)
        buf_printf(&safe, *at < 0x80 ? "%c" : "\\x%02X", *at);
    json = safe.failed ? NULL : json_string(safe.data);
    buf_fini(&safe);
    return json;
}

/* Names of files are names of patients, but for those that the user wrote. */
static int tell_file(struct waiting *w, json_t *result)
{
    const struct diff_file *file = &w->files.files[w->next++];
    json_t *whole =
        json_pack("{s:o, s:I}", "file", name_json(file->name), "number", (json_int_t)file->number);
    int answer;

    if (!whole || json_object_set_new(whole, "found", json_boolean(file->found)) ||
        ((!file->found || w->request->paths) &&
         json_object_set_new(whole, "path", name_json(file->path))) ||
        json_object_update(whole, result)) {
        json_decref(whole);
        return err_set(w->err, ERR_PLACE, "no memory");
    }
    w->in_file = true;
    answer = w->told->file(w->told->ctx, whole);
    json_decref(whole);
    return answer;
}

static int tell_end(struct waiting *w)
{
    w->in_file = false;
    return w->told->end(w->told->ctx);
}

static int obey(struct waiting *w, char letter, json_t *json)
{
    const char *text;

    switch (letter) {
    case DIFF_LINE_FILE:
        if (json && !w->in_file && w->next < w->files.n)
            return tell_file(w, json);
        break;
    case DIFF_LINE_ELEMENT:
        if (json && w->in_file)
            return w->told->element(w->told->ctx, json);
        break;
    case DIFF_LINE_END:
        if (w->in_file)
            return tell_end(w);
        break;
    case DIFF_LINE_BROKEN:
        text = json_string_value(json_object_get(json, "text"));
        if (text)
            return err_set(w->err, (int)json_integer_value(json_object_get(json, "status")), "%s",
                           text);
        break;
    default:
        break;
    }
    return err_set(w->err, ERR_PLACE, "the process that looks at files said what it may not");
}

static int hear(struct waiting *w, const char *line, size_t len)
{
    json_t *json = len > 1 ? json_loadb(line + 1, len - 1, 0, NULL) : NULL;
    int result = obey(w, len ? line[0] : '\0', json);

    json_decref(json);
    return result;
}

static int hear_lines(struct waiting *w)
{
    char *from = w->line.data, *end = from + w->line.len, *stop;
    int result = 0;

    while (!result && (stop = memchr(from, '\n', (size_t)(end - from)))) {
        result = hear(w, from, (size_t)(stop - from));
        from = stop + 1;
    }
    w->line.len = (size_t)(end - from);
    memmove(w->line.data, from, w->line.len);
    return result;
}

static void check_timeout(struct waiting *w)
{
    int64_t limit = w->request->plan->run[PLAN_STAGE_TIMEOUT].number;
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    if (limit && atomic_load(&w->page->stage) >= 0 &&
        (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 - atomic_load(&w->page->since) > limit) {
        w->timed_out = true;
        kill(w->pid, SIGKILL);
    }
}

/* Until the process has closed its end: 0, or what ends the run. */
static int listen_to(struct waiting *w)
{
    enum { BLOCK = 1 << 16 };
    size_t searched = 0;
    int result = 0;

    while (!result) {
        struct pollfd fd = {.fd = w->pipe, .events = POLLIN};
        ssize_t n;

        if (poll(&fd, 1, LOOK_EACH_MS) <= 0) {
            check_timeout(w);
            continue;
        }
        if (w->line.len > MAX_LINE || !buf_reserve(&w->line, BLOCK))
            return err_set(w->err, ERR_PLACE, "no memory");
        n = read(w->pipe, w->line.data + w->line.len, BLOCK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return 0;
        searched = w->line.len;
        w->line.len += (size_t)n;
        if (memchr(w->line.data + searched, '\n', (size_t)n))
            result = hear_lines(w);
    }
    return result;
}

/* A stage took its process down: what a run says of it after its second try. */
static int tell_crash(struct waiting *w, int status)
{
    const struct plan *plan = w->request->plan;
    int stage = atomic_load(&w->page->stage);
    bool known = stage >= 0 && (size_t)stage < plan->n_stages;
    char text[120];
    json_t *result;
    int answer;

    if (w->timed_out)
        snprintf(text, sizeof(text), "The stage did not answer within stage_timeout.");
    else if (WIFSIGNALED(status))
        snprintf(text, sizeof(text), "The stage crashed (%s).", strsignal(WTERMSIG(status)));
    else
        snprintf(text, sizeof(text), "The stage ended the process.");
    result = json_pack("{s:s, s:s, s:s, s:s, s:[], s:[], s:{s:i, s:i, s:i, s:i}}", "fate", "failed",
                       "stage", known ? plan->stages[stage].id : "core", "code",
                       w->timed_out ? "host.timeout" : "host.crashed", "text", text, "labels",
                       "stages", "counts", "kept", 0, "changed", 0, "removed", 0, "added", 0);
    if (!result)
        return err_set(w->err, ERR_PLACE, "no memory");
    answer = tell_file(w, result);
    json_decref(result);
    return answer ? answer : tell_end(w);
}

/* One process, from the next file on. */
static int go_on(struct waiting *w)
{
    int result, stage, status = 0;

    if (start(w))
        return -1;
    result = listen_to(w);
    close(w->pipe);
    if (result)
        kill(w->pid, SIGKILL);
    while (waitpid(w->pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (!result && w->in_file)
        result = err_set(w->err, ERR_PLACE, "the process that looks at files was ended");
    if (result || w->next == w->files.n)
        return result;
    stage = atomic_load(&w->page->stage);
    if (!atomic_load(&w->page->taking)) /* it would crash again */
        return err_set(w->err, ERR_BATCH, "stage \"%s\" %s, and not on a file",
                       stage >= 0 && (size_t)stage < w->request->plan->n_stages
                           ? w->request->plan->stages[stage].id
                           : "core",
                       w->timed_out ? "did not answer within stage_timeout" : "crashed");
    return tell_crash(w, status);
}

static int run(struct waiting *w)
{
    int result = 0;

    while (!result && w->next < w->files.n)
        result = go_on(w);
    return result;
}

/* A folder for files without a name, in memory where there is one. */
static const char *scratch_folder(void)
{
    const char *named = getenv("TMPDIR");

    if (!access("/dev/shm", W_OK | X_OK))
        return "/dev/shm";
    return named && *named ? named : "/tmp";
}

int diff_run(const struct diff_request *request, const struct diff_told *told, struct err *err)
{
    struct waiting w = {.request = request, .scratch = scratch_folder(), .told = told, .err = err};
    int result = -1;

    w.page = mmap(NULL, sizeof(*w.page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (w.page == MAP_FAILED)
        return err_set(err, ERR_PLACE, "no memory");
    if (!diff_files_find(&w.files, request->names, request->n_names, err))
        result = run(&w);
    diff_files_fini(&w.files);
    buf_fini(&w.line);
    munmap(w.page, sizeof(*w.page));
    return result;
}
