/* SPDX-License-Identifier: Apache-2.0 */
/* The table http against tests/fakes/http_server, which misbehaves when asked to. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/log.h"
#include "fake_link.h"
#include "services/host.h"
#include "services/http_request.h"
#include "services/http_url.h"
#include "services/table.h"

enum { BASE, PLACES, KEY, NO_KEY, CERT, CA, NO_CA, NAME, ENDPOINT, N_OPTIONS };
static const struct sendit_option options[N_OPTIONS] = {
    [BASE] = {"base", SENDIT_OPT_URL, 0, NULL, NULL, "The service."},
    [PLACES] = {"places", SENDIT_OPT_URL, SENDIT_OPT_MANY, NULL, NULL, "Others."},
    [KEY] = {"key", SENDIT_OPT_SECRET, 0, NULL, NULL, "A secret."},
    [NO_KEY] = {"no_key", SENDIT_OPT_SECRET, 0, NULL, NULL, "A secret that is left out."},
    [CERT] = {"cert", SENDIT_OPT_SECRET, 0, NULL, NULL, "A certificate."},
    [CA] = {"ca", SENDIT_OPT_PATH, 0, NULL, NULL, "Who is trusted."},
    [NO_CA] = {"no_ca", SENDIT_OPT_PATH, 0, NULL, NULL, "A path that is left out."},
    [ENDPOINT] = {"endpoint", SENDIT_OPT_URL, 0, "https://usual.example", NULL, "Another."},
    [NAME] = {"name", SENDIT_OPT_STRING, 0, NULL, NULL, "No URL."},
};

/* ---- the server ---- */

struct port {
    char name[32];
    int number;
};
static struct {
    char folder[64];
    pid_t pid;
    int to, from; /* its stdin, its stdout */
    struct port ports[16];
    size_t n;
} server;

static void run_server(int in, int out)
{
    dup2(in, 0);
    dup2(out, 1);
    if (close_range(3, ~0u, 0))
        _exit(1);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execl("/usr/bin/python3", "python3", "-W", "ignore",
          SENDIT_SOURCE_DIR "/tests/fakes/http_server", server.folder, (char *)NULL);
    _exit(127);
}

/* OpenSSL on its own would take TLS 1.0 here: what refuses it is sendit. */
static int allow_old_tls(void)
{
    static const char config[] = "openssl_conf = init\n[init]\nssl_conf = ssl\n"
                                 "[ssl]\nsystem_default = all\n"
                                 "[all]\nMinProtocol = TLSv1\n"
                                 "CipherString = DEFAULT@SECLEVEL=0\n";
    char path[100];

    snprintf(path, sizeof(path), "%s/openssl.cnf", server.folder);
    return file_replace(path, config, strlen(config), 0600) || setenv("OPENSSL_CONF", path, 1);
}

static int start_server(void **state)
{
    int in[2], out[2];
    char line[100];
    FILE *file;

    (void)state;
    signal(SIGPIPE, SIG_IGN); /* as a worker does */
    log_init(LOG_OFF);
    strcpy(server.folder, "/tmp/test_http.XXXXXX");
    if (!mkdtemp(server.folder) || pipe(in) || pipe(out))
        return -1;
    server.pid = fork();
    if (!server.pid)
        run_server(in[0], out[1]);
    close(in[0]);
    close(out[1]);
    server.to = in[1];
    server.from = out[0];
    file = fdopen(server.from, "r");
    while (file && fgets(line, sizeof(line), file) && strcmp(line, "ready\n") != 0 &&
           server.n < 16) {
        struct port *port = &server.ports[server.n++];

        if (sscanf(line, "%31s %d", port->name, &port->number) != 2)
            return -1;
    }
    return server.n && !allow_old_tls() ? 0 : -1;
}

static int stop_server(void **state)
{
    char command[200];

    (void)state;
    close(server.to);
    waitpid(server.pid, NULL, 0);
    snprintf(command, sizeof(command), "rm -rf '%s'", server.folder);
    return system(command);
}

static int port_of(const char *name)
{
    for (size_t i = 0; i < server.n; i++)
        if (!strcmp(server.ports[i].name, name))
            return server.ports[i].number;
    fail_msg("no port %s", name);
    return 0;
}

/* ---- the stage ---- */

struct fixture {
    struct fake_link link;
    struct sendit_plugin plugin;
    struct plan plan;
    struct plan_value values[N_OPTIONS];
    struct plan_stage stage;
    struct host_env env;
    struct host host;
    const struct sendit_host *h;
    const struct sendit_http *http;
    char url[300], base[100], key[200], cert[200], ca[200];
};

static char *places[] = {(char *)"https://one.example/api",
                         (char *)"https://two.example:8443",
                         (char *)"http://metadata.google.internal",
                         (char *)"http://plain.example",
                         (char *)"http://[::1]:8080/",
                         NULL};

static void use(struct fixture *f, const char *scheme, const char *server_name)
{
    snprintf(f->base, sizeof(f->base), "%s://localhost:%d/any", scheme, port_of(server_name));
    f->values[BASE].text = f->base;
}

static const char *url(struct fixture *f, const char *path)
{
    snprintf(f->url, sizeof(f->url), "%.*s%s", (int)(strlen(f->base) - 3), f->base, path);
    return f->url;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    fake_link_init(&f->link);
    f->plugin = (struct sendit_plugin){.flags = SENDIT_NETWORK,
                                       .n_options = N_OPTIONS,
                                       .options = options,
                                       .name = "mine",
                                       .version = "1.0.0"};
    for (size_t i = 0; i < N_OPTIONS; i++)
        f->values[i].option = &options[i];
    f->values[PLACES].list = places;
    f->values[NAME].text = (char *)"https://name.example";
    snprintf(f->ca, sizeof(f->ca), "%s/ca.crt", server.folder);
    f->values[CA].text = f->ca;
    use(f, "http", "http");
    f->stage = (struct plan_stage){.id = (char *)"mine",
                                   .use = (char *)"mine",
                                   .enabled = true,
                                   .plugin = &f->plugin,
                                   .values = f->values};
    f->env = (struct host_env){.link = &f->link.table, .plan = &f->plan, .batch = "batch"};
    host_init(&f->host, &f->env, &f->stage);
    f->h = &f->host.host;
    host_enter(&f->host);
    f->http = SENDIT_SERVICE(f->h, http);
    assert_non_null(f->http);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    host_leave(&f->host);
    host_end_batch(&f->host);
    host_fini(&f->host);
    assert_null(f->env.http);
    fake_link_fini(&f->link);
    free(f);
    return 0;
}

static struct sendit_http_request request(const char *method, const char *at)
{
    return (struct sendit_http_request){
        .size = sizeof(struct sendit_http_request), .method = method, .url = at};
}

static sendit_result get(struct fixture *f, const char *path,
                         const struct sendit_http_response **ret)
{
    struct sendit_http_request r = request("GET", url(f, path));

    return f->http->send(f->h, &r, ret);
}

