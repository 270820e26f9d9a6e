//! Nagle meets delayed ACK: 40 ms for nothing.

use std::time::Duration;

use super::super::{
    Lesson,
    client::Client,
    figure::{Bound, Figure},
    servers::delayed_ack,
    stage::Stage,
};

pub(super) const LESSON: Lesson = Lesson {
    name: "delayed-ack",
    title: "Nagle meets delayed ACK: 40 ms for nothing",
    story: "Nagle's algorithm holds a small segment back while an earlier one is not acknowledged. A receiver delays \
          its acknowledgement for up to 40 ms, in the hope of sending it with an answer. An answer in two small \
          writes makes each wait for the other, once a round trip. It does not show at first: Linux acknowledges \
          the first segments of a connection at once.",
    method: "A client makes 20 round trips to warm up, and then 60 that are measured, each of one small frame.",
    hint: "Write head and payload in one write: put them in one buffer, or use writev(2) (write_vectored). Then set \
          TCP_NODELAY, too: with replies that leave together there is nothing left for Nagle's algorithm to do but \
          delay them.",
    file: "examples/lessons/delayed_ack.rs",
    source: include_str!("../../../examples/lessons/delayed_ack.rs"),
    serve: delayed_ack::serve,
    protocol: "frames://,max=64KiB",
    resound: "",
    measure,
    right: "src/reactor/connection/output.rs: all replies to one read leave in one write; src/socket/listener.rs \
          sets TCP_NODELAY",
    test: "daemon::one_frame_at_a_time_costs_one_read_and_one_write_and_no_registration",
    pages: "tcp(7): TCP_NODELAY, TCP_QUICKACK and TCP_CORK. RFC 896; RFC 1122, section 4.2.3.2.",
    cases: &["echo", "segments"],
};

const WARM_UP: usize = 20;
const ROUND_TRIPS: u64 = 60;

/// Less than the kernel's shortest delay of an acknowledgement (`TCP_DELACK_MIN`, 40 ms, as exact as its timer's tick), and
/// more than a round trip on loopback takes.
const DELAYED: Duration = Duration::from_millis(30);

fn measure(stage: &Stage) -> Result<Vec<Figure>, String> {
    let mut client = Client::connect(stage)?;
    client.measure_times();
    let round_trip = |client: &mut Client<'_>| {
        client.round_trip(b"\x05\0\0\0hello")?.ok_or_else(|| "a frame did not come back".to_owned())
    };
    for _ in 0..WARM_UP {
        round_trip(&mut client)?;
    }
    let before = client.data_segments()?;
    let times: Result<Vec<Duration>, String> =
        (0..ROUND_TRIPS).map(|_| round_trip(&mut client)).collect();
    let (mut times, segments) = (times?, client.data_segments()? - before);
    times.sort_unstable();
    let delayed = times.iter().filter(|time| **time >= DELAYED).count() as u64;
    Ok(vec![
        Figure::judged(
            "round trips of 30 ms or more, of 60",
            delayed,
            Bound::AtMost(ROUND_TRIPS / 2),
        ),
        Figure::time("median round trip", times[times.len() / 2]),
        Figure::count("segments with data for 60 answers", segments),
    ])
}
