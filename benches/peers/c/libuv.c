/* libuv, no parsing, tuned: one shared read buffer, written back at once with uv_try_write; only what the kernel does
 * not take is copied and queued, and reading stops until it has gone. */
#include "peer.h"
#include <uv.h>

/* libuv reads again while the buffer comes back full; 256 KiB takes what the kernel has in one call. */
enum { SHARED = 256 * 1024 };

static char shared[SHARED];

struct pending {
    uv_write_t request;
    char bytes[];
};

static void read_done(uv_stream_t *stream, ssize_t got, const uv_buf_t *buffer);

static void ended(uv_handle_t *handle)
{
    free(handle);
}

static void lend(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    (void)handle;
    (void)suggested;
    *buffer = uv_buf_init(shared, SHARED);
}

static void written(uv_write_t *request, int status)
{
    uv_stream_t *stream = request->handle;
    free(request);
    if (status < 0) {
        if (!uv_is_closing((uv_handle_t *)stream))
            uv_close((uv_handle_t *)stream, ended);
        return;
    }
    uv_read_start(stream, lend, read_done);
}

static void read_done(uv_stream_t *stream, ssize_t got, const uv_buf_t *buffer)
{
    if (got == 0)
        return;
    if (got < 0) {
        uv_close((uv_handle_t *)stream, ended);
        return;
    }
    uv_buf_t all = uv_buf_init(buffer->base, (unsigned)got);
    int sent = uv_try_write(stream, &all, 1);
    if (sent == got)
        return;
    if (sent < 0 && sent != UV_EAGAIN) {
        uv_close((uv_handle_t *)stream, ended);
        return;
    }
    size_t gone = sent < 0 ? 0 : (size_t)sent;
    size_t rest = (size_t)got - gone;
    struct pending *pending = malloc(sizeof *pending + rest);
    if (pending == NULL)
        fail("malloc");
    memcpy(pending->bytes, buffer->base + gone, rest);
    uv_buf_t later = uv_buf_init(pending->bytes, (unsigned)rest);
    uv_read_stop(stream);
    uv_write(&pending->request, stream, &later, 1, written);
}

static void connected(uv_stream_t *listener, int status)
{
    if (status < 0)
        return;
    uv_tcp_t *client = malloc(sizeof *client);
    if (client == NULL)
        fail("malloc");
    uv_tcp_init(listener->loop, client);
    if (uv_accept(listener, (uv_stream_t *)client) < 0) {
        uv_close((uv_handle_t *)client, ended);
        return;
    }
    uv_tcp_nodelay(client, 1);
    uv_read_start((uv_stream_t *)client, lend, read_done);
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = peer_address(argc, argv);
    uv_loop_t *loop = uv_default_loop();
    uv_tcp_t listener;
    uv_os_fd_t fd;
    signal(SIGPIPE, SIG_IGN);
    uv_tcp_init(loop, &listener);
    if (uv_tcp_bind(&listener, (struct sockaddr *)&address, 0) < 0)
        fail("uv_tcp_bind");
    if (uv_listen((uv_stream_t *)&listener, BACKLOG, connected) < 0)
        fail("uv_listen");
    uv_fileno((uv_handle_t *)&listener, &fd);
    peer_announce(fd);
    return uv_run(loop, UV_RUN_DEFAULT);
}
