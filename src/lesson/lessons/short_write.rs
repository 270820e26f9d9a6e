//! A short write is forgotten.

use super::super::{
    Lesson,
    client::Client,
    figure::{Bound, Figure},
    kernel::send_buffer,
    servers::short_write,
    stage::Stage,
};

pub(super) const LESSON: Lesson = Lesson {
    name: "short-write",
    title: "a short write is forgotten",
    story: "A non-blocking write takes what has room in the socket's send buffer, and returns how much that was. As \
          long as the client reads fast enough it is always everything. When the client or the network is slow, \
          the buffer is full, and code that does not look at the result loses the rest: in the middle of the \
          stream, without an error.",
    method: "A client sends more than the kernel can hold for it, reads nothing meanwhile, and then reads everything.",
    hint: "Keep what write(2) did not take, and write it when the socket is writable. Until then write nothing \
          behind it. And do not read more than you can keep: the lesson unbounded-buffer is about that.",
    file: "examples/lessons/short_write.rs",
    source: include_str!("../../../examples/lessons/short_write.rs"),
    serve: short_write::serve,
    protocol: "raw://",
    resound: "",
    measure,
    right: "src/reactor/connection/output.rs: what the kernel does not take becomes Pending::output, and a \
          connection that owes output does not read",
    test: "connection::tests::short_writes_keep_the_order_and_while_output_is_owed_nothing_is_read",
    pages: "write(2), send(2): the return value. tcp(7): tcp_wmem, the size of the send buffer.",
    cases: &["small-reader", "thousands-in-flight"],
};

fn measure(stage: &Stage) -> Result<Vec<Figure>, String> {
    let total = 2 * send_buffer();
    let mut client = Client::connect_small(stage, 64 << 10)?;
    let taken = client.flood(total)?;
    let come = client.exchange(total - taken, total)?;
    Ok(vec![
        Figure::count("bytes sent", total),
        Figure::judged("bytes that came back", come, Bound::AtLeast(total)),
        Figure::count("bytes lost", total - come),
    ])
}
