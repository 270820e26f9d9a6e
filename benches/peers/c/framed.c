/* A level-triggered epoll loop that echoes whole frames: 4 bytes little-endian, then as many bytes of payload. With
 * -DLINES a frame is a line and its '\n'.
 *
 * One recv and one send per wake-up. All whole frames of one read go back in one send from where they lie. The part
 * of a frame at their end is kept with the connection and copied back in front of the next read; a frame too large
 * for the shared buffer is read in place behind its part. */
#include "peer.h"
#include <endian.h>
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { SHARED = 64 * 1024, EVENTS = 1024, HEAD = 4, LIMIT = 16 * 1024 * 1024 };

struct connection {
    int fd;
    unsigned kept;      /* bytes of a frame that is not whole */
    unsigned owed;      /* bytes to be sent; then nothing is read */
    unsigned sent;      /* of `bytes`, before the owed ones */
    unsigned capacity;
    char *bytes;        /* owed ones first, then the kept ones; NULL when there are neither */
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
    free(c->bytes);
    free(c);
}

static void release(struct connection *c)
{
    free(c->bytes);
    c->bytes = NULL;
    c->capacity = 0;
}

static void reserve(struct connection *c, unsigned capacity)
{
    if (capacity <= c->capacity)
        return;
    c->bytes = realloc(c->bytes, capacity);
    if (c->bytes == NULL)
        fail("realloc");
    c->capacity = capacity;
}

#ifdef LINES
/* How large the frame may be whose first KEPT bytes are BYTES: its end has not been seen. */
static unsigned frame_of(const char *bytes, unsigned kept)
{
    (void)bytes;
    return 2 * kept;
}

/* How many of LENGTH bytes are whole lines; -1: a line over the limit. */
static ssize_t whole_frames(const char *bytes, size_t length)
{
    size_t at = 0;
    const char *end;
    while ((end = memchr(bytes + at, '\n', length - at)) != NULL)
        at = (size_t)(end - bytes) + 1;
    return length - at > LIMIT ? -1 : (ssize_t)at;
}
#else
static unsigned frame_length(const char *bytes)
{
    uint32_t length;
    memcpy(&length, bytes, HEAD);
    length = le32toh(length);
    return length > LIMIT ? 0 : HEAD + length;
}

/* How large the frame is whose first KEPT bytes are BYTES; or its head, if that is not whole. */
static unsigned frame_of(const char *bytes, unsigned kept)
{
    return kept >= HEAD ? frame_length(bytes) : HEAD;
}

/* How many of LENGTH bytes are whole frames; -1: a frame over the limit. */
static ssize_t whole_frames(const char *bytes, size_t length)
{
    size_t at = 0;
    while (length - at >= HEAD) {
        unsigned frame = frame_length(bytes + at);
        if (frame == 0)
            return -1;
        if (length - at < frame)
            break;
        at += frame;
    }
    return (ssize_t)at;
}
#endif

/* Sends the first WHOLE of LENGTH bytes and keeps the rest with the connection. */
static void answer(struct connection *c, char *bytes, size_t length, size_t whole)
{
    ssize_t sent = 0;
    if (whole > 0) {
        sent = send(c->fd, bytes, whole, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno != EAGAIN && errno != EINTR) {
                end(c);
                return;
            }
            sent = 0;
        }
    }
    if ((size_t)sent == length) {
        if (c->bytes != NULL)
            release(c);
        c->kept = 0;
        return;
    }
    c->owed = (unsigned)(whole - (size_t)sent);
    c->kept = (unsigned)(length - whole);
    c->sent = 0;
    if (bytes == c->bytes) {
        memmove(c->bytes, bytes + sent, length - (size_t)sent);
    } else {
        reserve(c, c->owed + c->kept);
        memcpy(c->bytes, bytes + sent, length - (size_t)sent);
    }
    if (c->owed > 0)
        interest(c, EPOLLOUT);
}

static void readable(struct connection *c)
{
    char *bytes = shared;
    size_t room = SHARED;
    if (c->kept > 0) {
        unsigned frame = frame_of(c->bytes, c->kept);
        if (frame <= SHARED) {
            memcpy(shared, c->bytes, c->kept);
        } else {
            unsigned twice = c->kept < SHARED ? 2 * SHARED : 2 * c->kept;
            reserve(c, frame < twice ? frame : twice);
            bytes = c->bytes;
            room = frame < c->capacity ? frame : c->capacity;
        }
    }
    ssize_t got = recv(c->fd, bytes + c->kept, room - c->kept, 0);
    if (got <= 0) {
        if (got == 0 || (errno != EAGAIN && errno != EINTR))
            end(c);
        return;
    }
    size_t length = c->kept + (size_t)got;
    ssize_t whole = whole_frames(bytes, length);
    if (whole < 0)
        end(c);
    else if (whole == 0 && bytes == c->bytes)
        c->kept = (unsigned)length;
    else
        answer(c, bytes, length, (size_t)whole);
}

static void writable(struct connection *c)
{
    ssize_t sent = send(c->fd, c->bytes + c->sent, c->owed, MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN && errno != EINTR)
            end(c);
        return;
    }
    c->sent += (unsigned)sent;
    c->owed -= (unsigned)sent;
    if (c->owed > 0)
        return;
    if (c->kept > 0)
        memmove(c->bytes, c->bytes + c->sent, c->kept);
    else
        release(c);
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
    /* Memory of large frames is kept for the next: page faults would cost more than the copying. */
    mallopt(M_MMAP_THRESHOLD, 2 * LIMIT);
    mallopt(M_TRIM_THRESHOLD, 4 * LIMIT);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) < 0)
        fail("epoll");
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);
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