static void assert_get(struct fixture *f, const char *path, int status, const char *body)
{
    const struct sendit_http_response *response = NULL;

    assert_int_equal(get(f, path, &response), SENDIT_OK);
    assert_int_equal(response->status, status);
    assert_string_equal(response->body, body);
    assert_int_equal(response->length, strlen(body));
}

static void assert_fails(struct fixture *f, const char *path, sendit_result expected)
{
    const struct sendit_http_response *response = NULL;
    sendit_result r = get(f, path, &response);

    if (r != expected)
        fail_msg("%s answered %d", path, r);
    assert_null(response);
}

static int counted(struct fixture *f, const char *what)
{
    const struct sendit_http_response *response = NULL;
    char path[100];

    snprintf(path, sizeof(path), "count/%s", what);
    assert_int_equal(get(f, path, &response), SENDIT_OK);
    return (int)strtol(response->body, NULL, 10);
}

/* Answers of start(). */
struct answers {
    int n, ok, status;
    sendit_result last;
    char body[64];
};

static void note(void *ctx, sendit_result result, const struct sendit_http_response *response)
{
    struct answers *answers = ctx;

    answers->n++;
    answers->last = result;
    assert_true((result == SENDIT_OK) == (response != NULL));
    if (!response)
        return;
    answers->ok++;
    answers->status = response->status;
    snprintf(answers->body, sizeof(answers->body), "%s", response->body);
}

static sendit_result start(struct fixture *f, const char *path, struct answers *answers)
{
    struct sendit_http_request r = request("GET", url(f, path));

    return f->http->start(f->h, &r, note, answers);
}

static int64_t ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- who has it ---- */

static void test_gating(void **state)
{
    struct fixture *f = *state;

    f->plugin.flags = SENDIT_READS | SENDIT_MUTATES | SENDIT_SECRETS | SENDIT_SENDS_PHI;
    assert_null(SENDIT_SERVICE(f->h, http));
    f->plugin.flags = SENDIT_NETWORK;
    assert_non_null(SENDIT_SERVICE(f->h, http));
    assert_null(f->h->service(f->h, "sendit.http/1", sizeof(struct sendit_http) + 1));
}

static void test_outside_a_callback(void **state)
{
    struct fixture *f = *state;
    const struct sendit_http_response *response = NULL;
    struct sendit_http_request r = request("GET", url(f, "status/200"));
    struct answers answers = {0};

    assert_int_equal(f->http->send(NULL, &r, &response), SENDIT_EINVAL);
    host_leave(&f->host);
    assert_int_equal(f->http->send(f->h, &r, &response), SENDIT_EINVAL);
    assert_int_equal(f->http->start(f->h, &r, note, &answers), SENDIT_EINVAL);
    assert_int_equal(f->http->drain(f->h, 0), SENDIT_EINVAL);
    assert_true(f->host.bug_outside);
    host_enter(&f->host);
    assert_true(f->host.bug);
    assert_int_equal(answers.n, 0);
}

static void *drain_elsewhere(void *arg)
{
    struct fixture *f = arg;

    return (void *)(intptr_t)f->http->drain(f->h, 0);
}

static void test_on_another_thread(void **state)
{
    pthread_t thread;
    void *result = NULL;

    assert_int_equal(pthread_create(&thread, NULL, drain_elsewhere, *state), 0);
    pthread_join(thread, &result);
    assert_int_equal((intptr_t)result, SENDIT_EINVAL);
}

/* ---- answers ---- */

static void test_answers(void **state)
{
    struct fixture *f = *state;
    const struct sendit_http_response *response = NULL;

    assert_get(f, "status/200", 200, "status 200");
    assert_get(f, "status/404", 404, "status 404");
    assert_get(f, "status/500", 500, "status 500");
    assert_get(f, "no-content", 204, "");
    assert_get(f, "chunked", 200, "one two three");
    assert_get(f, "http10", 200, "old and without a length");
    assert_int_equal(get(f, "nul", &response), SENDIT_OK);
    assert_int_equal(response->length, 3);
    assert_memory_equal(response->body, "a\0b", 4);
}

static void test_answers_live_until_the_callback_returns(void **state)
{
    struct fixture *f = *state;
    const struct sendit_http_response *first = NULL, *second = NULL;

    assert_int_equal(get(f, "status/201", &first), SENDIT_OK);
    assert_int_equal(get(f, "status/202", &second), SENDIT_OK);
    assert_string_equal(first->body, "status 201");
    assert_string_equal(second->body, "status 202");
}

static void test_headers_of_an_answer(void **state)
{
    struct fixture *f = *state;
    const struct sendit_http_response *r = NULL;

    assert_int_equal(get(f, "echo", &r), SENDIT_OK);
    assert_string_equal(f->http->header(r, "X-Twice"), "first");
    assert_string_equal(f->http->header(r, "x-tWICE"), "first");
    assert_string_equal(f->http->header(r, "X-Empty"), "");
    assert_string_equal(f->http->header(r, "x-spaced"), "a b");
    assert_non_null(f->http->header(r, "content-length"));
    assert_null(f->http->header(r, "X-Twic"));
    assert_null(f->http->header(r, "X-Twice:"));
    assert_null(f->http->header(r, "first"));
    assert_null(f->http->header(r, ""));
    assert_null(f->http->header(r, NULL));
    assert_null(f->http->header(NULL, "X-Twice"));
    assert_int_equal(get(f, "interim", &r), SENDIT_OK);
    assert_string_equal(f->http->header(r, "X-Late"), "yes");
    assert_null(f->http->header(r, "X-Early"));
    assert_string_equal(r->body, "late");
    assert_int_equal(get(f, "chunked", &r), SENDIT_OK);
    assert_string_equal(f->http->header(r, "X-Trailer"), "end");
}

static void test_answers_that_are_none(void **state)
{
    static const char *const paths[] = {"cut",
                                        "silent",
                                        "garbage",
                                        "http09",
                                        "bad-chunk",
                                        "status-line/letters",
                                        "status-line/short",
                                        "status-line/version",
                                        "status-line/negative",
                                        "nul-header"};
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
        assert_fails(f, paths[i], SENDIT_EIO);
    assert_false(f->host.bug); /* none of it is the stage's fault */
    assert_get(f, "status/200", 200, "status 200");
}

static void test_nobody_listens(void **state)
{
    struct fixture *f = *state;

    snprintf(f->base, sizeof(f->base), "http://127.0.0.1:1/any");
    assert_fails(f, "status/200", SENDIT_EIO);
}

static void test_redirects_are_answers(void **state)
{
    struct fixture *f = *state;
    const struct sendit_http_response *r = NULL;
    int before = counted(f, "requests");

    assert_int_equal(get(f, "redirect", &r), SENDIT_OK);
    assert_int_equal(r->status, 302);
    assert_string_equal(f->http->header(r, "Location"), "/status/200");
    assert_int_equal(counted(f, "requests"), before + 2);
}

