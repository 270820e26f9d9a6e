#!/bin/sh
# nginx takes off TLS and passes the bytes on to an echo without it, bare-c: tls.sh PORT CERTIFICATE KEY BARE-C.
#
# nginx cannot echo a stream itself. What bare-c and the second connection take is part of what this costs.
. "$(dirname "$0")/../script.sh"
bare "$4"

cat >"$here/nginx.conf" <<CONF
include /etc/nginx/modules-enabled/*-mod-stream.conf;
daemon off;
master_process off;
pid $here/pid;
error_log stderr error;
events { worker_connections 20000; }
stream {
    server {
        listen 127.0.0.1:$1 ssl backlog=4096;
        proxy_pass $upstream;
        proxy_buffer_size 64k;
        ssl_certificate $2;
        ssl_certificate_key $3;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_ecdh_curve X25519;
    }
}
CONF
serve /usr/sbin/nginx -c "$here/nginx.conf" -e stderr
