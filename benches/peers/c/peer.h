/* What every C peer starts with: take ADDRESS, listen on it, say where. */
#ifndef PEER_H
#define PEER_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { BACKLOG = 4096 };

static inline void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* The address in ARGV[1], `IPV4:PORT`. */
static inline struct sockaddr_in peer_address(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    char host[64];
    const char *colon = argc == 2 ? strrchr(argv[1], ':') : NULL;
    if (colon == NULL || (size_t)(colon - argv[1]) >= sizeof host) {
        fprintf(stderr, "usage: %s IPV4:PORT\n", argv[0]);
        exit(2);
    }
    memcpy(host, argv[1], (size_t)(colon - argv[1]));
    host[colon - argv[1]] = '\0';
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) {
        fprintf(stderr, "%s: not an IPv4 address: %s\n", argv[0], host);
        exit(2);
    }
    address.sin_port = htons((unsigned short)atoi(colon + 1));
    return address;
}

/* Says where FD listens: the harness waits for this line. */
static inline void peer_announce(int fd)
{
    struct sockaddr_in bound;
    socklen_t length = sizeof bound;
    char host[INET_ADDRSTRLEN];
    if (getsockname(fd, (struct sockaddr *)&bound, &length) < 0)
        fail("getsockname");
    inet_ntop(AF_INET, &bound.sin_addr, host, sizeof host);
    printf("listening on %s:%d\n", host, ntohs(bound.sin_port));
    fflush(stdout);
}

/* A non-blocking listener. TCP_NODELAY is set on it because accepted sockets inherit it. */
static inline int peer_listen(int argc, char **argv)
{
    struct sockaddr_in address = peer_address(argc, argv);
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    signal(SIGPIPE, SIG_IGN);
    if (fd < 0)
        fail("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail("bind");
    if (listen(fd, BACKLOG) < 0)
        fail("listen");
    peer_announce(fd);
    return fd;
}

#endif