static void test_size_of_an_answer(void **state)
{
    struct fixture *f = *state;
    const struct sendit_http_response *response = NULL;
    struct sendit_http_request r = request("GET", url(f, "bytes/1000"));

    r.max_body = 1000;
    assert_int_equal(f->http->send(f->h, &r, &response), SENDIT_OK);
    assert_int_equal(response->length, 1000);
    r.max_body = 999;
    response = NULL;
    assert_int_equal(f->http->send(f->h, &r, &response), SENDIT_ECORRUPT);
    assert_null(response);
    assert_fails(f, "bytes/1048577", SENDIT_ECORRUPT);
    assert_fails(f, "endless", SENDIT_ECORRUPT);
    assert_fails(f, "headers/90", SENDIT_ECORRUPT);
    assert_int_equal(get(f, "bytes/1048576", &response), SENDIT_OK);
    assert_int_equal(get(f, "headers/50", &response), SENDIT_OK);
    r = request("HEAD", url(f, "bytes/5000000")); /* a length alone is no body */
    assert_int_equal(f->http->send(f->h, &r, &response), SENDIT_OK);
    assert_int_equal(response->length, 0);
    assert_string_equal(f->http->header(response, "Content-Length"), "5000000");
}

/* ---- requests ---- */

static const char *echo(struct fixture *f, const struct sendit_http_request *r)
{
    const struct sendit_http_response *response = NULL;

    assert_int_equal(f->http->send(f->h, r, &response), SENDIT_OK);
    assert_int_equal(response->status, 200);
    return response->body;
}

#define SHA_OF_ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

static void test_bodies(void **state)
{
    struct fixture *f = *state;
    char path[100];
    const char *body;
    struct sendit_part parts[4] = {{.data = "a", .length = 1, .fd = -1},
                                   {.length = 1, .offset = 7},
                                   {.data = "zzz", .length = 0, .fd = -1},
                                   {.data = "c", .length = 1, .fd = -1}};
    struct sendit_http_request r = request("PUT", url(f, "echo"));

    snprintf(path, sizeof(path), "%s/part", server.folder);
    assert_int_equal(file_replace(path, "0123456b89", 10, 0600), 0);
    parts[1].fd = open(path, O_RDONLY | O_CLOEXEC);
    r.body = parts;
    r.n_body = 4;
    body = echo(f, &r);
    assert_non_null(strstr(body, "length 3\nsha256 " SHA_OF_ABC));
    assert_non_null(strstr(body, "PUT /echo\n"));
    assert_null(strstr(body, "content-type"));
    assert_null(strstr(body, "expect"));
    assert_int_equal(lseek(parts[1].fd, 0, SEEK_CUR), 0); /* its place is not ours to move */
    r.method = "DELETE";
    assert_non_null(strstr(echo(f, &r), "length 3\n"));
    r = request("POST", url(f, "echo"));
    assert_non_null(strstr(echo(f, &r), "content-length: 0\n"));
    r = request("DELETE", url(f, "echo"));
    assert_null(strstr(echo(f, &r), "content-length"));
    close(parts[1].fd);
}

static void test_a_body_that_is_not_there(void **state)
{
    struct fixture *f = *state;
    const struct sendit_http_response *response = NULL;
    struct sendit_part part = {.length = 5000, .offset = 0};
    struct sendit_http_request r = request("PUT", url(f, "echo"));
    char path[100];

    snprintf(path, sizeof(path), "%s/short", server.folder);
    assert_int_equal(file_replace(path, "0123456789", 10, 0600), 0);
    part.fd = open(path, O_RDONLY | O_CLOEXEC);
    r.body = &part;
    r.n_body = 1;
    assert_int_equal(f->http->send(f->h, &r, &response), SENDIT_EIO);
    close(part.fd);
    part.fd = 1000; /* closed */
    assert_int_equal(f->http->send(f->h, &r, &response), SENDIT_EIO);
    assert_get(f, "status/200", 200, "status 200");
}

/* Three gigabytes of a file with holes: as little memory as for three bytes. */
static void test_a_large_body(void **state)
{
    struct fixture *f = *state;
    static const char *const headers[] = {"X-Sparse: yes", NULL};
    struct sendit_part part = {.length = 3ull << 30};
    struct sendit_http_request r = request("PUT", url(f, "echo"));
    struct rusage before, after;
    char path[100];

    snprintf(path, sizeof(path), "%s/sparse", server.folder);
    part.fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(part.fd, 3ll << 30), 0);
    r.headers = headers;
    r.body = &part;
    r.n_body = 1;
    getrusage(RUSAGE_SELF, &before);
    assert_non_null(strstr(echo(f, &r), "length 3221225472\n"));
    getrusage(RUSAGE_SELF, &after);
    assert_true(after.ru_maxrss - before.ru_maxrss < 16 * 1024);
    close(part.fd);
    unlink(path);
}

static void test_headers_of_a_request(void **state)
{
    struct fixture *f = *state;
    static const char *const headers[] = {"X-One: 1",       "X-Empty:",         "X-Blank: \t",
                                          "Accept: text/x", "User-Agent: mine", NULL};
    struct sendit_http_request r = request("GET", url(f, "echo"));
    const char *body;

    r.headers = headers;
    body = echo(f, &r);
    assert_non_null(strstr(body, "\nx-one: 1"));
    assert_non_null(strstr(body, "\nx-empty: "));
    assert_non_null(strstr(body, "\nx-blank: "));
    assert_non_null(strstr(body, "\naccept: text/x"));
    assert_non_null(strstr(body, "\nuser-agent: mine"));
    r.headers = NULL;
    assert_non_null(strstr(echo(f, &r), "\nuser-agent: sendit/"));
}

static void test_an_early_answer(void **state)
{
    struct fixture *f = *state;
    static char bytes[4 << 20];
    const struct sendit_http_response *response = NULL;
    struct sendit_part part = {.data = bytes, .length = sizeof(bytes), .fd = -1};
    struct sendit_http_request r = request("PUT", url(f, "early"));
    sendit_result result;

    r.body = &part;
    r.n_body = 1;
    result = f->http->send(f->h, &r, &response); /* the answer, or the reset that came after it */
    assert_true(result == SENDIT_OK ? response->status == 403 : result == SENDIT_EIO);
}

/* A connection that the server closed while it was idle: the whole body goes once more. */
static void test_a_connection_that_went_away(void **state)
{
    struct fixture *f = *state;
    struct sendit_part part = {.data = "abc", .length = 3, .fd = -1};
    struct sendit_http_request r = request("PUT", NULL);

    r.body = &part;
    r.n_body = 1;
    for (int i = 0; i < 20; i++) {
        assert_get(f, "last", 200, "last");
        r.url = url(f, "echo");
        assert_non_null(strstr(echo(f, &r), SHA_OF_ABC));
    }
}

