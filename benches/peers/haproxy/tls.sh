#!/bin/sh
# HAProxy takes off TLS and passes the bytes on to an echo without it, bare-c: tls.sh PORT CERTIFICATE KEY BARE-C.
#
# What bare-c and the second connection take is part of what this costs.
. "$(dirname "$0")/../script.sh"
bare "$4"

cat "$2" "$3" >"$here/both.pem"
cat >"$here/haproxy.cfg" <<CONF
global
    nbthread 1
    maxconn 9000
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen echo
    bind 127.0.0.1:$1 ssl crt $here/both.pem curves X25519 backlog 4096
    server echo $upstream
CONF
serve haproxy -db -q -f "$here/haproxy.cfg"
