%% gen_tcp's own {packet, 1 | 2 | 4}: erlang.escript PORT WIDTH COUNT
main([Port, Width, Count]) ->
    Packet = list_to_integer(Width),
    Most = case Packet of 1 -> 255; 2 -> 65535; 4 -> 200000 end,
    Options = [binary, {packet, Packet}, {active, false}],
    {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, list_to_integer(Port), Options),
    Random = [rand:uniform(Most + 1) - 1 || _ <- lists:seq(3, list_to_integer(Count))],
    Frames = [rand:bytes(Size) || Size <- [0, Most | Random]],
    echo(Socket, Frames),
    ok = gen_tcp:close(Socket),
    io:format("~b frames~n", [length(Frames)]).

echo(_, []) -> ok;
echo(Socket, Frames) ->
    {Batch, Others} = lists:split(min(10, length(Frames)), Frames),
    [ok = gen_tcp:send(Socket, Frame) || Frame <- Batch],
    [{ok, Frame} = gen_tcp:recv(Socket, 0) || Frame <- Batch],
    echo(Socket, Others).