/* The same where it shows only while the body goes: a reset, or a pipe that is broken. */
static void test_a_connection_that_goes_away(void **state)
{
    static char bytes[8 << 20];
    struct fixture *f = *state;
    const struct sendit_http_response *response;
    struct sendit_part part = {.data = bytes, .length = sizeof(bytes), .fd = -1};

    for (uint32_t once = 0; once < 2; once++)
        for (int i = 0; i < 5; i++) {
            struct sendit_http_request r = request("PUT", NULL);
            sendit_result result;

            r.body = &part;
            r.n_body = 1;
            r.once = once;
            assert_get(f, "reset/dead", 200, "");
            assert_get(f, "status/200", 200, "status 200"); /* the connection is kept */
            r.url = url(f, "dead");
            result = f->http->send(f->h, &r, &response);
            assert_int_equal(result, once ? SENDIT_EIO : SENDIT_OK);
            assert_int_equal(counted(f, "dead"), once ? 1 : 2);
            if (!once)
                assert_string_equal(response->body, "8388608");
        }
}

/* What may be done twice goes out anew where a connection that was kept gives no answer; what must
 * not, does not. */
static void test_once(void **state)
{
    static const char *const methods[] = {"PUT", "POST", "DELETE"};
    struct fixture *f = *state;
    struct sendit_part part = {.data = "abc", .length = 3, .fd = -1};
    const struct sendit_http_response *response;

    for (size_t i = 0; i < 3; i++)
        for (uint32_t once = 0; once < 2; once++) {
            struct sendit_http_request r = request(methods[i], NULL);

            r.body = &part;
            r.n_body = i < 2;
            r.once = once;
            assert_get(f, "reset/lost", 200, "");
            assert_get(f, "status/200", 200, "status 200"); /* the connection is kept */
            r.url = url(f, "lost");
            assert_int_equal(f->http->send(f->h, &r, &response), SENDIT_EIO);
            assert_int_equal(counted(f, "lost"), once ? 1 : 2);
            r.url = url(f, "status/200");
            assert_int_equal(f->http->send(f->h, &r, &response), SENDIT_OK);
            assert_int_equal(response->status, 200);
        }
}

/* ---- what a stage must not ask ---- */

static void assert_misuse(struct fixture *f, const struct sendit_http_request *r)
{
    const struct sendit_http_response *response = NULL;
    struct answers answers = {0};

    f->host.bug = false;
    assert_int_equal(f->http->send(f->h, r, &response), SENDIT_EINVAL);
    assert_true(f->host.bug);
    assert_null(response);
    f->host.bug = false;
    assert_int_equal(f->http->start(f->h, r, note, &answers), SENDIT_EINVAL);
    assert_true(f->host.bug);
    assert_int_equal(answers.n, 0);
}

static void test_methods_that_are_none(void **state)
{
    static const char *const methods[] = {NULL,
                                          "",
                                          "get",
                                          "GET ",
                                          "GET /\r\nX: y",
                                          "TRACE",
                                          "CONNECT",
                                          "M-SEARCH",
                                          "GETGETGETGETGETGET"};
    struct fixture *f = *state;
    struct sendit_http_request r = request("GET", url(f, "status/200"));

    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        r.method = methods[i];
        assert_misuse(f, &r);
    }
}

static void test_headers_that_are_none(void **state)
{
    static const char *const bad[] = {"",
                                      "X",
                                      ": x",
                                      "X y: z",
                                      "X: a\r\nY: b",
                                      "X: a\nY: b",
                                      "X: a\rb",
                                      "X: \x7f",
                                      "X\n: a",
                                      " X: a",
                                      "X;",
                                      "Host: other.example",
                                      "hOST: other.example",
                                      "Content-Length: 5",
                                      "Transfer-Encoding: chunked",
                                      "Expect: 100-continue",
                                      "Connection: close",
                                      "Upgrade: h2c",
                                      "TE: trailers",
                                      "Trailer: X",
                                      "Proxy-Authorization: Basic eDp5"};
    struct fixture *f = *state;
    struct sendit_http_request r = request("GET", url(f, "status/200"));
    const char *headers[HTTP_MAX_HEADERS + 2] = {NULL};
    char *longest = malloc(HTTP_MAX_HEADER + 2);

    r.headers = headers;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        headers[0] = bad[i];
        assert_misuse(f, &r);
    }
    assert_non_null(longest);
    memset(longest, 'x', HTTP_MAX_HEADER + 1);
    longest[1] = ':';
    longest[HTTP_MAX_HEADER + 1] = '\0';
    headers[0] = longest;
    assert_misuse(f, &r);
    free(longest);
    for (size_t i = 0; i <= HTTP_MAX_HEADERS; i++)
        headers[i] = "X: y";
    assert_misuse(f, &r);
}

static void test_bodies_that_cannot_be(void **state)
{
    const struct sendit_part bad[] = {{.length = 1, .fd = -1},
                                      {.length = UINT64_MAX, .fd = 0},
                                      {.length = 2, .offset = INT64_MAX, .fd = 0},
                                      {.data = "x", .length = UINT64_MAX, .fd = -1}};
    struct fixture *f = *state;
    struct sendit_http_request r = request("PUT", url(f, "status/200"));

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        r.body = &bad[i];
        r.n_body = 1;
        assert_misuse(f, &r);
    }
    r.body = NULL;
    assert_misuse(f, &r);
    r.body = bad;
    r.n_body = HTTP_MAX_PARTS + 1;
    assert_misuse(f, &r);
    r.n_body = 1;
    r.method = "GET";
    assert_misuse(f, &r);
    r.method = "HEAD";
    assert_misuse(f, &r);
}

static void test_other_misuse(void **state)
{
    struct fixture *f = *state;
    const struct sendit_http_response *response = NULL;
    struct sendit_http_request r = request("GET", NULL);

    assert_misuse(f, NULL);
    assert_misuse(f, &r);
    r.url = url(f, "status/200");
    r.size = 0;
    assert_misuse(f, &r);
    r.size = 8;
    assert_misuse(f, &r);
    r.size = sizeof(r);
    f->host.bug = false;
    assert_int_equal(f->http->send(f->h, &r, NULL), SENDIT_EINVAL);
    assert_true(f->host.bug);
    f->host.bug = false;
    assert_int_equal(f->http->start(f->h, &r, NULL, NULL), SENDIT_EINVAL);
    assert_true(f->host.bug);
    r.auth = "name"; /* no SECRET */
    assert_misuse(f, &r);
    r.auth = "nothing";
    assert_misuse(f, &r);
    r.auth = NULL;
    r.client_cert = "ca";
    assert_misuse(f, &r);
    r.client_cert = NULL;
    r.ca_file = "key";
    assert_misuse(f, &r);
    r.ca_file = NULL;
    f->host.bug = false;
    r.size = offsetof(struct sendit_http_request, headers); /* compiled long ago */
    r.auth = "nothing";
    assert_int_equal(f->http->send(f->h, &r, &response), SENDIT_OK);
    assert_false(f->host.bug);
}

static sendit_result check(struct fixture *f, const char *text)
{
    struct http_origin origin = {0};
    CURLU *parsed = NULL;
    sendit_result r = http_url_check(&f->stage, text, &parsed, &origin);

    if (r == SENDIT_OK) {
        http_origin_fini(&origin);
        curl_url_cleanup(parsed);
    }
    return r;
}

