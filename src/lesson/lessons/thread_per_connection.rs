//! A thread for each connection, at 10,000 connections.

use super::super::{
    Lesson,
    crowd::Crowd,
    figure::{Bound, Figure, grouped},
    kernel,
    servers::thread_per_connection,
    stage::Stage,
};

pub(super) const LESSON: Lesson = Lesson {
    name: "thread-per-connection",
    title: "a thread for each connection, at 10,000 connections",
    story: "A thread for each connection is simple, and right for a few hundred. Each costs a stack of its own, a \
          kernel stack of 16 KiB, and entries in the scheduler, although it does nothing but wait. Limits on \
          threads come sooner than limits on connections, and a client that only connects uses them up.",
    method: "10,000 clients connect, and each makes one round trip (fewer, if this machine does not allow as many \
          threads or descriptors).",
    hint: "There is no small fix: one thread has to wait for all connections at once, with epoll. \
          examples/event_loop.rs is such a server; read it beside this one, then write your own.",
    file: "examples/lessons/thread_per_connection.rs",
    source: include_str!("../../../examples/lessons/thread_per_connection.rs"),
    serve: thread_per_connection::serve,
    protocol: "raw://",
    resound: "",
    measure,
    right: "src/reactor/: one thread for all connections; an idle connection is an entry of 64 bytes and its socket",
    test: "connection::tests::what_every_idle_connection_costs",
    pages: "epoll(7), pthread_create(3): the stack size. proc(5): Threads in /proc/PID/status, and \
          /proc/sys/kernel/threads-max.",
    cases: &["connections"],
};

/// A loop has one thread, and a pool as many as there are processors.
const FEW: u64 = 64;

/// With fewer connections the difference would not show.
const LEAST: u64 = 2 * FEW;

fn measure(stage: &Stage) -> Result<Vec<Figure>, String> {
    let (wanted, why) = kernel::most_connections(stage.descriptors);
    if let Some(why) = why.filter(|_| wanted < LEAST) {
        return Err(format!("only {wanted} connections are possible here, by {why}; raise it"));
    }
    let before = stage.usage();
    let clients = Crowd::connect(stage, wanted)?;
    let (usage, served) = (stage.usage(), clients.served());
    drop(clients);
    let grown = usage.memory.saturating_sub(before.memory);
    let limit = why.map_or_else(String::new, |why| format!(" (not 10,000: {why})"));
    Ok(vec![
        Figure::judged(
            format!("threads for {} connections{limit}", grouped(wanted)),
            usage.threads,
            Bound::AtMost(FEW),
        ),
        Figure::judged("connections that were served", served, Bound::AtLeast(wanted)),
        Figure::count("bytes of memory for each", grown / served.max(1)),
    ])
}
