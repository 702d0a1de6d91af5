/* The load generator: connections that carry their request in the SYN. Prints one JSON object.
 *
 * usage: client load PORT SECONDS AT-A-TIME REPLY-BYTES
 *        client idle PORT CONNECTIONS BYTES
 *        client bulk PORT
 *        client upload PORT CONNECTIONS
 *        client first PORT SECONDS request|regular
 *
 *   load   sends a request of 64 bytes, reads to the end, closes, and repeats
 *   idle   opens connections, sends BYTES of an incomplete request on each, and waits for the end of its
 *          standard input
 *   bulk   sends one request, and reads to the end
 *   upload sends as much as possible on CONNECTIONS connections, until the end of its standard input
 *   first  first connections, each from another source address: with a cookie request, or regular ones
 *
 * The bit TCPI_OPT_SYN_DATA of each connection shows whether the SYN-ACK acknowledged the SYN's data.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* 64 bytes: a complete HTTP request, so that every server gets the same one. */
static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-P: 123\r\n\r\n";
enum { REQUEST = sizeof request - 1, AT_MOST = 1024 };
_Static_assert(REQUEST == 64, "the request is 64 bytes");

/* Loopback addresses, for more pairs of ports. More addresses would evict each other's cookies. */
enum { ADDRESSES = 4 };
static struct sockaddr_in servers[ADDRESSES];

/* Latencies in microseconds; the last one counts all longer ones. */
enum { STEPS = 1000000 };
static unsigned histogram[STEPS];

struct connection {
    int fd;
    long begun, got;
};
static struct connection connections[AT_MOST];
static int epoll;
static unsigned long begun, finished, acked, failed, too_short;
static long reply_bytes;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static long now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000L + now.tv_nsec;
}

static int syn_data_acked(int fd) {
    unsigned char info[8] = {0};
    socklen_t len = sizeof info;
    return !getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &len) && len > 5 && info[5] & 0x20;
}

/* A complete blocking transaction. The first one to an address requests its cookie. */
static int transact(struct sockaddr_in *server, long *bytes) {
    static char buffer[1 << 18];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ssize_t len;
    if (fd < 0) die("socket");
    if (sendto(fd, request, REQUEST, MSG_FASTOPEN, (struct sockaddr *)server, sizeof *server) < 0) die("sendto");
    for (*bytes = 0; (len = recv(fd, buffer, sizeof buffer, 0)) > 0;) *bytes += len;
    if (len < 0) die("recv");
    int yes = syn_data_acked(fd);
    close(fd);
    return yes;
}

static void fetch_cookies(int port) {
    long bytes;
    for (int i = 0; i < ADDRESSES; i++) {
        servers[i] = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
        servers[i].sin_addr.s_addr = htonl(INADDR_LOOPBACK + i);
        transact(&servers[i], &bytes);
        if (!transact(&servers[i], &bytes)) {
            fprintf(stderr, "the server does not take data in a SYN\n");
            exit(3);
        }
    }
}

static void begin(int slot) {
    struct connection *c = &connections[slot];
    struct sockaddr_in *server = &servers[begun++ % ADDRESSES];
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) die("socket");
    c->begun = now_ns();
    c->got = 0;
    /* EINPROGRESS would mean that there is no cookie: nothing was sent, and the run is invalid. */
    if (sendto(c->fd, request, REQUEST, MSG_FASTOPEN, (struct sockaddr *)server, sizeof *server) != REQUEST)
        die("sendto with a cookie");
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.u32 = slot};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event)) die("epoll_ctl");
}

/* Reads. Returns true once the server has closed. */
static int go_on(struct connection *c, unsigned events) {
    char buffer[4096];
    ssize_t len = recv(c->fd, buffer, sizeof buffer, 0);
    if (len < 0 && errno == EAGAIN) return 0;
    if (len < 0) return failed++, 1;
    if (len > 0 && c->got == 0) {
        long us = (now_ns() - c->begun) / 1000;
        histogram[us < STEPS ? us : STEPS - 1]++;
    }
    c->got += len;
    /* With EPOLLRDHUP, a read that does not fill the buffer is the last one. */
    if (len > 0 && !(events & EPOLLRDHUP && len < (ssize_t)sizeof buffer)) return 0;
    finished++;
    acked += syn_data_acked(c->fd);
    too_short += c->got < reply_bytes;
    return 1;
}

static unsigned percentile(double share) {
    unsigned long all = 0, below = 0;
    for (int us = 0; us < STEPS; us++) all += histogram[us];
    for (int us = 0; us < STEPS; us++)
        if ((below += histogram[us]) >= share * all) return us;
    return 0;
}

