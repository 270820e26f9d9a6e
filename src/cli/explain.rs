//! `--explain`: a thread that reads what the loops record, and says it on standard output in sentences.

use std::{
    collections::HashMap,
    io::Write,
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use resound::{Recorder, Token, listen::Listen};

use super::{Failure, output::Output};
use crate::{
    common::{protocols, units::Size},
    timeline::{
        explain::{Explainer, FRAMES, REQUESTS, Spoken, left_out},
        recording::Recording,
    },
};

/// How often it looks for events. Loops record thousands in this time before the ring is full.
const INTERVAL: Duration = Duration::from_millis(50);

/// The thread. It says what is left to say when this is dropped.
#[derive(Debug)]
pub(crate) struct Explained {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What is spoken at `place`, where `listen` listens: its name in the counters, and the words for it.
pub(crate) fn spoken(listen: &Listen, place: &Listen, max_frame: Size) -> (String, Spoken) {
    let (unit, head) = match listen.protocol.as_str() {
        "raw" => (None, None),
        "lines" => (Some(["line", "lines"]), None),
        "http" => (Some(REQUESTS), None),
        "ws" => (Some(["message", "messages"]), None),
        _ => {
            let dialect = protocols::dialect(listen, max_frame).ok();
            let head =
                dialect.and_then(|dialect| Some(dialect.offset() + dialect.width().bytes()?));
            (Some(FRAMES), head.map(|head| head as u64))
        }
    };
    let shown = place.to_string();
    let name = if protocols::is_udp(listen) { &shown } else { &place.address.to_string() };
    (name.clone(), Spoken { shown: shown.clone(), unit, head, is_encrypted: listen.tls })
}

/// One loop, as far as it is explained.
struct Loop {
    recorder: Arc<Recorder>,
    explainer: Explainer,
    /// The number of the next event.
    next: u64,
    /// What its connections are called before their tokens.
    prefix: String,
}

impl Explained {
    /// Says on `output` what `recording` gets. `spoken` is as [`spoken`] says it of each listener.
    pub(crate) fn start(
        recording: &Recording,
        spoken: Vec<(String, Spoken)>,
        output: &Output,
    ) -> Result<Self, Failure> {
        let spoken: HashMap<String, Spoken> = spoken.into_iter().collect();
        let recorders = recording.recorders();
        let loops = recorders.iter().enumerate().map(|(index, recorder)| {
            let names = recorder.names().into_iter();
            let known = names.filter_map(|(token, name)| Some((token, spoken.get(&name)?.clone())));
            let prefix = if recorders.len() > 1 { format!("{index}.") } else { String::new() };
            Loop {
                recorder: Arc::clone(recorder),
                explainer: Explainer::new(known),
                next: 0,
                prefix,
            }
        });
        let mut loops: Vec<Loop> = loops.collect();
        let (end, ended) = mpsc::channel();
        let mut output = output.clone();
        let explain = move || {
            loop {
                let is_last = ended.recv_timeout(INTERVAL) != Err(RecvTimeoutError::Timeout);
                loops.iter_mut().for_each(|one| one.explain(&mut output));
                if is_last {
                    return;
                }
            }
        };
        let thread = thread::Builder::new()
            .name("explain".to_owned())
            .spawn(explain)
            .map_err(|error| Failure::no_thread("the thread of --explain", &error))?;
        Ok(Self { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Explained {
    fn drop(&mut self) {
        drop(self.end.take());
        // A panic has been reported.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Loop {
    fn explain(&mut self, output: &mut Output) {
        let mut say = |token: Option<Token>, text: &str| {
            let name = token.map_or_else(String::new, |token| format!("{}{token}  ", self.prefix));
            // It never fails, and never blocks: a line for which there is no room is counted.
            let _ = output.write_all(format!("{name}{text}\n").as_bytes());
        };
        for one in self.recorder.read(self.next) {
            if one.number > self.next {
                say(None, &left_out(one.number - self.next));
            }
            if let Some(text) = self.explainer.hear(one.token, one.event) {
                let connection = Some(one.token).filter(|token| token.generation() > 0);
                say(connection, &text);
            }
            self.next = one.number + 1;
        }
    }
}
