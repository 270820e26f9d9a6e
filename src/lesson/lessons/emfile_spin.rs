//! An error of accept(2) is taken for one that passes by itself.

use std::{thread, time::Duration};

use super::super::{
    Lesson,
    client::Client,
    figure::{Bound, Figure},
    servers::emfile_spin,
    stage::Stage,
};

pub(super) const LESSON: Lesson = Lesson {
    name: "emfile-spin",
    title: "an error of accept(2) is taken for one that passes by itself",
    story: "When a process has as many descriptors open as it may, accept(2) fails with EMFILE, and the connection \
          stays in the backlog. To call accept(2) again at once fails again at once. So a server that skips the \
          error uses a whole CPU for nothing, just when it has the most clients. (A server that ends at the error \
          is no better.)",
    method: "The server may open 8 more descriptors. 40 clients connect, and then nothing happens any more; the \
          server's threads are looked at 60 times.",
    hint: "On EMFILE and ENFILE (also ENOBUFS and ENOMEM) wait before the next attempt: 100 ms, or until a \
          connection of yours closes. Log it once, not at each attempt. Other errors of accept(2), like \
          ECONNABORTED, concern one connection: go on with the next one at once.",
    file: "examples/lessons/emfile_spin.rs",
    source: include_str!("../../../examples/lessons/emfile_spin.rs"),
    serve: emfile_spin::serve,
    protocol: "raw://",
    resound: "",
    measure,
    right: "src/reactor/service.rs: Remedy::of has the remedy for each error, Accepting::Paused is the wait",
    test: "accept::out_of_descriptors_those_who_wait_are_served_though_nobody_new_comes",
    pages: "accept(2): EMFILE, ENFILE, and which errors to treat like EAGAIN. getrlimit(2): RLIMIT_NOFILE.",
    cases: &["out-of-descriptors", "descriptors-are-back"],
};

/// How many more descriptors the server may open, and how many clients come.
const ROOM: u64 = 8;
const CLIENTS: usize = 40;

const LOOKS: u64 = 60;

fn measure(stage: &Stage) -> Result<Vec<Figure>, String> {
    stage.with_few_descriptors(ROOM, || {
        let clients: Result<Vec<_>, String> =
            (0..CLIENTS).map(|_| Client::connect(stage)).collect();
        let before = stage.usage().cpu;
        let mut busy = 0;
        for _ in 0..LOOKS {
            thread::sleep(Duration::from_millis(5));
            busy += u64::from(stage.wants_to_run());
        }
        let cpu = stage.usage().cpu.saturating_sub(before);
        drop(clients?);
        Ok(vec![
            Figure::judged(
                "looks at which a thread ran or wanted to, of 60",
                busy,
                Bound::AtMost(LOOKS / 2),
            ),
            Figure::time("CPU time used meanwhile", cpu),
        ])
    })
}
