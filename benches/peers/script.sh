# What each script of a peer begins with: `. ../script.sh`. What it starts ends with it.
set -eu
here=$(mktemp -d)
children=
trap 'rm -rf "$here"' EXIT
trap 'kill $children 2>/dev/null || :' TERM INT

# bare BARE-C: starts an echo without TLS. Its address is $upstream.
bare() {
    mkfifo "$here/said"
    "$1" 127.0.0.1:0 >"$here/said" &
    children="$children $!"
    read -r _ _ upstream <"$here/said"
}

# serve COMMAND ARGUMENT...: runs a server until the script is told to end.
serve() {
    "$@" &
    children="$children $!"
    # The first wait ends with the signal, the second one when the children have ended.
    wait || :
    wait
}
