//! A prompt with a history, in a thread of its own, and text that is shown above it.

use std::{
    env, fmt, fs, io,
    path::PathBuf,
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::{Duration, Instant},
};

use log::debug;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::{DefaultEditor, ExternalPrinter, config::Configurer, error::ReadlineError};

use super::Failure;

const PROMPT: &str = "> ";

/// The outcome of one prompt.
#[derive(Debug)]
pub(super) enum Typed {
    /// The user entered a line.
    Line(String),
    /// The user wants to end: `exit`, `quit`, `q`, Ctrl-D or Ctrl-C.
    Leave,
    /// The prompt does not work.
    NoPrompt(ReadlineError),
}

/// A prompt on the terminal. Dropping it restores the terminal.
pub(super) struct Prompt {
    /// The settings of the terminal. rustyline changes them at each prompt, and cannot restore them if the process exits
    /// meanwhile.
    settings: Termios,
    /// `None` for a terminal without line editing.
    printer: Option<Box<dyn ExternalPrinter>>,
    /// Lets the thread prompt for one line.
    turn: Sender<()>,
    /// Whether the prompt is on the screen.
    is_shown: bool,
}

impl fmt::Debug for Prompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prompt").field("is_shown", &self.is_shown).finish_non_exhaustive()
    }
}

impl Prompt {
    /// A prompt that is not shown yet. Its thread calls `tell` with the outcome of each prompt, until that returns false.
    pub(super) fn new(tell: impl Fn(Typed) -> bool + Send + 'static) -> Result<Self, Failure> {
        let failed =
            |error: &dyn fmt::Display| Failure::Failed(format!("cannot use the terminal: {error}"));
        let settings = tcgetattr(io::stdin()).map_err(|error| failed(&error))?;
        let mut editor = DefaultEditor::new().map_err(|error| failed(&error))?;
        editor.enable_bracketed_paste(false);
        let printer = editor.create_external_printer().ok();
        let printer = printer.map(|printer| Box::new(printer) as Box<dyn ExternalPrinter>);
        let (turn, turns) = mpsc::channel();
        thread::spawn(move || prompt(editor, &turns, tell));
        Ok(Self { settings, printer, turn, is_shown: false })
    }

    /// Prompts for a line, unless the prompt is on the screen already.
    pub(super) fn show(&mut self) {
        if !self.is_shown {
            self.is_shown = self.turn.send(()).is_ok();
        }
    }

    /// The outcome of the prompt has been told: it is no longer on the screen.
    pub(super) const fn is_done(&mut self) {
        self.is_shown = false;
    }

    /// Shows whole lines, above the prompt if it is on the screen.
    pub(super) fn print(&mut self, lines: String) {
        match &mut self.printer {
            Some(printer) if self.is_shown => {
                if let Err(error) = printer.print(lines) {
                    debug!("cannot print above the prompt: {error}");
                }
            }
            _ => print!("{lines}"),
        }
    }
}

impl Drop for Prompt {
    fn drop(&mut self) {
        if self.is_shown {
            restore(&self.settings);
        }
    }
}

/// Prompts for one line for each message in `turns`.
fn prompt(mut editor: DefaultEditor, turns: &Receiver<()>, tell: impl Fn(Typed) -> bool) {
    let history = history_file();
    if let Some(file) = &history
        && let Err(error) = editor.load_history(file)
    {
        debug!("no history from {}: {error}", file.display());
    }
    while turns.recv().is_ok() {
        let typed = match editor.readline(PROMPT) {
            Ok(line) if means_leave(&line) => Typed::Leave,
            Ok(line) => {
                // The history has no empty lines, and no line twice in a row.
                if editor.add_history_entry(&line).is_ok_and(|added| added)
                    && let Some(file) = &history
                    && let Err(error) = editor.append_history(file)
                {
                    debug!("no history to {}: {error}", file.display());
                }
                Typed::Line(line)
            }
            Err(ReadlineError::Eof | ReadlineError::Interrupted) => Typed::Leave,
            Err(error) => Typed::NoPrompt(error),
        };
        if !tell(typed) {
            return;
        }
    }
}

/// Whether a line is one of the words that end the session.
pub(super) fn means_leave(line: &str) -> bool {
    matches!(line.trim(), "exit" | "quit" | "q")
}

/// The place from the XDG base directory specification; `None` without a home directory.
fn history_file() -> Option<PathBuf> {
    let directory = env::var_os("XDG_STATE_HOME")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".local/state")))?
        .join("resound");
    fs::create_dir_all(&directory).ok()?;
    Some(directory.join("history"))
}

/// How long the prompt's thread may take to start its prompt, on a slow machine.
const ABOUT_TO_PROMPT: Duration = Duration::from_secs(1);

/// Restores the terminal's settings, below the prompt that is still shown.
fn restore(settings: &Termios) {
    // If the session ends at once, the prompt may not have changed the settings yet. If they were restored before it
    // does, they would stay changed. A terminal without line editing is never changed.
    let start = Instant::now();
    while start.elapsed() < ABOUT_TO_PROMPT
        && tcgetattr(io::stdin()).is_ok_and(|now| now.local_modes == settings.local_modes)
    {
        thread::sleep(Duration::from_millis(1));
    }
    if let Err(error) = tcsetattr(io::stdin(), OptionalActions::Now, settings) {
        debug!("cannot restore the terminal: {error}");
    }
    println!();
}
