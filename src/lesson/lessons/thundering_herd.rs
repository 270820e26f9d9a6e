//! Each connection wakes all threads.

use super::super::{
    Lesson,
    client::Client,
    figure::{Bound, Figure},
    servers::thundering_herd,
    stage::Stage,
};

pub(super) const LESSON: Lesson = Lesson {
    name: "thundering-herd",
    title: "each connection wakes all threads",
    story: "Several threads (or processes) each wait with an epoll instance of their own for the same listener. A \
          connection makes it readable for all of them, so the kernel wakes all. One gets the connection; the \
          others have lost a time slice and the contents of their caches. With 64 threads a connection costs 64 \
          wake-ups.",
    method: "Both servers have 8 threads that accept. 20 clients connect one after the other, each when all threads \
          sleep again; the kernel counts how often they went to sleep.",
    hint: "Give each thread a listener of its own on the same port (SO_REUSEPORT): then the kernel gives each \
          connection to one of them. Or add the one listener with EPOLLEXCLUSIVE, or accept on one thread and pass \
          connections on.",
    file: "examples/lessons/thundering_herd.rs",
    source: include_str!("../../../examples/lessons/thundering_herd.rs"),
    serve: thundering_herd::serve,
    protocol: "raw://",
    resound: "--reactors 8",
    measure,
    right: "src/socket/listener.rs: SO_REUSEPORT, a listener for each loop of --reactors",
    test: "reactors::no_loop_refuses_a_connection_while_another_has_room",
    pages: "epoll_ctl(2): EPOLLEXCLUSIVE. socket(7): SO_REUSEPORT. proc(5): voluntary_ctxt_switches in \
          /proc/PID/task/TID/status.",
    cases: &["all-at-once", "one-after-the-other"],
};

const CLIENTS: u64 = 20;

fn measure(stage: &Stage) -> Result<Vec<Figure>, String> {
    let mut clients = Vec::new();
    // Threads that have just started have slept for other reasons.
    stage.await_rest()?;
    let before = stage.usage().sleeps;
    for _ in 0..CLIENTS {
        clients.push(Client::connect(stage)?);
        stage.await_rest()?;
    }
    let usage = stage.usage();
    Ok(vec![
        Figure::judged(
            "wake-ups for 20 connections",
            usage.sleeps.saturating_sub(before),
            Bound::AtMost(4 * CLIENTS),
        ),
        Figure::count("threads", usage.threads),
    ])
}
