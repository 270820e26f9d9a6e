//! RST destroys the last reply.

use super::super::{
    Lesson,
    client::{Client, End},
    figure::{Bound, Figure},
    servers::lost_reply,
    stage::Stage,
};

pub(super) const LESSON: Lesson = Lesson {
    name: "lost-reply",
    title: "RST destroys the last reply",
    story: "A server finds that a client sends nonsense, writes what it owes, and closes the socket. If bytes that \
          it has not read are in the socket, close(2) does not send FIN but RST, and what was not delivered yet is \
          thrown away: the answers to everything that was right. It happens at the end of each refused connection, \
          and only if the client is slow enough.",
    method: "A client with a small receive buffer sends 2 frames of 16 KiB, then the head of a frame that is over the \
          limit and 1 KiB behind it. It reads when the server has done everything that it does.",
    hint: "Close in two steps: send FIN with shutdown(2), then read and discard what still comes until the client \
          closes, too, or a time has passed. That is the lingering close. SO_LINGER is something else: it makes \
          close(2) wait, and does not read.",
    file: "examples/lessons/lost_reply.rs",
    source: include_str!("../../../examples/lessons/lost_reply.rs"),
    serve: lost_reply::serve,
    protocol: "frames://,max=64KiB",
    resound: "",
    measure,
    right: "src/reactor/connection/end.rs; docs/architecture.md, The life of a connection: State::Lingering",
    test: "connection::tests::a_length_over_the_limit_is_refused_after_the_frames_before_it_and_lingers",
    pages: "tcp(7), shutdown(2), socket(7): SO_LINGER. RFC 2525, section 2.17: why a close with unread data sends \
          RST.",
    cases: &["answers-before-a-refusal", "over-the-limit"],
};

/// More than the client's receive buffer takes, and less than any send buffer of the server does: one that is full would hold
/// the server up until the client reads.
const FRAMES: usize = 2;
const LENGTH: usize = 16 << 10;
const ALL: u64 = (FRAMES * (4 + LENGTH)) as u64;

fn measure(stage: &Stage) -> Result<Vec<Figure>, String> {
    let frame = [&16_384_u32.to_le_bytes()[..], &[b'x'; LENGTH]].concat();
    // A length of 4 GiB, and what follows it: in one segment, so that a read of the head leaves something unread.
    let bad = [&[0xff; 4][..], &[b'j'; 1 << 10]].concat();
    let mut client = Client::connect_small(stage, 8 << 10)?;
    let mut come = 0;
    for _ in 0..FRAMES {
        client.send(&frame)?;
    }
    client.send(&bad)?;
    stage.await_rest()?;
    while client.end.is_none() {
        let now = client.receive(u64::MAX)?;
        come += now;
        if now == 0 {
            break;
        }
    }
    let reset = u64::from(client.end == Some(End::Reset));
    Ok(vec![
        Figure::judged("bytes of replies that came, of 32,776", come, Bound::AtLeast(ALL)),
        Figure::count("connections that ended with RST, of 1", reset),
    ])
}
