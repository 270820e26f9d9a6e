//! One read for each event, though events are edge-triggered.

use super::super::{
    Lesson,
    client::Client,
    figure::{Bound, Figure},
    servers::lost_edge,
    stage::Stage,
};

pub(super) const LESSON: Lesson = Lesson {
    name: "lost-edge",
    title: "one read for each event, though events are edge-triggered",
    story: "With edge-triggered events (EPOLLET, and so mio) the kernel reports that a socket became readable, and \
          not that it is readable. A server that reads once and returns to epoll_wait(2) leaves the rest in the \
          socket. No event comes for it: both sides wait for each other.",
    method: "A client sends 4,096 bytes in one write and waits. Then it sends one byte more.",
    hint: "Read until WouldBlock. (resound also stops at a short read, where nothing but a lack of bytes can have \
          ended it.) But not for ever: a client that never pauses would keep the others waiting, so resound reads \
          16 times at most and then puts the connection at the end of a queue.",
    file: "examples/lessons/lost_edge.rs",
    source: include_str!("../../../examples/lessons/lost_edge.rs"),
    serve: lost_edge::serve,
    protocol: "raw://",
    resound: "",
    measure,
    right: "src/reactor/connection.rs: Connection::proceed, the loop of a turn; docs/architecture.md, Edge triggers",
    test: "connection::tests::a_peer_that_never_pauses_has_its_budget",
    pages: "epoll(7): Level-triggered and edge-triggered, and the question about reading until EAGAIN.",
    cases: &["many-in-one-segment", "thousands-in-flight"],
};

const SENT: u64 = 4_096;

fn measure(stage: &Stage) -> Result<Vec<Figure>, String> {
    let mut client = Client::connect(stage)?;
    client.flood(SENT)?;
    let come = client.receive(SENT)?;
    let unread = client.unread();
    client.flood(1)?;
    let later = client.receive(SENT - come + 1)?;
    Ok(vec![
        Figure::judged("bytes that came back, of 4,096", come, Bound::AtLeast(SENT)),
        Figure::count("bytes left in the server's socket", unread),
        Figure::count("bytes that came after one byte more", later),
    ])
}
