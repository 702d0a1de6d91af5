/* A minimal fast open client with an event loop, with which `tfo-client load` is compared.
 * It only counts replies: no verdicts, no clock, no histograms.
 *
 * client PORT CONCURRENCY SECONDS REQUEST    prints: REPLIES SECONDS CPU-SECONDS */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct sockaddr_in server = {.sin_family = AF_INET};
static const char *request;
static size_t length;
static int epoll;

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static void start(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) err(1, "socket");
    ssize_t sent = sendto(fd, request, length, MSG_FASTOPEN | MSG_NOSIGNAL,
                          (struct sockaddr *)&server, sizeof server);
    if (sent < 0 && errno != EINPROGRESS) err(1, "sendto");
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.fd = fd};
    /* Without a cookie, no data was sent. */
    if (sent < 0) event.events |= EPOLLOUT;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) err(1, "epoll_ctl");
}

int main(int argc, char **argv) {
    if (argc != 5) errx(2, "usage: client PORT CONCURRENCY SECONDS REQUEST");
    server.sin_port = htons(atoi(argv[1]));
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int concurrency = atoi(argv[2]);
    request = argv[4];
    length = strlen(request);
    epoll = epoll_create1(EPOLL_CLOEXEC);

    static char buffer[65536];
    struct epoll_event events[256];
    unsigned long replies = 0;
    double begin = seconds(), end = begin + atof(argv[3]);
    for (int i = 0; i < concurrency; i++) start();
    while (seconds() < end) {
        int ready = epoll_wait(epoll, events, 256, 100);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (events[i].events & EPOLLOUT && send(fd, request, length, MSG_NOSIGNAL) < 0)
                err(1, "send");
            for (;;) {
                ssize_t len = recv(fd, buffer, sizeof buffer, 0);
                /* A short read has emptied the receive buffer; a close, if reported, comes next. */
                int whole = len > 0 && len < (ssize_t)sizeof buffer;
                if (whole && !(events[i].events & EPOLLRDHUP)) break;
                if (len > 0 && !whole) continue;
                if (len < 0 && errno == EAGAIN) break;
                if (len < 0) err(1, "recv");
                close(fd);
                replies++;
                start();
                break;
            }
        }
    }
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu = used.ru_utime.tv_sec + used.ru_stime.tv_sec +
                 (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    printf("%lu %f %f\n", replies, seconds() - begin, cpu);
}