static void test_urls(void **state)
{
    static const char *const good[] = {"https://one.example/",
                                       "https://one.example",
                                       "https://one.example:443/x?y#z",
                                       "HTTPS://ONE.example/api/../x",
                                       "https://two.example:8443/x",
                                       "http://metadata.google.internal/computeMetadata",
                                       "http://[::1]:8080/"};
    static const char *const denied[] = {"https://one.example:8443/",
                                         "https://two.example/",
                                         "http://one.example/",
                                         "http://plain.example/", /* named, but no TLS */
                                         "https://plain.example/",
                                         "https://metadata.google.internal/",
                                         "http://169.254.169.254/",
                                         "https://name.example/", /* no URL option */
                                         "https://one.example.evil.example/",
                                         "https://evil.example/one.example",
                                         "https://evil.example?https://one.example/",
                                         "https://evil.example#@one.example/",
                                         "https://one.example./",
                                         "https://xone.example/",
                                         "ftp://one.example/",
                                         "gopher://one.example/",
                                         "http://[::1]/"};
    static const char *const broken[] = {"",
                                         "one.example",
                                         "//one.example/",
                                         "https://",
                                         "https:///path",
                                         "https://user@one.example/",
                                         "https://user:password@one.example/",
                                         "https://evil.example@one.example/",
                                         "https://one.example@evil.example/",
                                         "https://one.example\\@evil.example/",
                                         "https://one.example /",
                                         "https://one.example/a b",
                                         "https://one.example/\r\nX: y",
                                         "https://one.example/\xc3\xa4",
                                         "https://one.example:99999/",
                                         "https://one.example:x/",
                                         "https://[::1/",
                                         "file:///etc/passwd",
                                         "javascript:alert(1)"};
    struct fixture *f = *state;
    char longest[HTTP_MAX_URL + 10];

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        if (check(f, good[i]) != SENDIT_OK)
            fail_msg("%s: %d", good[i], check(f, good[i]));
    for (size_t i = 0; i < sizeof(denied) / sizeof(denied[0]); i++)
        if (check(f, denied[i]) != SENDIT_EDENIED)
            fail_msg("%s: %d", denied[i], check(f, denied[i]));
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++)
        if (check(f, broken[i]) != SENDIT_EINVAL && check(f, broken[i]) != SENDIT_EDENIED)
            fail_msg("%s: %d", broken[i], check(f, broken[i]));
    memset(longest, 'x', sizeof(longest));
    memcpy(longest, "https://one.example/", 20);
    longest[HTTP_MAX_URL] = '\0';
    assert_int_equal(check(f, longest), SENDIT_OK);
    longest[HTTP_MAX_URL] = 'x';
    longest[HTTP_MAX_URL + 1] = '\0';
    assert_int_equal(check(f, longest), SENDIT_EINVAL);
    f->values[PLACES].list = NULL;
    assert_int_equal(check(f, good[0]), SENDIT_EDENIED);
}

/* However the site spells this machine, a service that has an address of its own is not here. */
static void test_a_service_on_this_machine(void **state)
{
    static const char *const urls[] = {"http://127.0.0.1:1234/", "http://127.1:1234/",
                                       "http://0x7f000001:1234/", "http://2130706433:1234/",
                                       "http://[::1]:1234/"};
    static char *allow[] = {(char *)"network", (char *)"emulator", NULL};
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        f->values[ENDPOINT].text = (char *)(uintptr_t)urls[i];
        f->stage.allow = NULL;
        assert_int_equal(check(f, urls[i]), SENDIT_EDENIED);
        f->stage.allow = allow;
        assert_int_equal(check(f, urls[i]), SENDIT_OK);
    }
}

static void test_other_hosts_are_denied(void **state)
{
    struct fixture *f = *state;
    const struct sendit_http_response *response = NULL;
    struct answers answers = {0};
    struct sendit_http_request r = request("GET", f->url);

    snprintf(f->url, sizeof(f->url), "http://localhost:%d/status/200", port_of("proxy"));
    assert_int_equal(f->http->send(f->h, &r, &response), SENDIT_EDENIED);
    assert_int_equal(f->http->start(f->h, &r, note, &answers), SENDIT_EDENIED);
    snprintf(f->url, sizeof(f->url), "http://127.0.0.1:%d/status/200", port_of("http"));
    assert_int_equal(f->http->send(f->h, &r, &response), SENDIT_EDENIED); /* is not localhost */
    assert_non_null(strstr(f->link.last_message, "http.denied"));
    assert_null(strstr(f->link.last_message, "127.0.0.1"));
    assert_int_equal(answers.n, 0);
    assert_false(f->host.bug); /* a URL may come from a peer */
}

/* ---- secrets ---- */

static void test_auth(void **state)
{
    struct fixture *f = *state;
    const struct sendit_http_response *response = NULL;
    static const char *const own[] = {"authorization: mine", NULL};
    struct sendit_http_request r = request("GET", url(f, "echo"));

    r.auth = "key";
    f->values[KEY].text = (char *)"env:TEST_HTTP_KEY";
    f->values[KEY].given = true;
    setenv("TEST_HTTP_KEY", "token.with-all_of/it+==", 1);
    assert_non_null(strstr(echo(f, &r), "\nauthorization: Bearer token.with-all_of/it+=="));
    setenv("TEST_HTTP_KEY", "user:pass:word", 1);
    assert_non_null(strstr(echo(f, &r), "\nauthorization: Basic dXNlcjpwYXNzOndvcmQ="));
    setenv("TEST_HTTP_KEY", ":", 1);
    assert_non_null(strstr(echo(f, &r), "\nauthorization: Basic Og=="));
    setenv("TEST_HTTP_KEY", "two\r\nX-Lines: yes", 1);
    assert_int_equal(f->http->send(f->h, &r, &response), SENDIT_ECORRUPT);
    unsetenv("TEST_HTTP_KEY");
    assert_int_equal(f->http->send(f->h, &r, &response), SENDIT_EIO);
    r.auth = "no_key";
    assert_null(strstr(echo(f, &r), "authorization"));
    r.headers = own;
    r.auth = NULL;
    assert_non_null(strstr(echo(f, &r), "\nauthorization: mine"));
    r.auth = "key";
    assert_misuse(f, &r); /* two of them */
}

