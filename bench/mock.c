/* An OpenAI-shaped upstream that does as little as possible, so that what is measured is not it.
 *
 *   mock --port P [--host 127.0.0.1] [--chunks 20] [--interval-ms 100] [--answer-bytes 400]
 *        [--models bench-model,other-model]
 *
 * POST .../chat/completions answers JSON with usage, or, asked for a stream, N chunks at a fixed
 * interval. Each chunk carries the sender's monotonic clock, "ns:" and 19 digits, taken just before
 * it is handed to the kernel: the reader's clock minus that is the chunk's whole delay.
 * GET .../models lists the models, GET /__stats says what was asked. One thread, one epoll. */
#include "net.h"

/* `stream` and `stream_options` are looked for in both ends of a body only: what lies between is
 * the messages' text, and reading 50 KB for every request would be measured as the gateway's. */
enum { WINDOW = 4096, EVENTS = 512 };

struct conn {
    int fd;
    struct buf in, body, out;
    struct http request;
    bool streaming, usage, raw; /* raw: HTTP/1.0, no chunked framing */
    bool closing, waits;        /* waits: for the socket to take more */
    int sent;                   /* content chunks of this stream */
    uint64_t due;               /* ns, the next chunk's */
    size_t heap_at;
    struct conn *next; /* in the list of connections to free */
};

static const char *host = "127.0.0.1", *models = "bench-model";
static int port, chunks = 20;
static uint64_t interval_ns = 100000000;
static size_t answer_bytes = 400;
static struct buf answer, listing;
static int epoll;
static struct conn *gone;

static struct {
    uint64_t connections, requests, answered, not_found, streams, streams_done, streams_aborted;
    uint64_t chunks, bytes_in;
} stats;

/* ---- streams waiting for their next chunk: a binary heap by time ---------------------------- */

static struct conn **heap;
static size_t heap_len, heap_cap;

static void heap_put(size_t i, struct conn *c) {
    heap[i] = c;
    c->heap_at = i;
}

static void heap_up(size_t i) {
    struct conn *c = heap[i];
    for (; i && heap[(i - 1) / 2]->due > c->due; i = (i - 1) / 2) heap_put(i, heap[(i - 1) / 2]);
    heap_put(i, c);
}

static void heap_down(size_t i) {
    struct conn *c = heap[i];
    for (;;) {
        size_t kid = 2 * i + 1;
        if (kid >= heap_len) break;
        if (kid + 1 < heap_len && heap[kid + 1]->due < heap[kid]->due) kid++;
        if (heap[kid]->due >= c->due) break;
        heap_put(i, heap[kid]);
        i = kid;
    }
    heap_put(i, c);
}

static void heap_add(struct conn *c) {
    if (heap_len == heap_cap) {
        heap_cap = heap_cap ? heap_cap * 2 : 1024;
        heap = realloc(heap, heap_cap * sizeof *heap);
        if (!heap) die("realloc");
    }
    heap_put(heap_len++, c);
    heap_up(heap_len - 1);
}

static void heap_remove(struct conn *c) {
    size_t i = c->heap_at;
    struct conn *last = heap[--heap_len];
    if (last == c) return;
    heap_put(i, last);
    heap_up(i);
    heap_down(last->heap_at);
}

/* ---- answers -------------------------------------------------------------------------------- */

static void add_text(struct buf *b, const char *text) { buf_add(b, text, strlen(text)); }

