/* SPDX-License-Identifier: Apache-2.0 */
/* What the servers on loopback share. */
#include "fake_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *fake_read_file(const char *path)
{
    FILE *file = fopen(path, "r");
    char *text = NULL;
    size_t size = 0;

    if (file && getdelim(&text, &size, '\0', file) < 0) {
        free(text);
        text = NULL;
    }
    if (file)
        fclose(file);
    return text;
}

int fake_read_words(int argc, char **argv, int first, const struct fake_word *words, size_t n)
{
    for (int i = first; i < argc; i++) {
        char *equals = strchr(argv[i], '=');
        size_t k = 0;

        if (!equals)
            return -1;
        *equals = '\0';
        while (k < n && strcmp(words[k].name, argv[i]))
            k++;
        if (k == n)
            return -1;
        *words[k].value = equals + 1;
    }
    return 0;
}

int fake_is_due(const char *when, unsigned number, unsigned seed)
{
    unsigned from = 0, to = 0;
    char mark = '\0';
    int n = sscanf(when, "%u%c%u", &from, &mark, &to);

    if (n >= 2 && mark == '%')
        return ((number + seed) * 2654435761u >> 16) % 100 < from;
    if (n >= 2 && mark == '-')
        return number >= from && (n == 2 || number <= to);
    return n == 1 && number == from;
}

void fake_log(const char *path, const json_t *line)
{
    char *text = json_dumps(line, JSON_COMPACT);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

    if (text && fd >= 0)
        dprintf(fd, "%s\n", text);
    if (fd >= 0)
        close(fd);
    free(text);
}

struct MHD_Daemon *fake_start(const struct fake_tls *tls, unsigned port,
                              MHD_AccessHandlerCallback handler,
                              const struct MHD_OptionItem *options, unsigned *ret_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION;
    char *cert = tls->cert ? fake_read_file(tls->cert) : NULL;
    char *key = tls->key ? fake_read_file(tls->key) : NULL;
    char *trust = tls->client_ca ? fake_read_file(tls->client_ca) : NULL;
    struct MHD_OptionItem secure[] = {
        {MHD_OPTION_HTTPS_MEM_CERT, 0, cert},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, key},
        {MHD_OPTION_HTTPS_PRIORITIES, 0,
         (void *)(uintptr_t)(tls->priority ? tls->priority : "NORMAL")},
        {trust ? MHD_OPTION_HTTPS_MEM_TRUST : MHD_OPTION_END, 0, trust},
        {MHD_OPTION_END, 0, NULL}};
    const struct MHD_OptionItem plain[] = {{MHD_OPTION_END, 0, NULL}};
    const union MHD_DaemonInfo *info;
    struct MHD_Daemon *daemon;

    signal(SIGPIPE, SIG_IGN);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (tls->cert)
        flags |= MHD_USE_TLS;
    daemon = MHD_start_daemon(flags, 0, NULL, NULL, handler, NULL, MHD_OPTION_SOCK_ADDR,
                              (struct sockaddr *)&address, MHD_OPTION_LISTENING_ADDRESS_REUSE, 1u,
                              MHD_OPTION_ARRAY, options, MHD_OPTION_ARRAY, cert ? secure : plain,
                              MHD_OPTION_END);
    info = daemon ? MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT) : NULL;
    if (!info) {
        fprintf(stderr, "the server cannot be started\n");
        return NULL;
    }
    *ret_port = info->port;
    return daemon; /* which goes on reading the PEM texts */
}

_Noreturn void fake_wait(void)
{
    char byte;

    while (read(STDIN_FILENO, &byte, 1) > 0 || errno == EINTR)
        ;
    _exit(0); /* whoever is answered slowly is left */
}