/* Neither the secret nor anything of the URL but its host is said. */
static void test_redaction(void **state)
{
    struct fixture *f = *state;
    char path[100], said[8192] = "";
    struct sendit_http_request r = request("GET", url(f, "status/200?pseudonym=ABC123"));
    const struct sendit_http_response *response = NULL;
    int saved = dup(2), fd;

    snprintf(path, sizeof(path), "%s/log", server.folder);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && saved >= 0);
    dup2(fd, 2);
    log_init(LOG_DEBUG);
    setenv("TEST_HTTP_KEY", "sesame", 1);
    f->values[KEY].text = (char *)"env:TEST_HTTP_KEY";
    r.auth = "key";
    assert_int_equal(f->http->send(f->h, &r, &response), SENDIT_OK);
    r.url = url(f, "cut?pseudonym=ABC123");
    assert_int_equal(f->http->send(f->h, &r, &response), SENDIT_EIO);
    log_init(LOG_OFF);
    dup2(saved, 2);
    close(saved);
    assert_true(pread(fd, said, sizeof(said) - 1, 0) > 0);
    close(fd);
    assert_non_null(strstr(said, "GET localhost 200"));
    assert_non_null(strstr(said, "http.failed"));
    assert_null(strstr(said, "ABC123"));
    assert_null(strstr(said, "status/"));
    assert_null(strstr(said, "sesame"));
    assert_null(strstr(said, "Bearer"));
    assert_null(strstr(f->link.last_message, "ABC123"));
}

/* ---- TLS ---- */

static sendit_result tls(struct fixture *f, const char *name, const char *ca, const char *cert)
{
    const struct sendit_http_response *response = NULL;
    struct sendit_http_request r;
    sendit_result result;

    use(f, "https", name);
    r = request("GET", url(f, "status/200"));
    r.ca_file = ca;
    r.client_cert = cert;
    result = f->http->send(f->h, &r, &response);
    if (result == SENDIT_OK)
        assert_int_equal(response->status, 200);
    return result;
}

static void test_tls(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(tls(f, "tls", "ca", NULL), SENDIT_OK);
    assert_int_equal(tls(f, "tls12", "ca", NULL), SENDIT_OK);
    assert_int_equal(tls(f, "tls11", "ca", NULL), SENDIT_EIO);
    assert_int_equal(tls(f, "tls", NULL, NULL), SENDIT_EIO); /* the system does not know the CA */
    assert_int_equal(tls(f, "tls", "no_ca", NULL), SENDIT_EIO);
    assert_int_equal(tls(f, "expired", "ca", NULL), SENDIT_EIO);
    assert_int_equal(tls(f, "self-signed", "ca", NULL), SENDIT_EIO);
    assert_int_equal(tls(f, "wrong-host", "ca", NULL), SENDIT_EIO);
    assert_non_null(strstr(f->link.last_message, "|3|http.failed|")); /* somebody must act */
    assert_int_equal(tls(f, "http", "ca", NULL), SENDIT_EIO);         /* no TLS there */
    snprintf(f->ca, sizeof(f->ca), "%s/missing", server.folder);
    assert_int_equal(tls(f, "tls", "ca", NULL), SENDIT_EIO);
    snprintf(f->ca, sizeof(f->ca), "%s/good.key", server.folder); /* no certificate in it */
    assert_int_equal(tls(f, "tls", "ca", NULL), SENDIT_EIO);
}

/* One that was trusted for one request is not for the next, which trusts others. */
static void test_trust_is_of_the_request(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(tls(f, "tls", "ca", NULL), SENDIT_OK);
    assert_int_equal(tls(f, "tls", NULL, NULL), SENDIT_EIO);
    snprintf(f->ca, sizeof(f->ca), "%s/self-signed.crt", server.folder);
    assert_int_equal(tls(f, "tls", "ca", NULL), SENDIT_EIO);
    assert_int_equal(tls(f, "self-signed", "ca", NULL), SENDIT_OK);
}

static void test_client_certificate(void **state)
{
    struct fixture *f = *state;

    f->values[CERT].text = f->cert;
    snprintf(f->cert, sizeof(f->cert), "file:%s/client.pem", server.folder);
    assert_int_equal(tls(f, "mutual", "ca", NULL), SENDIT_EIO);
    assert_int_equal(tls(f, "mutual", "ca", "cert"), SENDIT_OK);
    assert_int_equal(tls(f, "mutual", "ca", NULL), SENDIT_EIO); /* not on that connection either */
    assert_int_equal(tls(f, "mutual", "ca", "no_key"), SENDIT_EIO);
    snprintf(f->cert, sizeof(f->cert), "file:%s/stranger.pem", server.folder);
    assert_int_equal(tls(f, "mutual", "ca", "cert"), SENDIT_EIO);
    snprintf(f->cert, sizeof(f->cert), "file:%s/ca.crt", server.folder); /* others can read it */
    assert_int_equal(tls(f, "mutual", "ca", "cert"), SENDIT_EDENIED);
    setenv("TEST_HTTP_CERT", "no certificate at all", 1);
    snprintf(f->cert, sizeof(f->cert), "env:TEST_HTTP_CERT");
    assert_int_equal(tls(f, "mutual", "ca", "cert"), SENDIT_EIO);
}

/* ---- proxies ---- */

static void test_proxy(void **state)
{
    struct fixture *f = *state;
    const struct sendit_http_response *response = NULL;
    struct sendit_http_request r = request("GET", "https://one.example/");
    char proxy[100];

    snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%d", port_of("proxy"));
    setenv("https_proxy", proxy, 1);
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
    assert_int_equal(f->http->send(f->h, &r, &response), SENDIT_EIO); /* it answers 403 */
    assert_get(f, "status/200", 200, "status 200"); /* loopback is never somebody else's */
    assert_int_equal(counted(f, "CONNECT-one.example:443"), 1);
    unsetenv("https_proxy");
    unsetenv("http_proxy");
    unsetenv("ALL_PROXY");
}

/* ---- time ---- */

static void test_timeouts(void **state)
{
    static const char *const paths[] = {"mute", "stall", "drip"};
    struct fixture *f = *state;
    const struct sendit_http_response *response = NULL;
    int64_t began = ms();

    for (size_t i = 0; i < 3; i++) {
        struct sendit_http_request r = request("GET", url(f, paths[i]));

        r.timeout_ms = 300;
        assert_int_equal(f->http->send(f->h, &r, &response), SENDIT_EIO);
    }
    assert_in_range(ms() - began, 900, 5000);
}

static void test_stalls(void **state)
{
    struct fixture *f = *state;
    int64_t began = ms();

    f->env.http_stall_s = 1;
    assert_fails(f, "mute", SENDIT_EIO);
    assert_fails(f, "stall", SENDIT_EIO);
    assert_fails(f, "drip", SENDIT_EIO);
    assert_in_range(ms() - began, 3000, 20000);
}

static void test_delay(void **state)
{
    struct fixture *f = *state;
    struct sendit_http_request r = request("GET", url(f, "status/200"));
    struct answers late = {0}, soon = {0};
    int64_t began = ms();

    r.delay_ms = 400;
    assert_int_equal(f->http->start(f->h, &r, note, &late), SENDIT_OK);
    assert_int_equal(start(f, "status/201", &soon), SENDIT_OK);
    assert_int_equal(f->http->drain(f->h, 1), SENDIT_OK);
    assert_int_equal(soon.ok, 1);
    assert_int_equal(late.n, 0);
    assert_true(ms() - began < 400);
    assert_int_equal(f->http->drain(f->h, 0), SENDIT_OK);
    assert_int_equal(late.ok, 1);
    assert_in_range(ms() - began, 400, 5000);
}