static void add_reply(struct buf *out, const char *status, const char *body, size_t n) {
    char head[256];
    int len = snprintf(head, sizeof head,
                       "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                       "\r\n", status, n);
    buf_add(out, head, (size_t)len);
    buf_add(out, body, n);
}

static void build_answer(void) {
    struct buf body = {0};
    add_text(&body, "{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion\",\"created\":"
                    "1700000000,\"model\":\"bench-model\",\"choices\":[{\"index\":0,\"message\":"
                    "{\"role\":\"assistant\",\"content\":\"");
    for (size_t i = 0; i < answer_bytes; i++) buf_add(&body, &"lorem "[i % 6], 1);
    add_text(&body, "\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":12,"
                    "\"completion_tokens\":20,\"total_tokens\":32}}");
    add_reply(&answer, "200 OK", buf_at(&body), buf_len(&body));
    buf_free(&body);
}

static void build_listing(void) {
    struct buf body = {0};
    char *names = strdup(models), *rest = NULL;
    add_text(&body, "{\"object\":\"list\",\"data\":[");
    for (char *m = strtok_r(names, ",", &rest); m; m = strtok_r(NULL, ",", &rest)) {
        char row[512];
        snprintf(row, sizeof row,
                 "%s{\"id\":\"%s\",\"object\":\"model\",\"created\":1700000000,"
                 "\"owned_by\":\"bench\"}", m == names ? "" : ",", m);
        add_text(&body, row);
    }
    add_text(&body, "]}");
    add_reply(&listing, "200 OK", buf_at(&body), buf_len(&body));
    buf_free(&body);
    free(names);
}

static void answer_stats(struct conn *c) {
    char body[512];
    int n = snprintf(body, sizeof body,
                     "{\"connections\":%" PRIu64 ",\"requests\":%" PRIu64 ",\"answered\":%" PRIu64
                     ",\"not_found\":%" PRIu64 ",\"streams\":%" PRIu64 ",\"streams_done\":%" PRIu64
                     ",\"streams_aborted\":%" PRIu64 ",\"chunks\":%" PRIu64 ",\"bytes_in\":%" PRIu64
                     ",\"fallback\":false}",
                     stats.connections, stats.requests, stats.answered, stats.not_found,
                     stats.streams, stats.streams_done, stats.streams_aborted, stats.chunks,
                     stats.bytes_in);
    add_reply(&c->out, "200 OK", body, (size_t)n);
}

/* ---- streams -------------------------------------------------------------------------------- */

static void add_event(struct conn *c, const char *text, size_t n) {
    char size[24];
    if (!c->raw) buf_add(&c->out, size, (size_t)snprintf(size, sizeof size, "%zx\r\n", n));
    buf_add(&c->out, text, n);
    if (!c->raw) buf_add(&c->out, "\r\n", 2);
}

#define CHUNK_START "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\"," \
                    "\"created\":1700000000,\"model\":\"bench-model\",\"choices\":["

static void add_content(struct conn *c) {
    char text[512];
    int n = snprintf(text, sizeof text,
                     CHUNK_START "{\"index\":0,\"delta\":{%s\"content\":\"ns:%019" PRIu64
                     " \"},\"finish_reason\":null}]%s}\n\n",
                     c->sent ? "" : "\"role\":\"assistant\",", now_ns(),
                     c->usage ? ",\"usage\":null" : "");
    add_event(c, text, (size_t)n);
    stats.chunks++;
}

static void add_end(struct conn *c) {
    char text[1024];
    int n = snprintf(text, sizeof text,
                     CHUNK_START "{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]%s}\n\n",
                     c->usage ? ",\"usage\":null" : "");
    add_event(c, text, (size_t)n);
    if (c->usage) {
        n = snprintf(text, sizeof text,
                     CHUNK_START "],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":%d,"
                     "\"total_tokens\":%d}}\n\n", chunks, chunks + 12);
        add_event(c, text, (size_t)n);
    }
    add_event(c, "data: [DONE]\n\n", 14);
    if (!c->raw) add_text(&c->out, "0\r\n\r\n");
}

static void stream_start(struct conn *c) {
    stats.streams++;
    c->raw = c->request.http10;
    c->closing |= c->raw;
    add_text(&c->out, c->raw ? "HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
                             : "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                               "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n");
    c->streaming = true;
    c->sent = 0;
    c->due = now_ns();
    heap_add(c);
}

/* The end follows the last content at once, as with real providers. */
static void stream_tick(struct conn *c) {
    if (c->sent < chunks) add_content(c);
    c->sent++;
    c->due += interval_ns;
    if (c->sent < chunks) {
        heap_down(c->heap_at);
        return;
    }
    add_end(c);
    heap_remove(c);
    c->streaming = false;
    stats.streams_done++;
    stats.answered++;
}

/* ---- requests ------------------------------------------------------------------------------- */

/* "name" : true, in the first or last WINDOW bytes of the body. */
static bool flag_in(const char *text, size_t n, const char *name) {
    const char *end = text + n, *p = n ? memmem(text, n, name, strlen(name)) : NULL;
    if (!p) return false;
    for (p += strlen(name); p < end && (*p == ' ' || *p == ':'); p++) continue;
    return end - p >= 4 && !memcmp(p, "true", 4);
}

static bool flag(const struct buf *body, const char *name) {
    size_t n = buf_len(body);
    if (n <= 2 * WINDOW) return flag_in(buf_at(body), n, name);
    return flag_in(buf_at(body), WINDOW, name) ||
           flag_in(buf_at(body) + n - WINDOW, WINDOW, name);
}

static bool path_ends(const struct conn *c, const char *tail) {
    size_t n = strcspn(c->request.path, "?"), want = strlen(tail);
    return n >= want && !memcmp(c->request.path + n - want, tail, want);
}

static void completion(struct conn *c) {
    stats.requests++;
    stats.bytes_in += buf_len(&c->body);
    if (flag(&c->body, "\"stream\"")) {
        c->usage = flag(&c->body, "\"include_usage\"");
        stream_start(c);
        return;
    }
    stats.answered++;
    buf_add(&c->out, buf_at(&answer), buf_len(&answer));
}

static void respond(struct conn *c) {
    bool get = !strcmp(c->request.method, "GET");
    c->closing |= c->request.close;
    if (!get && path_ends(c, "/chat/completions")) {
        completion(c);
    } else if (get && path_ends(c, "/models")) {
        buf_add(&c->out, buf_at(&listing), buf_len(&listing));
    } else if (get && path_ends(c, "/__stats")) {
        answer_stats(c);
    } else {
        stats.not_found++;
        const char *body = "{\"error\":{\"message\":\"no such route\",\"type\":\"mock\"}}";
        add_reply(&c->out, "404 Not Found", body, strlen(body));
    }
}

/* Pipelined requests are answered one after another; those behind a stream wait for its end. */
static void serve(struct conn *c) {
    while (!c->streaming && !c->closing && http_read(&c->request, &c->in, &c->body, false)) {
        if (c->request.at == BROKEN) {
            add_reply(&c->out, "400 Bad Request", "{}", 2);
            c->closing = true;
            return;
        }
        respond(c);
        buf_take(&c->body, buf_len(&c->body));
        c->request.at = HEAD;
    }
}

/* ---- connections ---------------------------------------------------------------------------- */

/* Freed only after this turn's events: one of them may still point here. */
static void drop(struct conn *c) {
    if (c->fd < 0) return;
    if (c->streaming) {
        heap_remove(c);
        c->streaming = false;
        stats.streams_aborted++;
    }
    close(c->fd);
    c->fd = -1;
    c->next = gone;
    gone = c;
}

static void free_gone(void) {
    while (gone) {
        struct conn *c = gone;
        gone = c->next;
        buf_free(&c->in);
        buf_free(&c->body);
        buf_free(&c->out);
        free(c);
    }
}

static void flush(struct conn *c) {
    if (!buf_send(&c->out, c->fd)) {
        drop(c);
        return;
    }
    bool waits = buf_len(&c->out) > 0;
    if (!waits && c->closing && !c->streaming) {
        drop(c);
        return;
    }
    if (waits != c->waits) watch(epoll, EPOLL_CTL_MOD, c->fd, EPOLLIN | (waits ? EPOLLOUT : 0), c);
    c->waits = waits;
}

static void accept_all(int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        struct conn *c = calloc(1, sizeof *c);
        if (!c) die("calloc");
        c->fd = fd;
        no_delay(fd);
        stats.connections++;
        watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, c);
    }
}

