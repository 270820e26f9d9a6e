//! One read is taken for one message.

use super::super::{
    Lesson,
    client::Client,
    figure::{Bound, Figure},
    servers::sticky_packets,
    stage::Stage,
};

pub(super) const LESSON: Lesson = Lesson {
    name: "sticky-packets",
    title: "one read is taken for one message",
    story: "TCP carries a stream of bytes. It keeps their order, and not the borders between what was written: two \
          writes may come in one read (\"sticky packets\"), and one write may come in two. On loopback with one \
          message at a time it looks as if each read was one message, so such code passes its first tests.",
    method: "A client sends 10 frames of 9 bytes in one write. Another one sends one frame in two pieces.",
    hint: "Keep what was read and not used. After each read, look for whole frames at its start in a loop, and keep \
          the rest for the next read. A length over a limit of yours ends the connection: nobody needs to announce \
          4 GiB. The same applies to what you call a message in any other protocol.",
    file: "examples/lessons/sticky_packets.rs",
    source: include_str!("../../../examples/lessons/sticky_packets.rs"),
    serve: sticky_packets::serve,
    protocol: "frames://,max=64KiB",
    resound: "",
    measure,
    right: "src/frame/scan.rs goes from head to head over all bytes of a read; src/reactor/connection/pending.rs \
          keeps the rest",
    test: "frame::any_split_of_frames_comes_back_the_same",
    pages: "tcp(7): a byte stream. recv(2): the number of bytes received, which may be less than asked for.",
    cases: &["many-in-one-segment", "one-byte-at-a-time", "head-split-at-each-byte"],
};

const FRAME: &[u8] = b"\x05\0\0\0hello";
const FRAMES: u64 = 10;

fn measure(stage: &Stage) -> Result<Vec<Figure>, String> {
    let length = FRAME.len() as u64;
    let mut client = Client::connect(stage)?;
    client.send(&FRAME.repeat(10))?;
    let come = client.receive(FRAMES * length)?;
    let mut other = Client::connect(stage)?;
    let (begin, rest) = FRAME.split_at(6);
    other.send(begin)?;
    stage.await_rest()?;
    other.send(rest)?;
    // More than that is wrong, too.
    let whole = other.receive(u64::MAX)?;
    Ok(vec![
        Figure::judged(
            "frames answered, of 10 in one segment",
            come / length,
            Bound::AtLeast(FRAMES),
        ),
        Figure::judged(
            "bytes that came back for a frame of 9 in two segments",
            whole,
            Bound::Exactly(length),
        ),
    ])
}