/* ---- many ---- */

static void test_connections_are_reused(void **state)
{
    struct fixture *f = *state;

    assert_get(f, "reset/http", 200, "");
    for (int i = 0; i < 20; i++)
        assert_get(f, "status/200", 200, "status 200");
    assert_int_equal(counted(f, "http"), 0); /* that of the reset does for all */
}

static void test_many_in_flight(void **state)
{
    struct fixture *f = *state;
    struct answers answers = {0};
    char path[40];

    snprintf(path, sizeof(path), "barrier/%d", HTTP_MAX_CONNECTIONS);
    for (int i = 0; i < HTTP_MAX_CONNECTIONS; i++)
        assert_int_equal(start(f, path, &answers), SENDIT_OK);
    assert_int_equal(f->http->drain(f->h, 0), SENDIT_OK);
    assert_int_equal(answers.ok, HTTP_MAX_CONNECTIONS);
    assert_int_equal(answers.status, 200); /* all were there at once */
    memset(&answers, 0, sizeof(answers));
    for (int i = 0; i < 500; i++) {
        assert_int_equal(start(f, "status/200", &answers), SENDIT_OK);
        assert_true(http_in_flight(&f->host) <= HTTP_MAX_IN_FLIGHT);
    }
    assert_int_equal(f->http->drain(f->h, 100), SENDIT_OK);
    assert_true(http_in_flight(&f->host) <= 100 && answers.ok >= 400);
    assert_int_equal(f->http->drain(f->h, 0), SENDIT_OK);
    assert_int_equal(answers.ok, 500);
    assert_int_equal(answers.n, 500);
}

static void test_start_waits_for_room(void **state)
{
    struct fixture *f = *state;
    struct answers answers = {0};

    for (int i = 0; i < HTTP_MAX_IN_FLIGHT; i++)
        assert_int_equal(start(f, "sleep/0.3", &answers), SENDIT_OK);
    assert_int_equal(answers.n, 0);
    assert_int_equal(start(f, "sleep/0", &answers), SENDIT_OK);
    assert_true(answers.n > 0);
    assert_int_equal(f->http->drain(f->h, 0), SENDIT_OK);
    assert_int_equal(answers.ok, HTTP_MAX_IN_FLIGHT + 1);
}

/* What a stage has in flight goes on in its later callbacks, and send() tells of it, too. */
static void test_across_callbacks(void **state)
{
    struct fixture *f = *state;
    struct answers answers = {0};

    assert_int_equal(start(f, "sleep/0.1", &answers), SENDIT_OK);
    host_leave(&f->host);
    usleep(200000);
    assert_int_equal(answers.n, 0); /* never outside a call */
    host_enter(&f->host);
    assert_int_equal(answers.n, 0);
    for (int i = 0; i < 100 && !answers.n; i++)
        assert_get(f, "sleep/0.02", 200, "slept");
    assert_int_equal(answers.ok, 1);
    assert_string_equal(answers.body, "slept");
}

/* ---- inside done() ---- */

struct retry {
    struct fixture *f;
    struct sendit_http_request request;
    int n;
    int64_t began;
    sendit_result send, drain, start;
};

static void try_again(void *ctx, sendit_result result, const struct sendit_http_response *response)
{
    struct retry *retry = ctx;
    const struct sendit_http_response *other = NULL;

    assert_int_equal(result, SENDIT_OK);
    retry->n++;
    if (response->status != 503)
        return;
    retry->send = retry->f->http->send(retry->f->h, &retry->request, &other);
    retry->drain = retry->f->http->drain(retry->f->h, 0);
    retry->request.delay_ms = 200;
    retry->start = retry->f->http->start(retry->f->h, &retry->request, try_again, retry);
    assert_int_equal(response->status, 503); /* still there */
}

static void test_retry_in_done(void **state)
{
    struct fixture *f = *state;
    struct retry retry = {.f = f, .request = request("GET", url(f, "twice/done")), .began = ms()};

    assert_int_equal(f->http->start(f->h, &retry.request, try_again, &retry), SENDIT_OK);
    assert_int_equal(f->http->drain(f->h, 0), SENDIT_OK);
    assert_int_equal(retry.n, 2);
    assert_int_equal(retry.send, SENDIT_EINVAL);
    assert_int_equal(retry.drain, SENDIT_EINVAL);
    assert_int_equal(retry.start, SENDIT_OK);
    assert_true(f->host.bug);
    assert_true(ms() - retry.began >= 200);
}

static void start_for_ever(void *ctx, sendit_result result,
                           const struct sendit_http_response *response)
{
    struct retry *retry = ctx;

    (void)result, (void)response;
    for (int i = 0; retry->start == SENDIT_OK && i < 10000; i++) {
        retry->n++;
        retry->start = retry->f->http->start(retry->f->h, &retry->request, start_for_ever, retry);
    }
}

static void test_done_has_its_bound(void **state)
{
    struct fixture *f = *state;
    struct retry retry = {.f = f, .request = request("GET", url(f, "status/200"))};

    assert_int_equal(f->http->start(f->h, &retry.request, start_for_ever, &retry), SENDIT_OK);
    assert_int_equal(f->http->drain(f->h, 0), SENDIT_OK);
    assert_int_equal(retry.start, SENDIT_ENOMEM);
    assert_in_range(retry.n, HTTP_MAX_IN_FLIGHT, 3 * HTTP_MAX_IN_FLIGHT);
}

/* ---- coming to an end ---- */

static int stop_soon(void *ctx)
{
    struct fake_link *link = ctx;

    return ++link->stop > 4; /* it is asked about every 50 ms */
}

static void test_stopping(void **state)
{
    struct fixture *f = *state;
    struct answers answers = {0};
    int64_t began = ms();

    f->link.table.canceled = stop_soon;
    assert_fails(f, "mute", SENDIT_ECANCELED);
    assert_fails(f, "status/200", SENDIT_ECANCELED);
    assert_int_equal(start(f, "status/200", &answers), SENDIT_ECANCELED);
    f->link.stop = 0;
    for (int i = 0; i < 3; i++)
        assert_int_equal(start(f, "mute", &answers), SENDIT_OK);
    assert_int_equal(f->http->drain(f->h, 0), SENDIT_ECANCELED);
    assert_int_equal(answers.n, 3);
    assert_int_equal(answers.last, SENDIT_ECANCELED);
    assert_int_equal(http_in_flight(&f->host), 0);
    assert_true(ms() - began < 3000);
}

static void test_stopping_while_start_waits(void **state)
{
    struct fixture *f = *state;
    struct answers answers = {0};

    for (int i = 0; i < HTTP_MAX_IN_FLIGHT; i++)
        assert_int_equal(start(f, "mute", &answers), SENDIT_OK);
    f->link.table.canceled = stop_soon;
    assert_int_equal(start(f, "mute", &answers), SENDIT_ECANCELED);
    assert_int_equal(answers.n, 0);
    f->link.table.canceled = fake_canceled;
    f->link.stop = 0;
    f->env.abandoning = true;
    assert_int_equal(f->http->drain(f->h, 0), SENDIT_OK);
    assert_int_equal(answers.n, HTTP_MAX_IN_FLIGHT);
    assert_int_equal(answers.last, SENDIT_ECANCELED);
}

