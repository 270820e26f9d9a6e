/* uWebSockets, from the shared library in PyPI's socketify, without Python: each message goes back from its callback,
 * which the library corks, so that the replies to one read leave together. */
#include "peer.h"
#include <stdbool.h>

/* The parts of libuwebsockets.h that are needed: the package brings the library without its header. */
struct us_listen_socket_t;
typedef void uws_app_t, uws_websocket_t, uws_res_t, uws_req_t, uws_socket_context_t;
typedef int uws_opcode_t, uws_sendstatus_t, uws_compress_options_t;
typedef void (*uws_handler)(uws_websocket_t *, void *);
typedef void (*uws_message_handler)(uws_websocket_t *, const char *, size_t, uws_opcode_t, void *);

struct us_socket_context_options_t {
    const char *key, *certificate, *passphrase, *dh_params, *ca, *ciphers;
    int prefer_low_memory;
};

typedef struct {
    int port;
    const char *host;
    int options;
} uws_app_listen_config_t;

typedef struct {
    uws_compress_options_t compression;
    unsigned max_payload;
    unsigned short idle_timeout;
    unsigned max_backpressure;
    bool close_on_backpressure_limit, reset_idle_timeout_on_send, send_pings_automatically;
    unsigned short max_lifetime;
    void (*upgrade)(uws_res_t *, uws_req_t *, uws_socket_context_t *, void *);
    uws_handler open;
    uws_message_handler message;
    uws_handler drain;
    void (*ping)(uws_websocket_t *, const char *, size_t, void *);
    void (*pong)(uws_websocket_t *, const char *, size_t, void *);
    void (*close)(uws_websocket_t *, int, const char *, size_t, void *);
    void (*subscription)(uws_websocket_t *, const char *, size_t, int, int, void *);
} uws_socket_behavior_t;

uws_app_t *uws_create_app(int ssl, struct us_socket_context_options_t options);
void uws_ws(int ssl, uws_app_t *app, const char *pattern, uws_socket_behavior_t behavior, void *data);
void uws_app_listen_with_config(
    int ssl, uws_app_t *app, uws_app_listen_config_t config,
    void (*handler)(struct us_listen_socket_t *, uws_app_listen_config_t, void *), void *data);
void uws_app_run(int ssl, uws_app_t *app);
uws_sendstatus_t uws_ws_send(
    int ssl, uws_websocket_t *ws, const char *message, size_t length, uws_opcode_t opcode);
int us_socket_local_port(int ssl, struct us_listen_socket_t *listener);

enum { PLAIN = 0, LIMIT = 16 * 1024 * 1024 };

static void echo(uws_websocket_t *ws, const char *message, size_t length, uws_opcode_t opcode, void *data)
{
    (void)data;
    uws_ws_send(PLAIN, ws, message, length, opcode);
}

static void listens(struct us_listen_socket_t *listener, uws_app_listen_config_t config, void *data)
{
    (void)data;
    if (listener == NULL)
        fail("listen");
    printf("listening on %s:%d\n", config.host, us_socket_local_port(PLAIN, listener));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = peer_address(argc, argv);
    char host[INET_ADDRSTRLEN];
    uws_socket_behavior_t behavior = {
        .max_payload = LIMIT,
        .max_backpressure = LIMIT,
        .message = echo,
    };
    struct us_socket_context_options_t none = {0};
    uws_app_t *app = uws_create_app(PLAIN, none);
    inet_ntop(AF_INET, &address.sin_addr, host, sizeof host);
    uws_app_listen_config_t config = {.port = ntohs(address.sin_port), .host = host};
    uws_ws(PLAIN, app, "/*", behavior, NULL);
    uws_app_listen_with_config(PLAIN, app, config, listens, NULL);
    uws_app_run(PLAIN, app);
}
