//! A buffer grows as long as a client sends and does not read.

use super::super::{
    Lesson,
    client::Client,
    figure::{Bound, Figure},
    kernel::{receive_buffer, send_buffer},
    servers::unbounded_buffer,
    stage::Stage,
};

pub(super) const LESSON: Lesson = Lesson {
    name: "unbounded-buffer",
    title: "a buffer grows as long as a client sends and does not read",
    story: "What cannot be sent now has to be kept, and the obvious place is a buffer for each connection. If the \
          server goes on reading meanwhile, the client decides how long that buffer gets. One client is enough to \
          fill the memory of the machine; it need not even be hostile, only slow.",
    method: "A client sends 64 MiB more than the kernel's buffers hold, and reads nothing.",
    hint: "Do not read from a connection that owes output. The kernel's buffers fill, TCP's window closes, and the \
          client has to wait: that is back-pressure. Read again when all (or most) of it is sent; with \
          edge-triggered events, that is the moment to read without an event.",
    file: "examples/lessons/unbounded_buffer.rs",
    source: include_str!("../../../examples/lessons/unbounded_buffer.rs"),
    serve: unbounded_buffer::serve,
    protocol: "raw://",
    resound: "",
    measure,
    right: "src/reactor/connection.rs: Connection::proceed sends first, and reads only if nothing is owed",
    test: "daemon::a_reader_that_does_not_read_is_not_buffered_for",
    pages: "tcp(7): tcp_rmem and tcp_wmem. epoll(7). proc(5): VmRSS and RssAnon in /proc/PID/status.",
    cases: &["bounded-output", "never-reads"],
};

const MORE: u64 = 64 << 20;

/// More than the scratch buffer of a server, and less than what the client sends.
const BOUND: u64 = 16 << 20;

fn measure(stage: &Stage) -> Result<Vec<Figure>, String> {
    let before = stage.usage().anonymous;
    let mut client = Client::connect(stage)?;
    let taken = client.flood(send_buffer() + receive_buffer() + MORE)?;
    let grown = stage.usage().anonymous.saturating_sub(before);
    Ok(vec![
        Figure::judged("bytes of memory more", grown, Bound::AtMost(BOUND)),
        Figure::count("bytes that the server and both kernels took", taken),
    ])
}