/* Before stage_timeout the stage gets its way out; what is in flight goes on. */
static void test_deadline(void **state)
{
    struct fixture *f = *state;
    struct answers answers = {0};
    int64_t began = ms();

    f->plan.run[PLAN_STAGE_TIMEOUT].number = 500;
    assert_int_equal(start(f, "sleep/0.8", &answers), SENDIT_OK);
    assert_int_equal(f->http->drain(f->h, 0), SENDIT_ECANCELED);
    assert_in_range(ms() - began, 400, 700);
    assert_fails(f, "mute", SENDIT_ECANCELED);
    assert_int_equal(answers.n, 0);
    host_leave(&f->host);
    host_enter(&f->host);
    assert_int_equal(f->http->drain(f->h, 0), SENDIT_OK);
    assert_int_equal(answers.ok, 1);
}

static int n_goes_on;

static void count_goes_on(void *ctx)
{
    (void)ctx;
    n_goes_on++;
}

/* An upload that goes on is not late, however long it takes, and the supervisor is told so; nor
 * does one that has stopped going on profit by it. */
static void test_an_upload_that_goes_on(void **state)
{
    struct fixture *f = *state;
    const struct sendit_http_response *response;
    struct sendit_part part = {.length = 160u << 20};
    struct sendit_http_request r = request("PUT", url(f, "slow-body/0.015"));
    char path[100];
    int64_t began;

    snprintf(path, sizeof(path), "%s/upload", server.folder);
    part.fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(part.fd, 160 << 20), 0);
    r.body = &part;
    r.n_body = 1;
    f->plan.run[PLAN_STAGE_TIMEOUT].number = 1000;
    f->link.table.goes_on = count_goes_on;
    assert_int_equal(f->http->send(f->h, &r, &response), SENDIT_OK);
    assert_true(n_goes_on > 5);
    r.url = url(f, "mute");
    part.length = 10;
    began = ms();
    assert_int_equal(f->http->send(f->h, &r, &response), SENDIT_ECANCELED);
    assert_in_range(ms() - began, 700, 1800);
    close(part.fd);
    unlink(path);
}

static void test_cancelled_at_the_end(void **state)
{
    struct fixture *f = *state;
    struct answers answers = {0};

    assert_int_equal(start(f, "mute", &answers), SENDIT_OK);
    host_cancel(&f->host);
    assert_int_equal(answers.n, 1);
    assert_int_equal(answers.last, SENDIT_ECANCELED);
    assert_int_equal(start(f, "mute", &answers), SENDIT_OK);
    host_leave(&f->host);
    host_end_batch(&f->host);
    assert_int_equal(answers.n, 2);
    host_enter(&f->host);
    assert_false(f->host.bug);
}

static void again_when_cancelled(void *ctx, sendit_result result,
                                 const struct sendit_http_response *response)
{
    struct retry *retry = ctx;

    (void)response;
    assert_int_equal(result, SENDIT_ECANCELED);
    retry->n++;
    retry->start = retry->f->http->start(retry->f->h, &retry->request, again_when_cancelled, retry);
}

static void test_no_retry_of_what_is_cancelled(void **state)
{
    struct fixture *f = *state;
    struct retry retry = {.f = f, .request = request("GET", url(f, "mute"))};

    assert_int_equal(f->http->start(f->h, &retry.request, again_when_cancelled, &retry), SENDIT_OK);
    host_cancel(&f->host);
    assert_int_equal(retry.n, 1);
    assert_int_equal(retry.start, SENDIT_ECANCELED);
    assert_int_equal(http_in_flight(&f->host), 0);
}

/* Two stages of one worker: one's answers are not told in the other's callback. */
static void test_two_stages(void **state)
{
    struct fixture *f = *state;
    struct host other;
    struct answers answers = {0}, others = {0};
    struct sendit_http_request r = request("GET", url(f, "status/200"));

    host_init(&other, &f->env, &f->stage);
    assert_int_equal(start(f, "sleep/0.1", &answers), SENDIT_OK);
    host_leave(&f->host);
    host_enter(&other);
    assert_int_equal(f->http->start(&other.host, &r, note, &others), SENDIT_OK);
    assert_int_equal(f->http->drain(&other.host, 0), SENDIT_OK);
    usleep(200000);
    assert_int_equal(f->http->start(&other.host, &r, note, &others), SENDIT_OK);
    assert_int_equal(f->http->drain(&other.host, 0), SENDIT_OK);
    assert_int_equal(others.ok, 2);
    assert_int_equal(answers.n, 0);
    host_leave(&other);
    host_fini(&other);
    host_enter(&f->host);
    assert_int_equal(f->http->drain(f->h, 0), SENDIT_OK);
    assert_int_equal(answers.ok, 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_gating),
        TEST(test_outside_a_callback),
        TEST(test_on_another_thread),
        TEST(test_answers),
        TEST(test_answers_live_until_the_callback_returns),
        TEST(test_headers_of_an_answer),
        TEST(test_answers_that_are_none),
        TEST(test_nobody_listens),
        TEST(test_redirects_are_answers),
        TEST(test_size_of_an_answer),
        TEST(test_bodies),
        TEST(test_a_body_that_is_not_there),
        TEST(test_a_large_body),
        TEST(test_headers_of_a_request),
        TEST(test_an_early_answer),
        TEST(test_a_connection_that_went_away),
        TEST(test_a_connection_that_goes_away),
        TEST(test_once),
        TEST(test_methods_that_are_none),
        TEST(test_headers_that_are_none),
        TEST(test_bodies_that_cannot_be),
        TEST(test_other_misuse),
        TEST(test_urls),
        TEST(test_a_service_on_this_machine),
        TEST(test_other_hosts_are_denied),
        TEST(test_auth),
        TEST(test_redaction),
        TEST(test_tls),
        TEST(test_trust_is_of_the_request),
        TEST(test_client_certificate),
        TEST(test_proxy),
        TEST(test_timeouts),
        TEST(test_stalls),
        TEST(test_delay),
        TEST(test_connections_are_reused),
        TEST(test_many_in_flight),
        TEST(test_start_waits_for_room),
        TEST(test_across_callbacks),
        TEST(test_retry_in_done),
        TEST(test_done_has_its_bound),
        TEST(test_stopping),
        TEST(test_stopping_while_start_waits),
        TEST(test_deadline),
        TEST(test_an_upload_that_goes_on),
        TEST(test_cancelled_at_the_end),
        TEST(test_no_retry_of_what_is_cancelled),
        TEST(test_two_stages),
    };

    return cmocka_run_group_tests(tests, start_server, stop_server);
}
