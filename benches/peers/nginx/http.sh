#!/bin/sh
# nginx echoes the body of each request, with its module "echo": http.sh PORT.
. "$(dirname "$0")/../script.sh"

cat >"$here/nginx.conf" <<CONF
include /etc/nginx/modules-enabled/*-mod-http-echo.conf;
daemon off;
master_process off;
pid $here/pid;
error_log stderr error;
events { worker_connections 20000; }
http {
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_body_buffer_size 16m;
    client_max_body_size 16m;
    client_body_temp_path $here/body;
    proxy_temp_path $here/proxy;
    fastcgi_temp_path $here/fastcgi;
    uwsgi_temp_path $here/uwsgi;
    scgi_temp_path $here/scgi;
    server {
        listen 127.0.0.1:$1 backlog=4096;
        location / {
            echo_read_request_body;
            echo_request_body;
        }
    }
}
CONF
serve /usr/sbin/nginx -c "$here/nginx.conf" -e stderr
