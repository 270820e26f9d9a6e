//! A small send buffer meets delayed ACK: a frame waits for its own acknowledgement.

use std::time::Duration;

use super::super::{
    Lesson,
    client::Client,
    figure::{Bound, Figure},
    servers::small_send_buffer,
    stage::Stage,
};

pub(super) const LESSON: Lesson = Lesson {
    name: "small-send-buffer",
    title: "A small send buffer meets delayed ACK: half a frame waits for its acknowledgement",
    story: "A sender keeps what is not acknowledged in its send buffer. A receiver delays its acknowledgement for up to \
          40 ms, in the hope of sending it with an answer. But a server that waits for the rest of a frame has no \
          answer yet. If the send buffer is smaller than the frame, the client cannot send the rest before the \
          acknowledgement comes: it waits 40 ms, again and again.",
    method: "A client with a send buffer of 5,000 bytes sends 5 frames of 100,000 bytes to warm up, and then 20 that are \
          measured, one after the other.",
    hint: "After a read that leaves a frame unfinished, set TCP_QUICKACK to 1: the kernel then acknowledges at once what \
          has come. It lasts until the kernel decides otherwise, so set it each time. After a whole frame leave it: the \
          reply carries the acknowledgement, and the call would be for nothing.",
    file: "examples/lessons/small_send_buffer.rs",
    source: include_str!("../../../examples/lessons/small_send_buffer.rs"),
    serve: small_send_buffer::serve,
    protocol: "frames://,max=1MiB",
    resound: "",
    measure,
    right: "src/reactor/connection/input.rs: a turn that ends inside a frame, with no reply sent, has its input \
          acknowledged (Connection::acknowledge)",
    test: "simulation::rows::what_has_come_of_an_unfinished_frame_is_acknowledged_at_once",
    pages: "tcp(7): TCP_QUICKACK. socket(7): SO_SNDBUF. RFC 1122, section 4.2.3.2.",
    cases: &["echo", "segments"],
};

/// As the socket option takes it; the kernel doubles it (socket(7)).
const SEND_BUFFER: usize = 5_000;
const PAYLOAD: usize = 100_000;
const WARM_UP: usize = 5;
const FRAMES: u64 = 20;

/// Less than the kernel's shortest delay of an acknowledgement (`TCP_DELACK_MIN`, 40 ms, as exact as its timer's tick), and
/// more than such a frame takes on loopback.
const DELAYED: Duration = Duration::from_millis(30);

fn measure(stage: &Stage) -> Result<Vec<Figure>, String> {
    let mut client = Client::connect_small_sender(stage, SEND_BUFFER)?;
    client.measure_times();
    let length = u32::try_from(PAYLOAD).map_err(|error| error.to_string())?;
    let frame = [&length.to_le_bytes()[..], &[b'x'; PAYLOAD]].concat();
    let round_trip = |client: &mut Client<'_>| {
        client.round_trip(&frame)?.ok_or_else(|| "a frame did not come back".to_owned())
    };
    for _ in 0..WARM_UP {
        round_trip(&mut client)?;
    }
    let times: Result<Vec<Duration>, String> =
        (0..FRAMES).map(|_| round_trip(&mut client)).collect();
    let mut times = times?;
    times.sort_unstable();
    let delayed = times.iter().filter(|time| **time >= DELAYED).count() as u64;
    Ok(vec![
        Figure::judged("frames that took 30 ms or more, of 20", delayed, Bound::AtMost(FRAMES / 2)),
        Figure::time("median time of a frame", times[times.len() / 2]),
    ])
}
