//! A command on a pseudo-terminal: what is written to it is typed, what it shows is read back.

use std::{
    io::{Read, Write},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
};

use super::{PATIENCE, tool};

pub(crate) struct Terminal {
    child: Child,
    shown: mpsc::Receiver<Vec<u8>>,
    pub(crate) screen: String,
    /// Where the next expectation begins.
    seen: usize,
}

impl Terminal {
    /// Runs `words`, none of which needs quotes; `None` without util-linux's `script`. Behind them, their exit code and
    /// the terminal's settings are shown.
    pub(crate) fn run(words: &Command) -> Option<Self> {
        Self::run_behind("true", words)
    }

    /// As [`run`](Self::run), behind another command in the same terminal.
    pub(crate) fn run_behind(before: &str, words: &Command) -> Option<Self> {
        let script = tool("script")?;
        let all = [words.get_program()].into_iter().chain(words.get_args());
        let all: Vec<&str> = all.map(|word| word.to_str().unwrap()).collect();
        // The shell gets a typed Ctrl-C as well, and dash would end of it before it says the exit code.
        let command =
            format!("trap : INT; {before}; {}; echo exit code $?; stty -a", all.join(" "));
        let mut on_terminal = Command::new(script);
        on_terminal.args(["--quiet", "--command", &command, "/dev/null"]);
        // The same shell whatever the user's is.
        on_terminal.env("TERM", "xterm").env("SHELL", "/bin/sh");
        for (name, value) in words.get_envs() {
            match value {
                Some(value) => on_terminal.env(name, value),
                None => on_terminal.env_remove(name),
            };
        }
        let mut child = on_terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let (show, shown) = mpsc::channel();
        thread::spawn(move || {
            let mut block = [0; 4096];
            while let Ok(length @ 1..) = stdout.read(&mut block) {
                if show.send(block[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Some(Self { child, shown, screen: String::new(), seen: 0 })
    }

    /// Waits until `text` stands on the screen behind what was expected before.
    pub(crate) fn expect(&mut self, text: &str) {
        loop {
            if let Some(at) = self.screen[self.seen..].find(text) {
                self.seen += at + text.len();
                return;
            }
            match self.shown.recv_timeout(PATIENCE) {
                Ok(bytes) => self.screen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("no {text:?} in {:?}", &self.screen[self.seen..]),
            }
        }
    }

    pub(crate) fn press(&mut self, keys: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(keys.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    /// The command ends so, and leaves a terminal that edits lines and echoes them.
    pub(crate) fn expect_end(mut self, code: i32) {
        self.expect(&format!("exit code {code}\r\n"));
        self.expect(" icanon ");
        self.expect(" echo ");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
