/* libwebsockets: each message is collected and goes back when it is whole and the socket is writable, which is how the
 * library asks for it to be done: one lws_write for each time it says so. */
#include "peer.h"
#include <libwebsockets.h>

/* What one read takes; a longer message comes in several parts. */
enum { READ = 64 * 1024 };

struct message {
    struct message *next;
    enum lws_write_protocol kind;
    size_t length;
    unsigned char room[LWS_PRE];
    unsigned char payload[];
};

struct session {
    struct message *partial; /* the message that is coming */
    struct message *first;   /* whole ones, to be sent */
    struct message **last;
};

static struct message *extended(struct message *old, const void *bytes, size_t length, size_t behind)
{
    size_t held = old == NULL ? 0 : old->length;
    struct message *message = realloc(old, sizeof *message + held + length + behind);
    if (message == NULL)
        fail("realloc");
    memcpy(message->payload + held, bytes, length);
    message->length = held + length;
    return message;
}

static int echo(struct lws *ws, enum lws_callback_reasons why, void *user, void *in, size_t length)
{
    struct session *session = user;
    struct message *message;
    switch (why) {
    case LWS_CALLBACK_ESTABLISHED:
        session->partial = session->first = NULL;
        session->last = &session->first;
        break;
    case LWS_CALLBACK_RECEIVE:
        message = extended(session->partial, in, length, lws_remaining_packet_payload(ws));
        session->partial = message;
        if (!lws_is_final_fragment(ws) || lws_remaining_packet_payload(ws) > 0)
            break;
        message->kind = lws_frame_is_binary(ws) ? LWS_WRITE_BINARY : LWS_WRITE_TEXT;
        message->next = NULL;
        *session->last = message;
        session->last = &message->next;
        session->partial = NULL;
        lws_callback_on_writable(ws);
        break;
    case LWS_CALLBACK_SERVER_WRITEABLE:
        message = session->first;
        if (message == NULL)
            break;
        if (lws_write(ws, message->payload, message->length, message->kind) < (int)message->length)
            return -1;
        session->first = message->next;
        if (session->first == NULL)
            session->last = &session->first;
        else
            lws_callback_on_writable(ws);
        free(message);
        break;
    case LWS_CALLBACK_CLOSED:
        free(session->partial);
        while ((message = session->first) != NULL) {
            session->first = message->next;
            free(message);
        }
        break;
    default:
        break;
    }
    return 0;
}

int main(int argc, char **argv)
{
    static const struct lws_protocols protocols[] = {
        {.name = "echo", .callback = echo, .per_session_data_size = sizeof(struct session), .rx_buffer_size = READ},
        {0},
    };
    struct sockaddr_in address = peer_address(argc, argv);
    struct lws_context_creation_info info = {
        .port = ntohs(address.sin_port),
        .iface = "127.0.0.1",
        .protocols = protocols,
        .gid = (gid_t)-1,
        .uid = (uid_t)-1,
        .pt_serv_buf_size = READ,
        .options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS | LWS_SERVER_OPTION_DISABLE_IPV6,
    };
    lws_set_log_level(LLL_ERR, NULL);
    struct lws_context *context = lws_create_context(&info);
    struct lws_vhost *vhost = context == NULL ? NULL : lws_create_vhost(context, &info);
    if (vhost == NULL)
        fail("libwebsockets");
    printf("listening on 127.0.0.1:%d\n", lws_get_vhost_listen_port(vhost));
    fflush(stdout);
    while (lws_service(context, 0) >= 0)
        ;
}
