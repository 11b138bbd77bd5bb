/* The load generator: a closed loop of N connections, or N slow streams at once.
 *
 *   load --port P --body FILE [--host 127.0.0.1] [--path /v1/chat/completions] [--key K]
 *        [--header "Name: value"]... and one of
 *        --connections N --seconds S              as many requests as N connections can make
 *        --streams N [--ramp MS] [--timeout S]    one stream on each of N connections
 *
 * Prints one JSON line. `requests` came within the S seconds; `answered` counts every whole 200
 * answer, those after the end too: it is what a gateway's ledger must have an entry for. Latencies
 * are in us, from the first byte sent to the last one read. A chunk's delay is this clock minus
 * the one inside the chunk, in ms. */
#include "net.h"

enum { EVENTS = 512, SUB = 64, SLOTS = 64 * SUB, MAX_ERRORS = 20000, DRAIN_SECONDS = 20 };

struct conn {
    int fd;
    struct buf in, body;
    struct http reply;
    size_t sent;       /* bytes of the request */
    uint64_t began;    /* ns; 0: nothing is asked */
    uint64_t starts;   /* ns, when a stream is opened */
    bool waits;        /* for the socket to take more */
    bool done, wrong;  /* saw [DONE]; saw an error event */
    bool finished, first;
};

static const char *host = "127.0.0.1", *path = "/v1/chat/completions", *key, *body_file;
static char extra[2048];
static int port, connections, streams, ramp_ms = 1000;
static double seconds = 5, timeout_s = 60;
static struct sockaddr_in target;
static struct buf request;
static struct conn *conns;
static int epoll, active;
static uint64_t t_end; /* ns, when the last request may begin or be measured */

static struct {
    uint64_t measured, answered, errors, unanswered, reconnects, opened, complete, failed;
    uint64_t chunks, bytes, events_wrong, usage;
    uint64_t status[600];
    int open, peak;
} count;

/* ---- histogram: 64 steps for each power of two, so within 1.6 % ---------------------------- */

struct hist {
    uint64_t n, max, slot[SLOTS];
};

static struct hist latency, delay, first_byte; /* ns */

static void hist_add(struct hist *h, uint64_t v) {
    int shift = v < SUB ? 0 : 63 - __builtin_clzll(v) - 5;
    h->slot[shift * (SUB / 2) + (int)(v >> shift)]++;
    h->n++;
    if (v > h->max) h->max = v;
}

/* The middle of the slot in which the q-th part of all values lies, ns. */
static double hist_at(const struct hist *h, double q) {
    uint64_t want = (uint64_t)(q * (double)h->n + 0.5), seen = 0;
    if (!want) want = 1;
    for (int i = 0; i < SLOTS; i++) {
        seen += h->slot[i];
        if (!h->n || seen < want) continue;
        int shift = i < SUB ? 0 : i / (SUB / 2) - 1;
        double low = (double)((uint64_t)(i - shift * (SUB / 2)) << shift);
        double middle = low + (double)((1ull << shift) - 1) / 2;
        return middle > (double)h->max ? (double)h->max : middle;
    }
    return 0;
}

/* ---- the request, the same bytes each time -------------------------------------------------- */

static void build_request(void) {
    static char text[1 << 22], head[8192];
    FILE *f = fopen(body_file, "rb");
    if (!f) die(body_file);
    size_t n = fread(text, 1, sizeof text, f);
    fclose(f);
    if (n == sizeof text) die("body of 4 MB or more");
    int len = snprintf(head, sizeof head,
                       "POST %s HTTP/1.1\r\nHost: %s:%d\r\nContent-Type: application/json\r\n"
                       "Accept: */*\r\nUser-Agent: bench\r\n%s%s%s%sContent-Length: %zu\r\n\r\n",
                       path, host, port, key ? "Authorization: Bearer " : "", key ? key : "",
                       key ? "\r\n" : "", extra, n);
    buf_add(&request, head, (size_t)len);
    buf_add(&request, text, n);
}

/* ---- one connection ------------------------------------------------------------------------- */

static void open_conn(struct conn *c) {
    c->fd = connect_to(&target);
    if (c->fd < 0) die("connect");
    c->waits = true;
    count.opened++;
    count.open++;
    if (count.open > count.peak) count.peak = count.open;
    watch(epoll, EPOLL_CTL_ADD, c->fd, EPOLLIN | EPOLLOUT, c);
}

static void close_conn(struct conn *c) {
    if (c->fd < 0) return;
    close(c->fd);
    c->fd = -1;
    count.open--;
    c->in.start = c->in.end = c->body.start = c->body.end = 0;
}

static void finish(struct conn *c) {
    close_conn(c);
    if (!c->finished) active--;
    c->finished = true;
    c->began = 0;
}

/* False when the peer is gone. */
static bool push(struct conn *c) {
    while (c->sent < buf_len(&request)) {
        size_t left = buf_len(&request) - c->sent;
        ssize_t n = send(c->fd, buf_at(&request) + c->sent, left, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR) return false;
        if (n < 0) break;
        c->sent += (size_t)n;
    }
    bool waits = c->sent < buf_len(&request);
    if (waits != c->waits) watch(epoll, EPOLL_CTL_MOD, c->fd, EPOLLIN | (waits ? EPOLLOUT : 0), c);
    c->waits = waits;
    return true;
}

