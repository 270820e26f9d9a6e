/* A loop that echoes datagrams: all that wait, up to BATCH, in one recvmmsg, and back in one sendmmsg. It waits in
 * recvmmsg; with -DEPOLL in epoll_wait, as a loop must that serves other sockets too. */
#include "peer.h"
#include <errno.h>
#include <sys/epoll.h>

enum { BATCH = 64, LARGEST = 64 * 1024, QUEUE = 4 * 1024 * 1024 };

static char bytes[BATCH][LARGEST];

#ifdef EPOLL
enum { FLAGS = MSG_DONTWAIT };

/* Waits until more datagrams have come since the last call. */
static void await_event(int fd)
{
    static int epoll = -1;
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    if (epoll < 0) {
        epoll = epoll_create1(EPOLL_CLOEXEC);
        if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
            fail("epoll");
    }
    epoll_wait(epoll, &event, 1, -1);
}
#else
/* The socket blocks: recvmmsg waits for the first datagram, and takes those that are there. */
enum { FLAGS = MSG_WAITFORONE };

static void await_event(int fd)
{
    (void)fd;
}
#endif

int main(int argc, char **argv)
{
    static struct sockaddr_in sources[BATCH];
    static struct iovec parts[BATCH];
    static struct mmsghdr messages[BATCH];
    struct sockaddr_in address = peer_address(argc, argv);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int queue = QUEUE;
    if (fd < 0)
        fail("socket");
    /* The kernel grants net.core.rmem_max at most. */
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &queue, sizeof queue);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail("bind");
    for (int i = 0; i < BATCH; i++) {
        parts[i].iov_base = bytes[i];
        messages[i].msg_hdr.msg_name = &sources[i];
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    peer_announce(fd);
    for (int count = 0;;) {
        /* A batch that is not full has emptied the queue. */
        if (count < BATCH)
            await_event(fd);
        for (int i = 0; i < BATCH; i++) {
            parts[i].iov_len = LARGEST;
            messages[i].msg_hdr.msg_namelen = sizeof sources[i];
        }
        count = recvmmsg(fd, messages, BATCH, FLAGS, NULL);
        if (count < 0) {
            if (errno == EINTR || errno == ECONNREFUSED || errno == EAGAIN)
                continue;
            fail("recvmmsg");
        }
        for (int i = 0; i < count; i++)
            parts[i].iov_len = messages[i].msg_len;
        for (int sent = 0; sent < count;) {
            int some = sendmmsg(fd, messages + sent, (unsigned)(count - sent), 0);
            /* One that cannot be sent is left out, as a lost one. */
            sent += some > 0 ? some : 1;
        }
    }
}
