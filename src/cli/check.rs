//! `resound check`: judges an echo server, case by case. Its arguments are here; the cases are in [`crate::check`].

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use super::{Failure, cannot, descriptors, output::print, tls_args::TlsArgs};
use crate::{
    check::{
        case::Case,
        cases,
        report::{self, Format},
        run::{CaseResult, Outcome, Run},
        target::Target,
    },
    common::units::Time,
    load::server::stop::Stop,
};

/// The server's default address.
const ADDRESS: &str = "127.0.0.1:30000";

/// Judge an echo server: split, joined and cut messages, limits, half-close, RST, slow clients, and more
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CheckArgs {
    #[arg(
        help = "Where the server is: HOST:PORT, unix:PATH or PROTOCOL://ADDRESS, with the keys of its dialect, and max= for its \
                limit; PROTOCOL is frames, lines, raw, ws, http or udp. With --server, PROTOCOL:// is enough \
                [default: 127.0.0.1:30000]"
    )]
    address: Option<Target>,

    /// Start this server in a shell, run the cases that watch or signal its processes too, and end it; {port} in it is a free port
    #[arg(long, value_name = "CMD")]
    server: Option<String>,

    /// Run only this group or case; repeatable
    #[arg(long, value_name = "NAME", value_parser = group_or_case)]
    only: Vec<String>,

    /// Give up a wait after this long: the case fails
    #[arg(long, short, value_name = "TIME", default_value_t = Time(Duration::from_secs(5)))]
    timeout: Time,

    /// List the cases, those for ADDRESS if it is given: why each matters, and what a correct server does
    #[arg(long)]
    list: bool,

    #[command(flatten)]
    format: FormatArgs,

    #[command(flatten)]
    tls: TlsArgs,
}

/// At most one of them. What people read then goes to standard error.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct FormatArgs {
    /// Write the result to standard output as TAP, version 14
    #[arg(long)]
    tap: bool,

    /// Write the result to standard output as JSON (docs/check.md describes it)
    #[arg(long)]
    json: bool,

    /// Write the result to standard output in the XML of junit
    #[arg(long)]
    junit: bool,
}

const EXAMPLES: &str = "\
Examples:
  resound check 127.0.0.1:30000,length=u16be
  resound check --server './yours {port}' raw://
  resound check --server 'resound serve --listen ws://:{port}' ws:// --only websocket
  resound check --insecure frames+tls://127.0.0.1:30443 --only half-close
  resound check --list
  resound check lines://127.0.0.1:30008,max=64KiB --junit >report.xml

Exit codes: 0 no case failed; 1 a case failed, or the server cannot be reached; 2 the command line is wrong.";

fn group_or_case(text: &str) -> Result<String, String> {
    if cases::all().any(|case| case.group == text || case.name == text) {
        return Ok(text.to_owned());
    }
    Err(format!("there are the groups {}; --list shows the cases", cases::groups().join(", ")))
}

impl FormatArgs {
    const fn format(&self) -> Format {
        match self {
            Self { tap: true, .. } => Format::Tap,
            Self { json: true, .. } => Format::Json,
            Self { junit: true, .. } => Format::Junit,
            _ => Format::Text,
        }
    }
}

impl CheckArgs {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        if self.list {
            let cases: Vec<&Case> = cases::all()
                .filter(|case| self.address.as_ref().is_none_or(|target| case.applies(target)))
                .filter(|case| self.is_wanted(case))
                .collect();
            return print(report::list(&cases).as_bytes());
        }
        let given = self.address.as_ref().is_some_and(|target| target.place.is_known());
        let target = match &self.address {
            Some(target) if !given && self.server.is_none() => {
                return Err(Failure::Usage(format!(
                    "{} has no port to connect to; write HOST:PORT behind ://, or start a server with --server 'CMD'",
                    target.place
                )));
            }
            Some(target) => target.clone(),
            None => ADDRESS.parse().map_err(Failure::Failed)?,
        };
        if self.timeout.0.is_zero() {
            return Err(Failure::Usage(
                "--timeout 0 gives up at once; use a time like 5s".to_owned(),
            ));
        }
        let cases: Vec<&Case> =
            cases::all().filter(|case| case.applies(&target) && self.is_wanted(case)).collect();
        if cases.is_empty() {
            return Err(Failure::Usage(format!(
                "none of --only {} applies to {}; resound check --list {} shows what does",
                self.only.join(", "),
                target.place,
                target.place
            )));
        }
        self.tls.check(target.place.listen()).map_err(Failure::Usage)?;
        let stop = Stop::on_signals().map_err(|error| cannot("catch signals", &error))?;
        let mut run = Run::new(
            target,
            self.tls.terms(true),
            self.timeout.0,
            descriptors::raise_limit(),
            stop,
        );
        if let Some(command) = &self.server {
            run.start(command, given).map_err(Failure::Failed)?;
        }
        self.tls.warn(run.target.place.listen());
        run.connect().map_err(|error| Failure::Failed(format!("{}: {error}", run.target.place)))?;
        let format = self.format.format();
        let outcomes = run.run(&cases, |outcome| show(format, &report::line(outcome)));
        if format != Format::Text {
            show(format, &report::summary(&run, &outcomes));
        }
        print(report::whole(format, &run, &outcomes).as_bytes())?;
        Ok(if is_good(&outcomes, cases.len()) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn is_wanted(&self, case: &Case) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == case.group || name == case.name)
    }
}

/// Shows people what was found. A reader that is gone is no failure: the exit code says it too.
fn show(format: Format, text: &str) {
    let _ = match format {
        Format::Text => io::stdout().write_all(text.as_bytes()),
        _ => io::stderr().write_all(text.as_bytes()),
    };
}

/// Whether all `cases` were run, and none of them failed.
fn is_good(outcomes: &[Outcome], cases: usize) -> bool {
    let failed = |outcome: &Outcome| matches!(outcome.result, CaseResult::Failed { .. });
    outcomes.len() == cases && !outcomes.iter().any(failed)
}
