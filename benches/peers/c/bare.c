/* The yardstick: a level-triggered epoll loop that echoes bytes and parses nothing. With -DTIMEOUT=0 it never sleeps.
 *
 * One shared read buffer, one recv and one send per wake-up. What the kernel does not take is kept with its
 * connection, which is then not read from until all of it has gone. */
#include "peer.h"
#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#ifndef TIMEOUT
#define TIMEOUT -1
#endif

enum { SHARED = 64 * 1024, EVENTS = 1024 };

struct connection {
    int fd;
    unsigned owed;  /* bytes of `rest` not sent yet; 0: nothing is owed and `rest` is NULL */
    char *rest;     /* starts `sent` bytes before the first owed one */
    unsigned sent;
};

static char shared[SHARED];
static int epoll;

static void interest(struct connection *c, unsigned events)
{
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event) < 0)
        fail("epoll_ctl");
}

static void end(struct connection *c)
{
    close(c->fd);
    free(c->rest);
    free(c);
}

static void readable(struct connection *c)
{
    ssize_t got = recv(c->fd, shared, SHARED, 0);
    if (got <= 0) {
        if (got == 0 || (errno != EAGAIN && errno != EINTR))
            end(c);
        return;
    }
    ssize_t sent = send(c->fd, shared, (size_t)got, MSG_NOSIGNAL);
    if (sent == got)
        return;
    if (sent < 0) {
        if (errno != EAGAIN && errno != EINTR) {
            end(c);
            return;
        }
        sent = 0;
    }
    c->owed = (unsigned)(got - sent);
    c->sent = 0;
    c->rest = malloc(c->owed);
    if (c->rest == NULL)
        fail("malloc");
    memcpy(c->rest, shared + sent, c->owed);
    interest(c, EPOLLOUT);
}

static void writable(struct connection *c)
{
    ssize_t sent = send(c->fd, c->rest + c->sent, c->owed, MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN && errno != EINTR)
            end(c);
        return;
    }
    c->sent += (unsigned)sent;
    c->owed -= (unsigned)sent;
    if (c->owed > 0)
        return;
    free(c->rest);
    c->rest = NULL;
    interest(c, EPOLLIN);
}

static void accept_all(int listener)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        struct connection *c = calloc(1, sizeof *c);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        if (c == NULL)
            fail("calloc");
        c->fd = fd;
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
            fail("epoll_ctl");
    }
}

int main(int argc, char **argv)
{
    static struct epoll_event events[EVENTS];
    int listener = peer_listen(argc, argv);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) < 0)
        fail("epoll");
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, TIMEOUT);
        for (int i = 0; i < count; i++) {
            struct connection *c = events[i].data.ptr;
            if (c == NULL)
                accept_all(listener);
            else if (c->owed > 0)
                writable(c);
            else
                readable(c);
        }
    }
}
