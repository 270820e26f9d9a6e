//! `GET /timeline`: the last events of all loops, as Chrome trace events.

use std::{
    sync::{
        Arc,
        mpsc::{self, TryRecvError},
    },
    thread,
    time::Duration,
};

use resound::protocol::http::service::{HttpAnswer, HttpRequest, HttpResponse};

use super::{
    Daemon,
    responses::{bad_request, unavailable, written_json},
};

/// Events in one answer at most, some 16 MB of JSON: the admin port has 64 MiB for all that it sends.
const MOST: usize = 100_000;

pub(super) fn response(daemon: &Arc<Daemon>, request: &HttpRequest<'_>) -> HttpAnswer {
    let Some(recording) = daemon.recording.clone() else {
        let why = "nothing is recorded: start the server with --record FILE\n";
        return HttpAnswer::Now(HttpResponse::text("404 Not Found", why));
    };
    let window = match request.parameter("seconds").map(|seconds| seconds.parse()) {
        None => None,
        Some(Ok(seconds @ 1..=86_400)) => Some(Duration::from_secs(seconds)),
        Some(_) => {
            return HttpAnswer::Now(bad_request("seconds: write a number from 1 to 86400"));
        }
    };
    // It takes a while, during which the admin port answers others.
    let (send, receive) = mpsc::channel();
    let make = move || {
        // It fails when nobody waits for it any more.
        let _ = send.send(recording.timeline(window, MOST));
    };
    if let Err(error) = thread::Builder::new().name("timeline".to_owned()).spawn(make) {
        let why = format!("cannot start the thread that writes the timeline: {error}");
        return HttpAnswer::Now(unavailable(&why));
    }
    HttpAnswer::Later(Box::new(move || match receive.try_recv() {
        Ok(body) => Some(written_json(body)),
        Err(TryRecvError::Empty) => None,
        Err(TryRecvError::Disconnected) => Some(unavailable("the timeline could not be written")),
    }))
}
