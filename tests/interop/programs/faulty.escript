%% gen_tcp's {packet, 4} and a server that misbehaves: faulty.escript MILLISECONDS PORT
%% Two frames, one after the other: what came of the second.
main([Milliseconds, Port]) ->
    Options = [binary, {packet, 4}, {active, false}, {packet_size, 1000000}],
    {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, list_to_integer(Port), Options),
    ok = gen_tcp:send(Socket, <<"first">>),
    {ok, <<"first">>} = gen_tcp:recv(Socket, 0),
    ok = gen_tcp:send(Socket, <<"second">>),
    io:format("~p~n", [gen_tcp:recv(Socket, 0, list_to_integer(Milliseconds))]).
