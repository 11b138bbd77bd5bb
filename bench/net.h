/* What mock.c, load.c and relay.c share: growable buffers, clocks, sockets, HTTP/1.1 framing.
 *
 * Header-only, so that `cc -O2 -o mock mock.c` is the whole build. Every socket is non-blocking and
 * every address is the one given on the command line, 127.0.0.1 unless told otherwise. */
#ifndef BENCH_NET_H
#define BENCH_NET_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SHARED static __attribute__((unused))
enum { READ_SIZE = 65536, BACKLOG = 4096, LIFE_SECONDS = 3600 };

SHARED void die(const char *what) {
    perror(what);
    exit(2);
}

SHARED uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- buffers: bytes [start, end) of data ------------------------------------------------- */

struct buf {
    char *data;
    size_t start, end, cap;
};

SHARED size_t buf_len(const struct buf *b) { return b->end - b->start; }
SHARED char *buf_at(const struct buf *b) { return b->data + b->start; }

SHARED void buf_need(struct buf *b, size_t room) {
    if (b->start && b->start == b->end) b->start = b->end = 0;
    if (b->cap - b->end >= room) return;
    if (b->start) {
        memmove(b->data, b->data + b->start, buf_len(b));
        b->end -= b->start;
        b->start = 0;
    }
    if (b->cap - b->end >= room) return;
    b->cap = (b->end + room) * 2;
    b->data = realloc(b->data, b->cap);
    if (!b->data) die("realloc");
}

SHARED void buf_add(struct buf *b, const void *bytes, size_t n) {
    buf_need(b, n);
    memcpy(b->data + b->end, bytes, n);
    b->end += n;
}

SHARED void buf_take(struct buf *b, size_t n) {
    b->start += n;
    if (b->start == b->end) b->start = b->end = 0;
}

SHARED void buf_free(struct buf *b) {
    free(b->data);
    memset(b, 0, sizeof *b);
}

/* Reads once. >0 bytes were read, 0 the peer has closed or failed, -1 nothing is there now. */
SHARED ssize_t buf_recv(struct buf *b, int fd) {
    buf_need(b, READ_SIZE);
    ssize_t n = recv(fd, b->data + b->end, b->cap - b->end, 0);
    if (n > 0) b->end += (size_t)n;
    if (n < 0) return errno == EAGAIN || errno == EINTR ? -1 : 0;
    return n;
}

/* Sends what it can; false when the peer is gone. */
SHARED bool buf_send(struct buf *b, int fd) {
    while (buf_len(b)) {
        ssize_t n = send(fd, buf_at(b), buf_len(b), MSG_NOSIGNAL);
        if (n < 0) return errno == EAGAIN || errno == EINTR;
        buf_take(b, (size_t)n);
    }
    return true;
}

/* ---- sockets ------------------------------------------------------------------------------ */

SHARED struct sockaddr_in address(const char *host, int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, host, &a.sin_addr) != 1) {
        fprintf(stderr, "not an IPv4 address: %s\n", host);
        exit(2);
    }
    return a;
}

SHARED void no_delay(int fd) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

SHARED int listen_on(const char *host, int port) {
    struct sockaddr_in a = address(host, port);
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) die("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&a, sizeof a)) die("bind");
    if (listen(fd, BACKLOG)) die("listen");
    return fd;
}

/* A socket whose connect may still be under way, or -1. */
SHARED int connect_to(const struct sockaddr_in *a) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    no_delay(fd);
    if (connect(fd, (const struct sockaddr *)a, sizeof *a) && errno != EINPROGRESS) {
        close(fd);
        return -1;
    }
    return fd;
}

SHARED void watch(int epoll, int op, int fd, uint32_t events, void *ptr) {
    struct epoll_event e = {.events = events, .data.ptr = ptr};
    if (epoll_ctl(epoll, op, fd, &e)) die("epoll_ctl");
}

/* Ends with its parent and after an hour at the latest, whatever happens to who started it. */
SHARED void bound_life(void) {
    struct rlimit files = {0};
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    alarm(LIFE_SECONDS);
}

/* ---- HTTP/1.1 framing --------------------------------------------------------------------- */

enum at { HEAD, LENGTH, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER, UNTIL_CLOSE, WHOLE, BROKEN };

struct http {
    enum at at;
    uint64_t left; /* bytes of the body or of the chunk that are still to come */
    int status;    /* of a response */
    bool close;    /* the sender closes after this message */
    bool http10;
    char method[16], path[256]; /* of a request */
};

