#!/usr/bin/env escript
%% Echoes {packet, 4} with a process for each connection. Arguments: the port.

main([Port]) ->
    {ok, Listener} = gen_tcp:listen(list_to_integer(Port), [
        binary, {packet, 4}, {packet_size, 16777216}, {active, false}, {reuseaddr, true}, {backlog, 1024},
        {ip, {127, 0, 0, 1}}, {nodelay, true}
    ]),
    accept(Listener).

accept(Listener) ->
    {ok, Socket} = gen_tcp:accept(Listener),
    Echo = spawn(fun() -> receive begin_now -> echo(Socket) end end),
    ok = gen_tcp:controlling_process(Socket, Echo),
    Echo ! begin_now,
    accept(Listener).

echo(Socket) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, Packet} ->
            ok = gen_tcp:send(Socket, Packet),
            echo(Socket);
        {error, _} ->
            gen_tcp:close(Socket)
    end.
