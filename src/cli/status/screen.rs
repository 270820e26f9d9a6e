//! A terminal whose whole screen is drawn again and again, and restored behind it.

use std::io::{self, IsTerminal, Write};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, Winsize, tcgetattr, tcgetwinsize,
    tcsetattr,
};

/// Columns of a line where standard output is no terminal.
const WIDTH: usize = 100;

/// The other screen (xterm's private mode 1049) without a cursor, and keys that are read as they are typed.
#[derive(Debug)]
pub(super) struct Screen {
    /// The settings of standard input before; `None` where it is no terminal.
    settings: Option<Termios>,
}

impl Screen {
    pub(super) fn enter() -> io::Result<Self> {
        let settings = tcgetattr(io::stdin()).ok();
        if let Some(settings) = &settings {
            let mut keys = settings.clone();
            keys.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            keys.special_codes[SpecialCodeIndex::VMIN] = 1;
            keys.special_codes[SpecialCodeIndex::VTIME] = 0;
            tcsetattr(io::stdin(), OptionalActions::Now, &keys)?;
        }
        let screen = Self { settings };
        write("\x1b[?1049h\x1b[?25l")?;
        Ok(screen)
    }

    /// Whether keys can be read.
    pub(super) const fn has_keys(&self) -> bool {
        self.settings.is_some()
    }

    /// Draws as many of `lines` as there are rows, over what was there.
    pub(super) fn draw(&self, lines: &[String], rows: usize) -> io::Result<()> {
        let mut text = "\x1b[H".to_owned();
        let shown: Vec<&str> = lines.iter().take(rows).map(String::as_str).collect();
        text.push_str(&shown.join("\x1b[K\r\n"));
        text.push_str("\x1b[K\x1b[J");
        write(&text)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs neither.
        let _ = write("\x1b[?25h\x1b[?1049l");
        if let Some(settings) = &self.settings {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, settings);
        }
    }
}

/// Columns and rows of the terminal; without one, any number of rows.
pub(super) fn size() -> (usize, usize) {
    let size = if io::stdout().is_terminal() { tcgetwinsize(io::stdout()).ok() } else { None };
    match size {
        Some(Winsize { ws_col: columns @ 1.., ws_row: rows @ 1.., .. }) => {
            (usize::from(columns), usize::from(rows))
        }
        _ => (WIDTH, usize::MAX),
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}