static void load(int port, double seconds, int at_a_time) {
    struct epoll_event events[256];
    epoll = epoll_create1(0);
    if (epoll < 0) die("epoll_create1");
    fetch_cookies(port);
    long start = now_ns(), end = start + (long)(seconds * 1e9), last = start;
    int open = 0;
    for (; open < at_a_time; open++) begin(open);
    while (open > 0) {
        int count = epoll_wait(epoll, events, 256, 5000);
        if (count < 0) die("epoll_wait");
        if (count == 0) {
            failed += open; /* no event for five seconds */
            break;
        }
        last = now_ns();
        for (int i = 0; i < count; i++) {
            int slot = events[i].data.u32;
            if (!go_on(&connections[slot], events[i].events)) continue;
            close(connections[slot].fd);
            if (last < end) begin(slot);
            else open--;
        }
    }
    printf("{\"seconds\": %.6f, \"transactions\": %lu, \"acked\": %lu, \"failed\": %lu, \"short\": %lu, "
           "\"primed\": %d, \"p50_us\": %u, \"p99_us\": %u}\n",
           (last - start) / 1e9, finished, acked, failed, too_short, 2 * ADDRESSES, percentile(0.5), percentile(0.99));
}

static void idle(int port, int count, int bytes) {
    for (int i = 0; i < count; i++) {
        struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(port)};
        server.sin_addr.s_addr = htonl(INADDR_LOOPBACK + i % ADDRESSES);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0) die("socket");
        if (connect(fd, (struct sockaddr *)&server, sizeof server)) die("connect");
        if (bytes > 0 && send(fd, request, bytes, MSG_NOSIGNAL) != bytes) die("send");
    }
    printf("{\"connections\": %d}\n", count);
    fflush(stdout);
    while (getchar() != EOF) continue;
}

static void bulk(int port) {
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(port)};
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    long bytes, start = now_ns();
    transact(&server, &bytes);
    printf("{\"seconds\": %.6f, \"bytes\": %ld}\n", (now_ns() - start) / 1e9, bytes);
}

static void upload(int port, int count) {
    static char block[1 << 16];
    struct epoll_event events[AT_MOST], input = {.events = EPOLLIN | EPOLLHUP, .data.fd = 0};
    double bytes = 0;
    epoll = epoll_create1(0);
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &input)) die("epoll");
    for (int i = 0; i < count; i++) {
        struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(port)};
        server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&server, sizeof server)) die("connect");
        struct epoll_event event = {.events = EPOLLOUT, .data.fd = fd};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event)) die("epoll_ctl");
    }
    printf("{\"connections\": %d}\n", count);
    fflush(stdout);
    for (int end = 0; !end;) {
        int ready = epoll_wait(epoll, events, AT_MOST, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.fd == 0) {
                end = 1;
                continue;
            }
            ssize_t sent = send(events[i].data.fd, block, sizeof block, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (sent < 0 && errno != EAGAIN) die("send");
            if (sent > 0) bytes += sent;
        }
    }
    printf("{\"bytes\": %.0f}\n", bytes);
}

static void first(int port, double seconds, int asks) {
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(port)};
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    long start = now_ns(), end = start + (long)(seconds * 1e9);
    static unsigned source;
    char buffer[4096];
    unsigned long count = 0;
    for (; now_ns() < end; count++) {
        /* Addresses that the other run has not used. */
        struct sockaddr_in from = {.sin_family = AF_INET};
        from.sin_addr.s_addr = htonl((asks ? 0x7f400000 : 0x7f800000) + source++);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
        if (fd < 0) die("socket");
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (bind(fd, (struct sockaddr *)&from, sizeof from)) die("bind");
        if (asks) {
            if (sendto(fd, request, REQUEST, MSG_FASTOPEN, (struct sockaddr *)&server, sizeof server) < 0) die("sendto");
        } else {
            if (connect(fd, (struct sockaddr *)&server, sizeof server)) die("connect");
            if (send(fd, request, REQUEST, MSG_NOSIGNAL) < 0) die("send");
        }
        while (recv(fd, buffer, sizeof buffer, 0) > 0) continue;
        close(fd);
    }
    printf("{\"seconds\": %.6f, \"transactions\": %lu}\n", (now_ns() - start) / 1e9, count);
}

int main(int argc, char **argv) {
    const char *what = argc > 2 ? argv[1] : "";
    int port = argc > 2 ? atoi(argv[2]) : 0;
    if (!strcmp(what, "load") && argc == 6 && atoi(argv[4]) <= AT_MOST) {
        reply_bytes = atol(argv[5]);
        load(port, atof(argv[3]), atoi(argv[4]));
    } else if (!strcmp(what, "idle") && argc == 5 && atoi(argv[4]) <= REQUEST) {
        idle(port, atoi(argv[3]), atoi(argv[4]));
    } else if (!strcmp(what, "bulk") && argc == 3) {
        bulk(port);
    } else if (!strcmp(what, "first") && argc == 5) {
        first(port, atof(argv[3]), !strcmp(argv[4], "request"));
    } else if (!strcmp(what, "upload") && argc == 4 && atoi(argv[3]) < AT_MOST) {
        upload(port, atoi(argv[3]));
    } else {
        fprintf(stderr, "usage: client load PORT SECONDS AT-A-TIME REPLY-BYTES | idle PORT CONNECTIONS BYTES | bulk PORT | upload PORT CONNECTIONS | first PORT SECONDS request|regular\n");
        return 2;
    }
    return 0;
}