static bool ask(struct conn *c) {
    c->sent = 0;
    c->reply.at = HEAD;
    c->began = now_ns();
    return push(c);
}

/* ---- closed loop ---------------------------------------------------------------------------- */

static void on_reply(struct conn *c) {
    uint64_t now = now_ns();
    int status = c->reply.status;
    count.status[status > 0 && status < 600 ? status : 0]++;
    count.answered += status == 200;
    if (status == 200 && now <= t_end) {
        count.measured++;
        hist_add(&latency, now - c->began);
    }
    c->began = 0;
}

static bool too_many_errors(void) { return count.errors > MAX_ERRORS; }

/* After an answer or a broken connection: the next request, until the time is up. */
static void next(struct conn *c, bool reopen) {
    if (now_ns() >= t_end || too_many_errors()) {
        finish(c);
        return;
    }
    if (reopen) {
        close_conn(c);
        count.reconnects++;
        c->began = 0;
        open_conn(c);
    } else if (!ask(c)) {
        count.errors++;
        next(c, true);
    }
}

static void on_broken(struct conn *c) {
    if (c->began) count.errors++;
    next(c, true);
}

static void loop_event(struct conn *c, uint32_t events) {
    if (events & EPOLLOUT && !(c->began ? push(c) : ask(c))) {
        on_broken(c);
        return;
    }
    if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR))) return;
    ssize_t n = buf_recv(&c->in, c->fd);
    if (n < 0) return;
    bool whole = http_read(&c->reply, &c->in, NULL, true) && c->reply.at == WHOLE;
    if (n == 0 && c->began && c->reply.at == UNTIL_CLOSE) whole = true;
    if (whole && c->began) {
        on_reply(c);
        next(c, n == 0 || c->reply.close);
    } else if (n == 0 || c->reply.at == BROKEN) {
        on_broken(c);
    }
}

/* ---- slow streams --------------------------------------------------------------------------- */

static void on_line(struct conn *c, const char *line, size_t n, uint64_t now) {
    if (n >= 5 && !memcmp(line, "event", 5)) c->wrong |= memmem(line, n, "error", 5) != NULL;
    if (n < 6 || memcmp(line, "data:", 5)) return;
    c->wrong |= memmem(line, n, "\"error\":", 8) != NULL;
    c->done |= memmem(line, n, "[DONE]", 6) != NULL;
    count.usage += memmem(line, n, "\"usage\":{", 9) || memmem(line, n, "\"usage\": {", 10);
    const char *stamp = memmem(line, n, "ns:", 3);
    if (!stamp || stamp + 22 > line + n) return;
    uint64_t sent = strtoull(stamp + 3, NULL, 10);
    count.chunks++;
    hist_add(&delay, now > sent ? now - sent : 0);
    if (!c->first) hist_add(&first_byte, now - c->began);
    c->first = true;
}

static void read_lines(struct conn *c, uint64_t now) {
    char *end;
    while (buf_len(&c->body) && (end = memchr(buf_at(&c->body), '\n', buf_len(&c->body)))) {
        size_t n = (size_t)(end - buf_at(&c->body));
        on_line(c, buf_at(&c->body), n, now);
        buf_take(&c->body, n + 1);
    }
}

static void stream_over(struct conn *c) {
    int status = c->reply.status;
    bool good = status == 200 && c->done && !c->wrong;
    count.status[status > 0 && status < 600 ? status : 0]++;
    count.complete += good;
    count.failed += !good;
    count.answered += good;
    count.events_wrong += c->wrong;
    finish(c);
}

static void stream_event(struct conn *c, uint32_t events) {
    if (events & EPOLLOUT && !(c->began ? push(c) : ask(c))) {
        stream_over(c);
        return;
    }
    if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR))) return;
    ssize_t n = buf_recv(&c->in, c->fd);
    if (n < 0) return;
    if (n > 0) count.bytes += (uint64_t)n;
    bool whole = http_read(&c->reply, &c->in, &c->body, true);
    read_lines(c, now_ns());
    if (whole || n == 0) stream_over(c);
}

/* ---- running -------------------------------------------------------------------------------- */

static void start(int n) {
    conns = calloc((size_t)n, sizeof *conns);
    if (!conns) die("calloc");
    active = n;
    for (int i = 0; i < n; i++) conns[i].fd = -1;
}

static void events_until(uint64_t until, void (*on)(struct conn *, uint32_t)) {
    struct epoll_event events[EVENTS];
    uint64_t now = now_ns();
    int ms = until > now ? (int)((until - now + 999999) / 1000000) : 0;
    int n = epoll_wait(epoll, events, EVENTS, ms);
    for (int i = 0; i < n; i++) {
        struct conn *c = events[i].data.ptr;
        if (c->fd >= 0) on(c, events[i].events);
    }
}

