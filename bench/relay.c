/* The floor when there is no nginx: bytes from one socket to another and nothing else.
 *
 *   relay --port P --upstream-port U [--host 127.0.0.1]
 *
 * One upstream connection for each client's, both ways, no look at what passes. */
#include "net.h"

enum { EVENTS = 512 };

struct pair;

struct end {
    int fd;
    uint32_t events;   /* watched now */
    struct buf out;    /* waits to be sent to this end */
    struct end *other;
    struct pair *pair;
};

struct pair {
    struct end client, upstream;
    bool dead;
    struct pair *next; /* in the list to free */
};

static const char *host = "127.0.0.1";
static int port, upstream_port, epoll;
static struct pair *gone;

static void drop(struct pair *p) {
    if (p->dead) return;
    p->dead = true;
    close(p->client.fd);
    close(p->upstream.fd);
    p->next = gone;
    gone = p;
}

static void free_gone(void) {
    while (gone) {
        struct pair *p = gone;
        gone = p->next;
        buf_free(&p->client.out);
        buf_free(&p->upstream.out);
        free(p);
    }
}

/* Back-pressure: an end is read only while the other one has nothing left to send. */
static void rewatch(struct end *e) {
    uint32_t wanted = (buf_len(&e->other->out) ? 0 : EPOLLIN) | (buf_len(&e->out) ? EPOLLOUT : 0);
    if (wanted == e->events) return;
    watch(epoll, EPOLL_CTL_MOD, e->fd, wanted, e);
    e->events = wanted;
}

static void add_end(struct end *e, int fd, struct end *other, struct pair *p) {
    *e = (struct end){.fd = fd, .events = EPOLLIN, .other = other, .pair = p};
    watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, e);
}

static void accept_all(int listener) {
    struct sockaddr_in to = address(host, upstream_port);
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        int up = connect_to(&to);
        if (up < 0) {
            close(fd);
            continue;
        }
        struct pair *p = calloc(1, sizeof *p);
        if (!p) die("calloc");
        no_delay(fd);
        add_end(&p->client, fd, &p->upstream, p);
        add_end(&p->upstream, up, &p->client, p);
    }
}

static void on_event(struct end *e, uint32_t events) {
    if (e->pair->dead) return;
    struct buf *to = &e->other->out;
    bool alive = true;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        alive = buf_recv(to, e->fd) != 0;
        /* What was read goes out even when this end has just closed. */
        alive = buf_send(to, e->other->fd) && alive;
    }
    if (alive && events & EPOLLOUT) alive = buf_send(&e->out, e->fd);
    if (!alive) {
        drop(e->pair);
        return;
    }
    rewatch(e);
    rewatch(e->other);
}

static void options(int argc, char **argv) {
    static const struct option known[] = {
        {"host", 1, 0, 'h'}, {"port", 1, 0, 'p'}, {"upstream-port", 1, 0, 'u'}, {0}};
    for (int o; (o = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (o == 'h') host = optarg;
        else if (o == 'p') port = atoi(optarg);
        else if (o == 'u') upstream_port = atoi(optarg);
        else exit(2);
    }
}

int main(int argc, char **argv) {
    struct epoll_event events[EVENTS];
    options(argc, argv);
    bound_life();
    int listener = listen_on(host, port);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr) on_event(events[i].data.ptr, events[i].events);
            else accept_all(listener);
        }
        free_gone();
    }
}