static void run_due(void) {
    uint64_t now = now_ns();
    while (heap_len && heap[0]->due <= now) {
        struct conn *c = heap[0];
        stream_tick(c);
        if (!c->streaming) serve(c);
        flush(c);
    }
}

static int wait_ms(void) {
    if (!heap_len) return -1;
    uint64_t now = now_ns(), due = heap[0]->due;
    return due <= now ? 0 : (int)((due - now + 999999) / 1000000);
}

static void on_event(struct conn *c, uint32_t events) {
    if (c->fd < 0) return;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        if (buf_recv(&c->in, c->fd) == 0) {
            drop(c);
            return;
        }
        serve(c);
    }
    flush(c);
}

static void options(int argc, char **argv) {
    static const struct option known[] = {
        {"host", 1, 0, 'h'}, {"port", 1, 0, 'p'}, {"chunks", 1, 0, 'c'},
        {"interval-ms", 1, 0, 'i'}, {"answer-bytes", 1, 0, 'a'}, {"models", 1, 0, 'm'}, {0}};
    for (int o; (o = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (o == 'h') host = optarg;
        else if (o == 'p') port = atoi(optarg);
        else if (o == 'c') chunks = atoi(optarg);
        else if (o == 'i') interval_ns = strtoull(optarg, NULL, 10) * 1000000;
        else if (o == 'a') answer_bytes = strtoul(optarg, NULL, 10);
        else if (o == 'm') models = optarg;
        else exit(2);
    }
}

int main(int argc, char **argv) {
    struct epoll_event events[EVENTS];
    options(argc, argv);
    bound_life();
    build_answer();
    build_listing();
    int listener = listen_on(host, port);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS, wait_ms());
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr) on_event(events[i].data.ptr, events[i].events);
            else accept_all(listener);
        }
        run_due();
        free_gone();
    }
}
