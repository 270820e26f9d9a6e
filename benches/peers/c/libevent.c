/* libevent's bufferevent, whole frames: the head is peeked at, and a whole frame moves from the input buffer to the
 * output buffer by reference; all frames of one read leave in one write. */
#include "peer.h"
#include <endian.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <stdint.h>

enum { HEAD = 4, LIMIT = 16 * 1024 * 1024, AT_ONCE = 256 * 1024 };

static void received(struct bufferevent *peer, void *unused)
{
    struct evbuffer *input = bufferevent_get_input(peer);
    struct evbuffer *output = bufferevent_get_output(peer);
    uint32_t length;
    (void)unused;
    while (evbuffer_copyout(input, &length, HEAD) == HEAD) {
        length = le32toh(length);
        if (length > LIMIT) {
            bufferevent_free(peer);
            return;
        }
        if (evbuffer_get_length(input) < HEAD + (size_t)length)
            return;
        evbuffer_remove_buffer(input, output, HEAD + (size_t)length);
    }
}

static void changed(struct bufferevent *peer, short what, void *unused)
{
    (void)unused;
    if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
        bufferevent_free(peer);
}

static void accepted(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *from, int length, void *base)
{
    int on = 1;
    (void)listener;
    (void)from;
    (void)length;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct bufferevent *peer = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
    if (peer == NULL)
        fail("bufferevent_socket_new");
    bufferevent_set_max_single_read(peer, AT_ONCE);
    bufferevent_set_max_single_write(peer, AT_ONCE);
    bufferevent_setcb(peer, received, NULL, changed, NULL);
    bufferevent_enable(peer, EV_READ | EV_WRITE);
}

int main(int argc, char **argv)
{
    int fd = peer_listen(argc, argv);
    struct event_base *base = event_base_new();
    if (base == NULL || evconnlistener_new(base, accepted, base, LEV_OPT_CLOSE_ON_EXEC, 0, fd) == NULL)
        fail("libevent");
    return event_base_dispatch(base);
}