static void run_loop(void) {
    t_end = now_ns() + (uint64_t)(seconds * 1e9);
    uint64_t limit = t_end + DRAIN_SECONDS * 1000000000ull;
    start(connections);
    for (int i = 0; i < connections; i++) open_conn(&conns[i]);
    while (active && now_ns() < limit && !too_many_errors()) events_until(limit, loop_event);
    for (int i = 0; i < connections; i++) count.unanswered += conns[i].began != 0;
}

static void run_streams(void) {
    uint64_t begin = now_ns(), limit = begin + (uint64_t)(timeout_s * 1e9);
    int opened = 0;
    start(streams);
    for (int i = 0; i < streams; i++)
        conns[i].starts = begin + (uint64_t)i * (uint64_t)ramp_ms * 1000000 / (uint64_t)streams;
    while (active && now_ns() < limit) {
        while (opened < streams && conns[opened].starts <= now_ns()) open_conn(&conns[opened++]);
        events_until(opened < streams ? conns[opened].starts : limit, stream_event);
    }
    for (int i = 0; i < streams; i++) {
        if (conns[i].finished) continue;
        count.unanswered++;
        count.failed++;
    }
    seconds = (double)(now_ns() - begin) / 1e9;
}

/* ---- the result ----------------------------------------------------------------------------- */

static void print_status(void) {
    const char *comma = "";
    printf("\"status\":{");
    for (int i = 0; i < 600; i++) {
        if (!count.status[i]) continue;
        printf("%s\"%d\":%" PRIu64, comma, i, count.status[i]);
        comma = ",";
    }
    printf("},\"answered\":%" PRIu64 ",\"unanswered\":%" PRIu64 ",\"errors\":%" PRIu64
           ",\"fallback\":false}\n", count.answered, count.unanswered, count.errors);
}

static void print_loop(void) {
    printf("{\"mode\":\"closed\",\"connections\":%d,\"seconds\":%.3f,\"requests\":%" PRIu64
           ",\"rps\":%.1f,\"p50_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f"
           ",\"reconnects\":%" PRIu64 ",", connections, seconds, count.measured,
           (double)count.measured / seconds, hist_at(&latency, 0.5) / 1e3,
           hist_at(&latency, 0.9) / 1e3, hist_at(&latency, 0.99) / 1e3,
           (double)latency.max / 1e3, count.reconnects);
    print_status();
}

static void print_streams(void) {
    printf("{\"mode\":\"streams\",\"streams\":%d,\"seconds\":%.3f,\"peak\":%d,\"complete\":%" PRIu64
           ",\"failed\":%" PRIu64 ",\"error_events\":%" PRIu64 ",\"usage_chunks\":%" PRIu64
           ",\"chunks\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"delay_p50_ms\":%.3f"
           ",\"delay_p99_ms\":%.3f,\"delay_max_ms\":%.3f,\"first_p50_ms\":%.3f"
           ",\"first_p99_ms\":%.3f,", streams, seconds, count.peak, count.complete, count.failed,
           count.events_wrong, count.usage, count.chunks, count.bytes,
           hist_at(&delay, 0.5) / 1e6, hist_at(&delay, 0.99) / 1e6, (double)delay.max / 1e6,
           hist_at(&first_byte, 0.5) / 1e6, hist_at(&first_byte, 0.99) / 1e6);
    print_status();
}

static void add_header(const char *line) {
    size_t used = strlen(extra);
    snprintf(extra + used, sizeof extra - used, "%s\r\n", line);
}

static void options(int argc, char **argv) {
    static const struct option known[] = {
        {"host", 1, 0, 'h'}, {"port", 1, 0, 'p'}, {"path", 1, 0, 'P'}, {"key", 1, 0, 'k'},
        {"body", 1, 0, 'b'}, {"header", 1, 0, 'H'}, {"connections", 1, 0, 'c'},
        {"seconds", 1, 0, 's'}, {"streams", 1, 0, 'S'}, {"ramp", 1, 0, 'r'},
        {"timeout", 1, 0, 't'}, {0}};
    for (int o; (o = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (o == 'h') host = optarg;
        else if (o == 'p') port = atoi(optarg);
        else if (o == 'P') path = optarg;
        else if (o == 'k') key = optarg;
        else if (o == 'b') body_file = optarg;
        else if (o == 'H') add_header(optarg);
        else if (o == 'c') connections = atoi(optarg);
        else if (o == 's') seconds = atof(optarg);
        else if (o == 'S') streams = atoi(optarg);
        else if (o == 'r') ramp_ms = atoi(optarg);
        else if (o == 't') timeout_s = atof(optarg);
        else exit(2);
    }
    if (body_file && (connections > 0) != (streams > 0)) return;
    fprintf(stderr, "load: --body FILE and one of --connections N, --streams N\n");
    exit(2);
}

int main(int argc, char **argv) {
    options(argc, argv);
    bound_life();
    target = address(host, port);
    build_request();
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (streams) {
        run_streams();
        print_streams();
    } else {
        run_loop();
        print_loop();
    }
    return 0;
}
