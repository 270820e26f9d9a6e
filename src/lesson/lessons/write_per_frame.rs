//! A write for each frame.

use super::super::{
    Lesson,
    client::Client,
    figure::{Bound, Figure},
    servers::write_per_frame,
    stage::Stage,
};

pub(super) const LESSON: Lesson = Lesson {
    name: "write-per-frame",
    title: "a write for each frame",
    story: "A system call costs some hundred nanoseconds, and a segment some thousand more on each side, whether it \
          carries 10 bytes or 10,000. A client that sends many requests without waiting makes one read bring many \
          of them. To answer each with a write of its own turns that gain around.",
    method: "A client sends 10 frames of 12 bytes in one write and reads the answers, 200 times. Its kernel counts the \
             segments that come.",
    hint: "Append the answers of one read to a buffer, and write it once. An echo need not even copy: the whole \
          frames of a read are already one piece of memory.",
    file: "examples/lessons/write_per_frame.rs",
    source: include_str!("../../../examples/lessons/write_per_frame.rs"),
    serve: write_per_frame::serve,
    protocol: "frames://,max=64KiB",
    resound: "",
    measure,
    right: "src/reactor/connection/input.rs and output.rs: what was read goes back from where it is, in one write",
    test: "connection::tests::many_frames_in_one_read_leave_in_one_write",
    pages: "send(2), writev(2). tcp(7): TCP_NODELAY, TCP_CORK.",
    cases: &["echo", "segments"],
};

/// No more than the first congestion window has segments (RFC 6928): otherwise some would wait, and be joined.
const FRAMES: usize = 10;
const ROUNDS: u64 = 200;

fn measure(stage: &Stage) -> Result<Vec<Figure>, String> {
    let frames = b"\x08\0\0\x008 bytes.".repeat(FRAMES);
    let mut client = Client::connect(stage)?;
    let (before, cpu) = (client.data_segments()?, stage.usage().cpu);
    for _ in 0..ROUNDS {
        client.round_trip(&frames)?.ok_or("the frames did not come back")?;
    }
    let segments = client.data_segments()? - before;
    Ok(vec![
        Figure::judged("segments with data for 2,000 answers", segments, Bound::AtMost(2 * ROUNDS)),
        Figure::time("CPU time of the server", stage.usage().cpu.saturating_sub(cpu)),
    ])
}
