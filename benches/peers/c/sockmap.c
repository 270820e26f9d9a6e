/* An echo inside the kernel: a BPF program sends what a connection receives out of the same connection again.
 *
 * This process accepts connections and closes them. Their bytes never leave the kernel (bpf-sockmap, BPF_MAP_TYPE_SOCKHASH).
 * The program has eleven instructions, so it is written in them, and no compiler for BPF is needed. */
#include "peer.h"
#include <errno.h>
#include <linux/bpf.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { EVENTS = 1024, CONNECTIONS = 65536 };

/* A connection, by its peer: as the program reads it. */
struct key {
    uint32_t port;
    uint32_t address;
};

static int map;
static int epoll;

static int bpf(enum bpf_cmd command, union bpf_attr *attributes)
{
    return (int)syscall(SYS_bpf, command, attributes, sizeof *attributes);
}

/* The kernel says EPERM to whom it does not allow this. */
static void fail_bpf(const char *what)
{
    fprintf(stderr, "bpf(2), %s: %s; it needs CAP_BPF and CAP_NET_ADMIN, and a kernel with CONFIG_BPF_STREAM_PARSER\n", what,
            strerror(errno));
    exit(1);
}

static void create_map(void)
{
    union bpf_attr attributes = {
        .map_type = BPF_MAP_TYPE_SOCKHASH,
        .key_size = sizeof(struct key),
        .value_size = sizeof(int),
        .max_entries = CONNECTIONS,
    };
    map = bpf(BPF_MAP_CREATE, &attributes);
    if (map < 0)
        fail_bpf("BPF_MAP_CREATE");
}

#define FIELD(name) ((short)offsetof(struct __sk_buff, name))
#define INSTRUCTION(operation, to, from, at, number) \
    {.code = (operation), .dst_reg = (to), .src_reg = (from), .off = (at), .imm = (number)}
#define LOAD(to, from, at) INSTRUCTION(BPF_LDX | BPF_MEM | BPF_W, to, from, at, 0)
#define STORE(to, at, from) INSTRUCTION(BPF_STX | BPF_MEM | BPF_W, to, from, at, 0)
#define MOVE(to, from) INSTRUCTION(BPF_ALU64 | BPF_MOV | BPF_X, to, from, 0, 0)
#define SET(to, number) INSTRUCTION(BPF_ALU64 | BPF_MOV | BPF_K, to, 0, 0, number)
#define ADD(to, number) INSTRUCTION(BPF_ALU64 | BPF_ADD | BPF_K, to, 0, 0, number)

/* return bpf_sk_redirect_hash(skb, &map, &(struct key){skb->remote_port, skb->remote_ip4}, 0); */
static void attach_program(void)
{
    struct bpf_insn program[] = {
        LOAD(BPF_REG_2, BPF_REG_1, FIELD(remote_port)),
        STORE(BPF_REG_10, -8, BPF_REG_2),
        LOAD(BPF_REG_2, BPF_REG_1, FIELD(remote_ip4)),
        STORE(BPF_REG_10, -4, BPF_REG_2),
        MOVE(BPF_REG_3, BPF_REG_10),
        ADD(BPF_REG_3, -8),
        INSTRUCTION(BPF_LD | BPF_DW | BPF_IMM, BPF_REG_2, BPF_PSEUDO_MAP_FD, 0, map),
        INSTRUCTION(0, 0, 0, 0, 0),
        SET(BPF_REG_4, 0),
        INSTRUCTION(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_sk_redirect_hash),
        INSTRUCTION(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
    };
    static char log[65536];
    union bpf_attr load = {
        .prog_type = BPF_PROG_TYPE_SK_SKB,
        .insns = (uintptr_t)program,
        .insn_cnt = sizeof program / sizeof *program,
        .license = (uintptr_t) "GPL",
        .log_buf = (uintptr_t)log,
        .log_size = sizeof log,
        .log_level = 1,
    };
    int fd = bpf(BPF_PROG_LOAD, &load);
    if (fd < 0) {
        fputs(log, stderr);
        fail_bpf("BPF_PROG_LOAD");
    }
    union bpf_attr attach = {
        .target_fd = (uint32_t)map,
        .attach_bpf_fd = (uint32_t)fd,
        .attach_type = BPF_SK_SKB_STREAM_VERDICT,
    };
    if (bpf(BPF_PROG_ATTACH, &attach) < 0)
        fail_bpf("BPF_PROG_ATTACH");
}

/* Hands the connection to the program. It leaves the map when it is closed. */
static int hand_over(int fd, const struct sockaddr_in *peer)
{
    /* __sk_buff has the port in network byte order, in the first two bytes that follow each other in memory there: on a
     * little-endian machine the upper half of the number. */
    struct key key = {.address = peer->sin_addr.s_addr};
    union bpf_attr update = {
        .map_fd = (uint32_t)map,
        .key = (uintptr_t)&key,
        .value = (uintptr_t)&fd,
        .flags = BPF_ANY,
    };
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    key.port = (uint32_t)peer->sin_port << 16;
#else
    key.port = peer->sin_port;
#endif
    return bpf(BPF_MAP_UPDATE_ELEM, &update);
}

/* Sends back what came before the connection was handed over. -1: it did not work. */
static int echo_first(int fd)
{
    static char bytes[65536];
    ssize_t got = recv(fd, bytes, sizeof bytes, 0);
    if (got <= 0)
        return got == 0 || errno == EAGAIN ? 0 : -1;
    return send(fd, bytes, (size_t)got, MSG_NOSIGNAL) == got ? 0 : -1;
}

static void accept_all(int listener)
{
    for (;;) {
        struct sockaddr_in peer;
        socklen_t length = sizeof peer;
        int fd = accept4(listener, (struct sockaddr *)&peer, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
        /* Not EPOLLIN: bytes that the kernel sends back by itself would wake this process. */
        struct epoll_event event = {.events = EPOLLRDHUP, .data.fd = fd};
        if (fd < 0)
            return;
        if (hand_over(fd, &peer) < 0 || echo_first(fd) < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
            perror("a connection");
            close(fd);
        }
    }
}

int main(int argc, char **argv)
{
    static struct epoll_event events[EVENTS];
    int listener;
    create_map();
    attach_program();
    listener = peer_listen(argc, argv);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) < 0)
        fail("epoll");
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener)
                accept_all(listener);
            else
                close(fd);
        }
    }
}