/* The value of a header in [head, head + n), or NULL; n of the value goes to *len. */
SHARED const char *header(const char *head, size_t n, const char *name, size_t *len) {
    size_t want = strlen(name);
    const char *end = head + n, *line = head;
    while ((line = memchr(line, '\n', (size_t)(end - line)))) {
        line++;
        if ((size_t)(end - line) <= want || line[want] != ':') continue;
        if (strncasecmp(line, name, want)) continue;
        const char *value = line + want + 1, *stop = memchr(value, '\r', (size_t)(end - value));
        while (value < end && *value == ' ') value++;
        *len = (size_t)((stop ? stop : end) - value);
        return value;
    }
    return NULL;
}

SHARED bool header_has(const char *head, size_t n, const char *name, const char *word) {
    size_t len = 0, want = strlen(word);
    const char *value = header(head, n, name, &len);
    for (size_t i = 0; value && i + want <= len; i++)
        if (!strncasecmp(value + i, word, want)) return true;
    return false;
}

SHARED void http_first_line(struct http *h, const char *head, size_t n, bool response) {
    char line[300];
    size_t len = n < sizeof line - 1 ? n : sizeof line - 1;
    memcpy(line, head, len);
    line[len] = 0;
    if (response) {
        h->http10 = !strncmp(line, "HTTP/1.0", 8);
        if (sscanf(line, "HTTP/%*s %d", &h->status) != 1) h->at = BROKEN;
        return;
    }
    char version[16] = "";
    if (sscanf(line, "%15s %255s %15s", h->method, h->path, version) != 3) h->at = BROKEN;
    h->http10 = !strcmp(version, "HTTP/1.0");
}

SHARED void http_head(struct http *h, const char *head, size_t n, bool response) {
    size_t len = 0;
    h->at = WHOLE;
    http_first_line(h, head, n, response);
    h->close = header_has(head, n, "connection", "close") ||
               (h->http10 && !header_has(head, n, "connection", "keep-alive"));
    if (h->at == BROKEN || (response && (h->status == 204 || h->status == 304))) return;
    if (header_has(head, n, "transfer-encoding", "chunked")) {
        h->at = CHUNK_SIZE;
        return;
    }
    const char *length = header(head, n, "content-length", &len);
    h->left = length ? strtoull(length, NULL, 10) : 0;
    if (length ? h->left > 0 : response) h->at = length ? LENGTH : UNTIL_CLOSE;
}

SHARED bool http_read_head(struct http *h, struct buf *in, bool response) {
    char *end = buf_len(in) < 4 ? NULL : memmem(buf_at(in), buf_len(in), "\r\n\r\n", 4);
    if (!end) return false;
    size_t n = (size_t)(end - buf_at(in)) + 4;
    memset(h, 0, sizeof *h);
    http_head(h, buf_at(in), n, response);
    buf_take(in, n);
    if (response && h->status >= 100 && h->status < 200) h->at = HEAD; /* 100 Continue */
    return true;
}

/* One line of chunked framing; false when it is not all there. */
SHARED bool http_read_line(struct http *h, struct buf *in) {
    char *end = buf_len(in) ? memchr(buf_at(in), '\n', buf_len(in)) : NULL;
    if (!end) return false;
    size_t n = (size_t)(end - buf_at(in)) + 1;
    bool empty = n <= 2;
    if (h->at == CHUNK_SIZE) {
        h->left = strtoull(buf_at(in), NULL, 16);
        h->at = empty ? BROKEN : h->left ? CHUNK_DATA : TRAILER;
    } else if (h->at == CHUNK_END) {
        h->at = empty ? CHUNK_SIZE : BROKEN;
    } else if (empty) {
        h->at = WHOLE;
    }
    buf_take(in, n);
    return true;
}

/* Payload bytes go to `body`, or nowhere when it is NULL. */
SHARED bool http_read_data(struct http *h, struct buf *in, struct buf *body) {
    size_t n = buf_len(in);
    if (h->at != UNTIL_CLOSE && n > h->left) n = (size_t)h->left;
    if (!n) return false;
    if (body) buf_add(body, buf_at(in), n);
    buf_take(in, n);
    if (h->at == UNTIL_CLOSE) return true;
    h->left -= n;
    if (!h->left) h->at = h->at == LENGTH ? WHOLE : CHUNK_END;
    return true;
}

/* Eats what it can of `in`; true when a message is whole (h->at == WHOLE) or broken. */
SHARED bool http_read(struct http *h, struct buf *in, struct buf *body, bool response) {
    for (;;) {
        bool moved;
        if (h->at == WHOLE || h->at == BROKEN) return true;
        if (h->at == HEAD) moved = http_read_head(h, in, response);
        else if (h->at == LENGTH || h->at == CHUNK_DATA || h->at == UNTIL_CLOSE)
            moved = http_read_data(h, in, body);
        else moved = http_read_line(h, in);
        if (!moved) return false;
    }
}

#endif
