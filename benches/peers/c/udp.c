/* A loop that echoes datagrams: all that wait, up to BATCH, in one recvmmsg, and back in one sendmmsg. */
#include "peer.h"
#include <errno.h>

enum { BATCH = 64, LARGEST = 64 * 1024 };

static char bytes[BATCH][LARGEST];

int main(int argc, char **argv)
{
    static struct sockaddr_in sources[BATCH];
    static struct iovec parts[BATCH];
    static struct mmsghdr messages[BATCH];
    struct sockaddr_in address = peer_address(argc, argv);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        fail("socket");
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail("bind");
    for (int i = 0; i < BATCH; i++) {
        parts[i].iov_base = bytes[i];
        messages[i].msg_hdr.msg_name = &sources[i];
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    peer_announce(fd);
    for (;;) {
        for (int i = 0; i < BATCH; i++) {
            parts[i].iov_len = LARGEST;
            messages[i].msg_hdr.msg_namelen = sizeof sources[i];
        }
        /* The socket blocks: it waits for the first, and takes those that are there. */
        int count = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
        if (count < 0) {
            if (errno == EINTR || errno == ECONNREFUSED)
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
