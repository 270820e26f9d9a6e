//! One client that does not read blocks all others.

use super::super::{
    Lesson,
    client::Client,
    figure::{Bound, Figure},
    kernel::{receive_buffer, send_buffer},
    servers::slow_reader,
    stage::Stage,
};

pub(super) const LESSON: Lesson = Lesson {
    name: "slow-reader",
    title: "one client that does not read blocks all others",
    story: "One thread serves everybody, so each wait for one client is a wait for all of them. A blocking write, or \
          a loop that waits until the socket is writable, seldom waits long: until a client stops reading, because \
          it is slow, suspended, or hostile.",
    method: "A client sends more than the kernel's buffers hold and reads nothing. Meanwhile another one makes 100 \
          round trips.",
    hint: "Never wait for one connection. Keep what was not sent with its connection, return to the poll, and go on \
          when the poll says that the socket is writable. Until then do not read from that connection.",
    file: "examples/lessons/slow_reader.rs",
    source: include_str!("../../../examples/lessons/slow_reader.rs"),
    serve: slow_reader::serve,
    protocol: "raw://",
    resound: "",
    measure,
    right: "src/reactor/connection/output.rs, and src/reactor/dispatcher.rs: the only wait of the loop is the poll",
    test: "back_pressure::a_firehose_does_not_hold_up_a_pinging_connection",
    pages: "socket(7), fcntl(2): O_NONBLOCK. write(2): EAGAIN. poll(2).",
    cases: &["never-reads", "never-pauses"],
};

const ROUND_TRIPS: u64 = 100;

fn measure(stage: &Stage) -> Result<Vec<Figure>, String> {
    let mut slow = Client::connect(stage)?;
    slow.flood(2 * (send_buffer() + receive_buffer()))?;
    let mut other = Client::connect(stage)?;
    let mut made = 0;
    while made < ROUND_TRIPS && other.round_trip(b"ping")?.is_some() {
        made += 1;
    }
    Ok(vec![
        Figure::judged("round trips of the other, of 100", made, Bound::AtLeast(ROUND_TRIPS)),
        Figure::count("bytes of the other that wait unread", other.unread()),
    ])
}
