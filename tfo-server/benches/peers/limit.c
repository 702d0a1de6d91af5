/* The limit: the cost of a server that only accepts, receives, sends and closes.
 *
 * usage: limit MODE PORT [evidence]
 *
 *   blocking      one connection at a time
 *   epoll         an event loop; each connection is completed before the next one is accepted
 *   epoll-more    the same; the reply waits for the FIN (MSG_MORE), and both leave in one segment
 *   epoll-batch   as epoll-more; accepts all queued connections, then answers all, then closes all
 *   pour          sends 1 GB on each connection, then closes
 *   sink          reads everything, on any number of connections
 *   hold          only accepts
 *
 * With `evidence` the server reads TCP_INFO and TCP_SAVED_SYN of each connection. It prints "listening" on
 * standard output, and serves until it is killed.
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
#include <unistd.h>

/* 64 bytes, the answer of every server of the benchmark. */
static const char reply[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\n";
enum { REPLY = sizeof reply - 1, BACKLOG = 4096, BATCH = 64 };
/* Whether the evidence of fast open is read for each connection. */
static int seen;
static const long POURED = 1000000000;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static int listen_on(int port, int flags) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0), one = 1, queue = BACKLOG;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (fd < 0) die("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address)) die("bind");
    if (setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN, &queue, sizeof queue)) die("TCP_FASTOPEN");
    if (seen && setsockopt(fd, IPPROTO_TCP, TCP_SAVE_SYN, &one, sizeof one)) die("TCP_SAVE_SYN");
    if (listen(fd, BACKLOG)) die("listen");
    puts("listening");
    fflush(stdout);
    return fd;
}

static void look(int fd) {
    char info[280], syn[128];
    socklen_t len = sizeof info;
    if (!seen) return;
    getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &len);
    len = sizeof syn;
    getsockopt(fd, IPPROTO_TCP, TCP_SAVED_SYN, syn, &len);
}

static void serve_blocking(int port) {
    int listener = listen_on(port, 0);
    char request[4096];
    for (;;) {
        int fd = accept4(listener, NULL, NULL, 0);
        if (fd < 0) continue;
        look(fd);
        if (recv(fd, request, sizeof request, 0) > 0) send(fd, reply, REPLY, MSG_NOSIGNAL);
        close(fd);
    }
}

/* Returns false if the request has not arrived yet. */
static int answer(int fd, int flags) {
    char request[4096];
    ssize_t len = recv(fd, request, sizeof request, MSG_DONTWAIT);
    if (len < 0 && errno == EAGAIN) return 0;
    if (len > 0) send(fd, reply, REPLY, flags | MSG_NOSIGNAL | MSG_DONTWAIT);
    return 1;
}

/* Serves in an event loop. Accepts up to `batch` connections before serving them. */
static void serve_epoll(int port, int flags, int batch) {
    int listener = listen_on(port, SOCK_NONBLOCK), epoll = epoll_create1(0), done[BATCH];
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[256];
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event)) die("epoll");
    for (;;) {
        int count = epoll_wait(epoll, events, 256, -1), accepted;
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == listener || !answer(events[i].data.fd, flags)) continue;
            close(events[i].data.fd);
        }
        do {
            for (accepted = 0; accepted < batch; accepted++)
                if ((done[accepted] = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) < 0) break;
            for (int i = 0; i < accepted; i++) {
                look(done[i]);
                if (answer(done[i], flags)) continue;
                event = (struct epoll_event){.events = EPOLLIN, .data.fd = done[i]};
                epoll_ctl(epoll, EPOLL_CTL_ADD, done[i], &event);
                done[i] = -1;
            }
            for (int i = 0; i < accepted; i++)
                if (done[i] >= 0) close(done[i]);
        } while (accepted == batch);
    }
}

static void sink(int port) {
    static char block[1 << 18];
    int listener = listen_on(port, SOCK_NONBLOCK), epoll = epoll_create1(0), fd;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[256];
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event)) die("epoll");
    for (;;) {
        int count = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd != listener) {
                ssize_t len = recv(events[i].data.fd, block, sizeof block, MSG_DONTWAIT);
                if (len == 0 || (len < 0 && errno != EAGAIN)) close(events[i].data.fd);
                continue;
            }
            if ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) < 0) continue;
            event = (struct epoll_event){.events = EPOLLIN, .data.fd = fd};
            epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
        }
    }
}

static void hold(int port) {
    int listener = listen_on(port, 0);
    for (;;) accept4(listener, NULL, NULL, 0);
}

static void pour(int port) {
    static char block[1 << 18];
    int listener = listen_on(port, 0);
    for (;;) {
        int fd = accept4(listener, NULL, NULL, 0);
        char request[4096];
        if (fd < 0 || recv(fd, request, sizeof request, 0) < 0) continue;
        for (long left = POURED; left > 0;) {
            ssize_t sent = send(fd, block, left < (long)sizeof block ? left : (long)sizeof block, MSG_NOSIGNAL);
            if (sent < 0) break;
            left -= sent;
        }
        close(fd);
    }
}

int main(int argc, char **argv) {
    const char *mode = argc > 2 ? argv[1] : "";
    int port = argc > 2 ? atoi(argv[2]) : 0;
    seen = argc > 3 && !strcmp(argv[3], "evidence");
    if (!strcmp(mode, "blocking")) serve_blocking(port);
    if (!strcmp(mode, "epoll")) serve_epoll(port, 0, 1);
    if (!strcmp(mode, "epoll-more")) serve_epoll(port, MSG_MORE, 1);
    if (!strcmp(mode, "epoll-batch")) serve_epoll(port, MSG_MORE, BATCH);
    if (!strcmp(mode, "sink")) sink(port);
    if (!strcmp(mode, "hold")) hold(port);
    if (!strcmp(mode, "pour")) pour(port);
    fprintf(stderr, "usage: limit blocking|epoll|epoll-more|epoll-batch|pour|sink|hold PORT [evidence]\n");
    return 2;
}
