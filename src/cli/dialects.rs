//! `resound dialects`: the presets, each with the bytes of one frame.

use std::{fmt::Write as _, process::ExitCode};

use resound::frame::{Preset, presets};

use super::{Failure, output::print};
use crate::common::units::Size;

/// List the presets for preset=, each with an example frame
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  resound serve --listen frames://127.0.0.1:30000,preset=kafka
  resound client 127.0.0.1:30000,preset=kafka")]
pub(crate) struct DialectsArgs {}

impl DialectsArgs {
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        print(table().as_bytes())
    }
}

/// Bytes of a frame on one line.
const BYTES_A_LINE: usize = 24;

/// Three lines or more for each preset: its fields, an example with the head in brackets, and a note.
fn table() -> String {
    let mut table = line("PRESET", ["LENGTH", "OFFSET", "ADJUST", "MAX"], "USED BY");
    table.push_str("              [head] payload of one frame\n");
    for preset in presets() {
        let Preset { name, who, dialect, note, .. } = preset;
        let fields = [
            dialect.width().to_string(),
            dialect.offset().to_string(),
            dialect.adjust().to_string(),
            Size(dialect.limit()).to_string(),
        ];
        table.push('\n');
        table.push_str(&line(name, fields.each_ref().map(String::as_str), who));
        for bytes in example(preset).chunks(BYTES_A_LINE) {
            let _ = writeln!(table, "              {}", bytes.join(" "));
        }
        let _ = writeln!(table, "              {note}");
    }
    table
}

fn line(name: &str, [length, offset, adjust, max]: [&str; 4], who: &str) -> String {
    format!("{name:<13} {length:<7} {offset:>6} {adjust:>7} {max:>9}  {who}\n")
}

/// Each byte as two hexadecimal digits, with brackets around the head.
fn example(preset: &Preset) -> Vec<String> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>();
    let mut head = hex(preset.head);
    if let Some(first) = head.first_mut() {
        first.insert(0, '[');
    }
    if let Some(last) = head.last_mut() {
        last.push(']');
    }
    [head, hex(preset.payload)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_preset_has_a_row_and_its_frame() {
        let table = table();
        for preset in presets() {
            let row = table.lines().position(|line| line.split(' ').next() == Some(preset.name));
            let row = row.unwrap_or_else(|| panic!("no row for {}", preset.name));
            let digits: String = table
                .lines()
                .skip(row + 1)
                .take(preset.example().len().div_ceil(BYTES_A_LINE))
                .flat_map(str::chars)
                .filter(char::is_ascii_hexdigit)
                .collect();
            let expected: String =
                preset.example().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(digits, expected, "{}", preset.name);
        }
    }
}
