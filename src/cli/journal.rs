//! The journal of faults: its lines, how they are written, and how they are read to be repeated.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind, Write},
    sync::{Arc, OnceLock},
    time::SystemTime,
};

use log::error;
use resound::protocol::fault::{FaultEvent, Journal, Plan, Recorded};
use serde::{Deserialize, Serialize};

use super::{Failure, output::Output};

/// A line of the journal. Listeners, connections and frames are counted from 1.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Line {
    /// A connection has opened.
    Opened {
        listener: usize,
        connection: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        time: Option<String>,
    },
    /// A fault has happened.
    Fault {
        listener: usize,
        connection: u64,
        frame: u64,
        #[serde(default)]
        byte: u64,
        fault: String,
        /// Where the random numbers of the fault begin, in hexadecimal digits: JSON's numbers have 53 bits in many programs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        draw: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        time: Option<String>,
    },
    /// Another process has taken over, and counts connections from 1 again.
    Replaced,
    /// So many lines are missing here.
    Dropped { lines: u64 },
}

impl Line {
    fn of(listener: usize, event: &FaultEvent<'_>, with_times: bool) -> Self {
        let time =
            with_times.then(|| humantime::format_rfc3339_micros(SystemTime::now()).to_string());
        match *event {
            FaultEvent::Opened { connection } => Self::Opened { listener, connection, time },
            FaultEvent::Happens { connection, frame, byte, kind, draw, .. } => Self::Fault {
                listener,
                connection,
                frame,
                byte,
                fault: kind.to_string(),
                draw: draw.map(|draw| format!("{draw:016x}")),
                time,
            },
        }
    }

