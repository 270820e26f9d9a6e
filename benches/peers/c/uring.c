/* io_uring, no parsing: completion instead of readiness. Each connection has one operation in flight: a recv that takes
 * its buffer from a shared ring only when bytes are there, then a send of that buffer, which then goes back. */
#include "peer.h"
#include <errno.h>
#include <liburing.h>
#include <stdint.h>
#include <unistd.h>

enum { ENTRIES = 4096, BUFFERS = 256, BUFFER = 64 * 1024, GROUP = 0 };

enum operation { ACCEPT, RECEIVE, SEND };

struct connection {
    int fd;
    enum operation operation;
    unsigned short buffer;
};

static struct io_uring ring;
static struct io_uring_buf_ring *buffers;
static char (*memory)[BUFFER];

static struct io_uring_sqe *submission(void)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    while (sqe == NULL) {
        io_uring_submit(&ring);
        sqe = io_uring_get_sqe(&ring);
    }
    return sqe;
}

static void give_back(unsigned short buffer)
{
    io_uring_buf_ring_add(buffers, memory[buffer], BUFFER, buffer, io_uring_buf_ring_mask(BUFFERS), 0);
    io_uring_buf_ring_advance(buffers, 1);
}

static void receive(struct connection *c)
{
    struct io_uring_sqe *sqe = submission();
    c->operation = RECEIVE;
    io_uring_prep_recv(sqe, c->fd, NULL, BUFFER, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = GROUP;
    io_uring_sqe_set_data(sqe, c);
}

static void accept_next(int listener)
{
    static struct connection accepting = {.operation = ACCEPT};
    struct io_uring_sqe *sqe = submission();
    io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
    io_uring_sqe_set_data(sqe, &accepting);
}

static void accepted(int listener, int fd, unsigned flags)
{
    if (fd >= 0) {
        struct connection *c = calloc(1, sizeof *c);
        if (c == NULL)
            fail("calloc");
        c->fd = fd;
        receive(c);
    }
    if (!(flags & IORING_CQE_F_MORE))
        accept_next(listener);
}

static void end(struct connection *c)
{
    close(c->fd);
    free(c);
}

static void received(struct connection *c, int got, unsigned flags)
{
    if (got == -ENOBUFS) {
        receive(c); /* all buffers are being sent; one comes back before this is looked at again */
        return;
    }
    if (got <= 0) {
        if (flags & IORING_CQE_F_BUFFER)
            give_back((unsigned short)(flags >> IORING_CQE_BUFFER_SHIFT));
        end(c);
        return;
    }
    struct io_uring_sqe *sqe = submission();
    c->operation = SEND;
    c->buffer = (unsigned short)(flags >> IORING_CQE_BUFFER_SHIFT);
    io_uring_prep_send(sqe, c->fd, memory[c->buffer], (size_t)got, MSG_WAITALL | MSG_NOSIGNAL);
    io_uring_sqe_set_data(sqe, c);
}

static void sent(struct connection *c, int result)
{
    give_back(c->buffer);
    if (result < 0)
        end(c);
    else
        receive(c);
}

static void set_up(void)
{
    struct io_uring_params parameters = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE,
        .cq_entries = 16 * ENTRIES,
    };
    struct io_uring_buf_reg registration = {.ring_entries = BUFFERS, .bgid = GROUP};
    size_t size = BUFFERS * sizeof(struct io_uring_buf);
    if (io_uring_queue_init_params(ENTRIES, &ring, &parameters) < 0)
        fail("io_uring_queue_init");
    if (posix_memalign((void **)&buffers, 4096, size) != 0 || (memory = malloc(BUFFERS * BUFFER)) == NULL)
        fail("malloc");
    registration.ring_addr = (uintptr_t)buffers;
    if (io_uring_register_buf_ring(&ring, &registration, 0) < 0)
        fail("io_uring_register_buf_ring");
    io_uring_buf_ring_init(buffers);
    for (unsigned short i = 0; i < BUFFERS; i++)
        give_back(i);
}

int main(int argc, char **argv)
{
    int listener = peer_listen(argc, argv);
    set_up();
    accept_next(listener);
    for (;;) {
        struct io_uring_cqe *cqe;
        unsigned head, seen = 0;
        io_uring_submit_and_wait(&ring, 1);
        io_uring_for_each_cqe(&ring, head, cqe) {
            struct connection *c = io_uring_cqe_get_data(cqe);
            seen++;
            if (c->operation == ACCEPT)
                accepted(listener, cqe->res, cqe->flags);
            else if (c->operation == RECEIVE)
                received(c, cqe->res, cqe->flags);
            else
                sent(c, cqe->res);
        }
        io_uring_cq_advance(&ring, seen);
    }
}
