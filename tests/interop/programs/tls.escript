%% Erlang's ssl with {packet, 4}: tls.escript PORT CA VERSION COUNT, where VERSION is 1.2 or 1.3
main([Port, Ca, Version, Count]) ->
    {ok, _} = application:ensure_all_started(ssl),
    Sizes = [0, 1, 16384, 16385, 1048576],
    Random = [rand:uniform(40000) || _ <- lists:seq(11, list_to_integer(Count))],
    exchange(Port, Ca, Version, Sizes ++ Random),
    exchange(Port, Ca, Version, Sizes),
    io:format("~s frames~n", [Count]).

exchange(Port, Ca, Version, Sizes) ->
    {ok, Socket} = ssl:connect({127, 0, 0, 1}, list_to_integer(Port), options(Ca, Version), 60000),
    Frames = [rand:bytes(Size) || Size <- Sizes],
    spawn_link(fun() -> [ok = ssl:send(Socket, Frame) || Frame <- Frames] end),
    [{ok, Frame} = ssl:recv(Socket, 0, 60000) || Frame <- Frames],
    %% close_notify, and FIN. (ssl:shutdown(Socket, write) is FIN alone.)
    ok = ssl:close(Socket).

options(Ca, Version) ->
    [binary, {packet, 4}, {active, false}, {cacertfile, Ca}, {verify, verify_peer},
     {server_name_indication, "localhost"}, {versions, [list_to_atom("tlsv" ++ Version)]}].
