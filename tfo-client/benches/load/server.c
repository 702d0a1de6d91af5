/* A minimal fast open server, which sends a fixed reply on one connection after another.
 * Reply and FIN are sent in one segment, so that the client limits the rate.
 *
 * server PORT */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static const char reply[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

int main(int argc, char **argv) {
    if (argc != 2) errx(2, "usage: server PORT");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1, queue = 4096;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (setsockopt(listener, IPPROTO_TCP, TCP_FASTOPEN, &queue, sizeof queue) < 0)
        err(1, "TCP_FASTOPEN");
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0) err(1, "bind");
    if (listen(listener, queue) < 0) err(1, "listen");
    for (;;) {
        static char buffer[65536];
        int fd = accept4(listener, 0, 0, SOCK_CLOEXEC);
        if (fd < 0) continue;
        if (recv(fd, buffer, sizeof buffer, 0) > 0)
            send(fd, reply, sizeof reply - 1, MSG_NOSIGNAL | MSG_MORE);
        close(fd);
    }
}