    fn text(&self) -> String {
        // Numbers and text always become JSON.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }
}

/// Writes the journal, in a thread of its own.
#[derive(Debug, Clone)]
pub(super) struct JournalWriter {
    output: Output,
    /// Why the journal is not complete.
    gap: Gap,
    has_times: bool,
}

/// The first cause of a gap in the journal.
#[derive(Debug, Clone, Default)]
struct Gap(Arc<OnceLock<String>>);

impl Gap {
    fn note(&self, why: String) {
        if self.0.set(why.clone()).is_ok() {
            error!("the journal of faults is not complete: {why}");
        }
    }
}

/// A file that ends with the first error: what is behind a part of a line could not be read.
struct Writing<F> {
    file: F,
    gap: Gap,
    has_failed: bool,
}

impl<F: Write> Write for Writing<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.has_failed {
            return Err(ErrorKind::Other.into());
        }
        let written = self.file.write(bytes);
        if let Err(error) = &written
            && !matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock)
        {
            self.has_failed = true;
            self.gap.note(format!("it cannot be written: {error}"));
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl JournalWriter {
    /// Notes that this process replaces another one.
    pub(super) fn note_replaced(&self) {
        self.output.push_line(Line::Replaced.text().as_bytes());
    }

    /// Starts the thread, which writes to `file`; with the time in each line if it `has_times`.
    pub(super) fn start(
        file: impl Write + Send + 'static,
        has_times: bool,
    ) -> Result<Self, Failure> {
        let gap = Gap::default();
        let writing = Writing { file, gap: gap.clone(), has_failed: false };
        let dropping = gap.clone();
        let output = Output::start_with("fault journal", writing, move |lines| {
            dropping
                .note(format!("{lines} lines did not fit into its buffer; the disk is too slow"));
            Line::Dropped { lines }.text()
        })?;
        Ok(Self { output, gap, has_times })
    }

    /// What the listener with this number tells.
    pub(super) fn of(&self, listener: usize) -> Journal {
        let Self { output, has_times, .. } = self.clone();
        Journal(Box::new(move |event| {
            output.push_line(Line::of(listener, event, has_times).text().as_bytes());
        }))
    }

    /// Waits until all of it is written, but not for ever.
    ///
    /// # Errors
    ///
    /// If something is missing in it.
    pub(super) fn finish(&self) -> Result<(), Failure> {
        if !self.output.flush() {
            self.gap.note("its last lines could not be written in time".to_owned());
        }
        match self.gap.0.get() {
            None => Ok(()),
            Some(why) => {
                Err(Failure::Failed(format!("the journal of faults is not complete: {why}")))
            }
        }
    }
}

/// Reads a journal: for each of its listeners, by number, a plan that repeats its faults.
pub(super) fn read(text: &str) -> Result<BTreeMap<usize, Plan>, String> {
    let mut listeners: BTreeMap<usize, Vec<Recorded>> = BTreeMap::new();
    for (index, text) in text.lines().enumerate().filter(|(_, text)| !text.trim().is_empty()) {
        let wrong = |why: String| format!("line {}: {why}", index + 1);
        let line: Line = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        match line {
            Line::Opened { listener, .. } => drop(listeners.entry(listener).or_default()),
            Line::Fault { listener, connection, frame, fault, draw, .. } => {
                let kind = fault.parse().map_err(|why| wrong(format!("fault {fault:?}: {why}")))?;
                let draw = draw.map(|draw| u64::from_str_radix(&draw, 16)).transpose();
                let draw = draw.map_err(|why| wrong(format!("draw: {why}")))?;
                let recorded = Recorded { connection, frame, kind, draw };
                listeners.entry(listener).or_default().push(recorded);
            }
            Line::Replaced => {
                return Err(wrong(
                    "here another process took over and counted from 1 again; repeat the part before or the part behind"
                        .to_owned(),
                ));
            }
            Line::Dropped { lines } => {
                return Err(wrong(format!(
                    "{lines} lines are missing here; remove this line to repeat what there is"
                )));
            }
        }
    }
    let plan = |(listener, recorded): (usize, Vec<Recorded>)| {
        let plan = Plan::repeating(recorded);
        Ok((listener, plan.map_err(|error| format!("listener {listener}: {error}"))?))
    };
    listeners.into_iter().map(plan).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_journal_that_cannot_be_repeated_says_where_and_why() {
        let fault =
            |rest: &str| format!(r#"{{"event":"fault","listener":1,"connection":1,{rest}}}"#);
        for (text, says) in [
            ("{", "line 1: EOF"),
            (r#"{"event":"other"}"#, "line 1: unknown variant `other`"),
            (r#"{"event":"opened","listener":1}"#, "line 1: missing field `connection`"),
            (&fault(r#""frame":1,"fault":"dropp""#), "line 1: fault \"dropp\": no fault \"dropp\""),
            (&fault(r#""frame":1,"fault":"drop","draw":"x""#), "line 1: draw: invalid digit"),
            (
                &fault(r#""frame":0,"fault":"drop""#),
                "listener 1: fault \"drop\": it concerns a frame",
            ),
            (
                &fault(r#""frame":2,"fault":"loss=1%""#),
                "listener 1: fault \"loss=1%\": it concerns the whole",
            ),
            ("\n{\"event\":\"replaced\"}\n", "line 2: here another process took over"),
            (r#"{"event":"dropped","lines":7}"#, "line 1: 7 lines are missing here"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(says), "{text}: {error}");
        }
    }

    #[test]
    fn a_journal_by_hand_needs_neither_bytes_nor_draws() {
        let text =
            r#"{"event":"fault","listener":2,"connection":3,"frame":12,"fault":"delay=5ms..20ms"}"#;
        let plans = read(text).unwrap();
        assert_eq!(plans[&2].faults()[0].to_string(), "delay=5ms..20ms@12#3");
        assert!(read("").unwrap().is_empty());
    }

    /// A disk that is full after some bytes.
    struct Full(usize, mpsc::Sender<Vec<u8>>);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            match taken {
                0 => Err(ErrorKind::StorageFull.into()),
                _ => self.1.send(bytes[..taken].to_vec()).map(|()| taken).map_err(io::Error::other),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_disk_that_is_full_is_told_at_the_end_and_the_journal_ends_there() {
        let (to, written) = mpsc::channel();
        let journal = JournalWriter::start(Full(50, to), false).unwrap();
        let Journal(tell) = journal.of(1);
        for connection in 1..=5 {
            tell(&FaultEvent::Opened { connection });
        }
        let why = journal.finish().unwrap_err().to_string();
        assert!(why.contains("not complete: it cannot be written: no storage space"), "{why}");
        let written: Vec<u8> = written.try_iter().flatten().collect();
        let text = String::from_utf8(written).unwrap();
        assert_eq!(text.len(), 50);
        assert!(
            text.starts_with("{\"event\":\"opened\",\"listener\":1,\"connection\":1}\n"),
            "{text}"
        );
    }
}
