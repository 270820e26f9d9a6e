//! `resound status`: what a running server does, as the live page of its admin port shows it.

mod http;
mod sample;
mod screen;
mod table;
mod view;
mod watch;

use std::{io, path::PathBuf, process::ExitCode, thread, time::Duration};

use anstream::{AutoStream, ColorChoice};
use resound::listen::Address;

use self::{http::AdminPort, sample::Sample};
use super::{Failure, admin, output::print};
use crate::{
    admin::Token,
    common::units::{Time, TimeLimit},
};

/// Between the two samples that the rates are made of.
const APART: Duration = Duration::from_secs(1);

/// Show what a running server does: rates, limits, the busiest connections, the last warnings
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StatusArgs {
    /// Where its --admin is: HOST:PORT, :PORT for 127.0.0.1, or unix:PATH
    #[arg(default_value = ":30900", env = "RESOUND_ADMIN", hide_env_values = true)]
    #[arg(value_parser = admin::shown_address)]
    address: Address,

    /// Show it again after this time, 2s without one, until q or Ctrl-C; on a terminal in the same place
    #[arg(long, short, value_name = "TIME", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "2s")]
    watch: Option<Time>,

    /// Print the answers of /stats, /limits, /connections and /warnings as one line of JSON
    #[arg(long)]
    json: bool,

    /// Give up when an answer takes this long (off: never); the server itself gives up on a reactor after 5s
    #[arg(long, short, value_name = "TIME", default_value_t = TimeLimit(Some(Duration::from_secs(10))))]
    timeout: TimeLimit,

    /// The file of the server's --admin-token-file
    #[arg(long, env = "RESOUND_ADMIN_TOKEN_FILE", hide_env_values = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  resound status
  resound status --watch
  resound status --json :30900
  resound status unix:/run/resound-admin.sock";

impl StatusArgs {
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        let token = match &self.token_file {
            None => None,
            Some(file) => Some(Token::read(file).map_err(|error| {
                Failure::Failed(format!("--token-file {}: {error}", file.display()))
            })?),
        };
        let port = AdminPort { address: self.address.clone(), token, timeout: self.timeout.0 };
        let form = Form { address: self.address.to_string(), is_json: self.json };
        if let Some(Time(every)) = self.watch {
            if every < Duration::from_millis(100) {
                return Err(Failure::Usage(
                    "--watch: at least 100ms; write a time like 1s".to_owned(),
                ));
            }
            return watch::run(port, every, &form);
        }
        let before = Sample::take(&port)?;
        if self.json {
            return print(before.json(&form.address).as_bytes());
        }
        thread::sleep(APART);
        let now = Sample::take(&port)?;
        print(form.text(&now, &before).as_bytes())
    }
}

/// How samples are written.
#[derive(Debug)]
struct Form {
    address: String,
    is_json: bool,
}

impl Form {
    /// A block of text, as wide as the terminal.
    fn text(&self, now: &Sample, before: &Sample) -> String {
        self.lines(now, before).into_iter().map(|line| line + "\n").collect()
    }

    fn lines(&self, now: &Sample, before: &Sample) -> Vec<String> {
        let has_colors = AutoStream::choice(&io::stdout()) != ColorChoice::Never;
        view::lines(&self.address, now, before, screen::size().0, has_colors)
    }
}
