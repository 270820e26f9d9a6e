//! `resound faults`: everything that a listener can do wrong on purpose.

use std::{fmt::Write as _, process::ExitCode};

use resound::protocol::fault::{Entry, Group, KINDS};

use super::{Failure, output::print};

/// List the faults for fault=, each with an example and what a correct client does
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  resound serve --listen frames://127.0.0.1:30000,fault=reset=7@2
  resound serve --listen http://127.0.0.1:30080,fault=slice=1+delay=5ms..20ms@10%,seed=7")]
pub(crate) struct FaultsArgs {}

impl FaultsArgs {
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        print(table().as_bytes())
    }
}

const GRAMMAR: &str = "\
fault=KIND[=VALUE][@WHERE][#WHO][+...]   several are joined by +; seed=N decides what is left to chance

@WHERE  in which frames of a connection: @N (from 1), @A..B, @every=N, @after=SIZE, @P%; default all
#WHO    on which connections of the listener: #N (from 1), #A..B, #P%; default all
Sizes are like 100 or 64KiB, times like 300ms, 2s or 1min.
";

/// The grammar, and then a few lines for each fault, by group.
fn table() -> String {
    let mut table = GRAMMAR.to_owned();
    for group in Group::ALL {
        let _ = writeln!(table, "\n{}", group.title());
        for entry in KINDS.iter().filter(|entry| entry.group == group) {
            describe(entry, &mut table);
        }
    }
    table
}

fn describe(entry: &Entry, table: &mut String) {
    let Entry { name, value, about, example, client, .. } = entry;
    let equals = if value.is_empty() { "" } else { "=" };
    // Writing to a String cannot fail.
    let _ = writeln!(table, "\n  {name}{equals}{value}\n      {about}");
    let _ = writeln!(table, "      example: fault={example}\n      a correct client: {client}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_is_listed_once_with_all_of_its_texts() {
        let table = table();
        for entry in KINDS {
            for text in [entry.about, entry.client, &format!("fault={}\n", entry.example)] {
                assert_eq!(table.matches(text).count(), 1, "{text}");
            }
        }
    }
}
