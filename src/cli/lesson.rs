//! `resound lesson`: the classic mistakes, measured. Its arguments are here; the lessons are in [`crate::lesson`].

use std::{
    env,
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    process::ExitCode,
};

use super::{Failure, cannot, descriptors, output::print};
use crate::{
    lesson::{
        Lesson,
        figure::shows_mistake,
        lessons::LESSONS,
        report::{self, Column},
        stage::Stage,
    },
    load::server::stop::Stop,
};

/// Study a classic mistake: a server that makes it, measured beside resound; without NAME, list them
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LessonArgs {
    /// Which mistake: the list without NAME has them
    #[arg(value_parser = lesson)]
    name: Option<&'static Lesson>,

    /// Measure all of them, and fail unless each mistake shows, and none in resound
    #[arg(long, conflicts_with_all = ["name", "server", "record", "source", "serve"])]
    all: bool,

    /// Measure this server, too: it is started in a shell, and {port} in it is a free port
    #[arg(long, value_name = "CMD", requires = "name")]
    server: Option<String>,

    /// Write what resound does meanwhile to this file; resound timeline makes a page for a browser of it
    #[arg(long, value_name = "FILE", requires = "name")]
    record: Option<String>,

    /// Write the source of the wrong server to standard output
    #[arg(long, requires = "name", conflicts_with_all = ["server", "record", "serve"])]
    source: bool,

    /// Run the wrong server at this address, and nothing else
    #[arg(long, value_name = "ADDRESS", requires = "name", conflicts_with_all = ["server", "record"])]
    serve: Option<SocketAddr>,
}

const EXAMPLES: &str = "\
Examples:
  resound lesson
  resound lesson sticky-packets
  resound lesson sticky-packets --source >sticky_packets.rs
  resound lesson short-write --record trace.json
  resound lesson sticky-packets --server './yours 127.0.0.1:{port}'

Exit codes: 0 the mistake shows in the wrong server and not in resound; with --server, not in that one;
1 otherwise; 2 the command line is wrong.";

fn lesson(name: &str) -> Result<&'static Lesson, String> {
    let names = || LESSONS.map(|lesson| lesson.name).join(", ");
    let found = LESSONS.into_iter().find(|lesson| lesson.name == name);
    found.ok_or_else(|| format!("the lessons are {}", names()))
}

impl LessonArgs {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let Some(lesson) = self.name else {
            return if self.all {
                Course::new(None)?.all()
            } else {
                print(report::list().as_bytes())
            };
        };
        if let Some(address) = self.serve {
            return serve(lesson, address);
        }
        if self.source {
            return print(lesson.source.as_bytes());
        }
        Course::new(self.record)?.one(lesson, self.server.as_deref())
    }
}

/// Runs the wrong server, until it ends or is ended.
fn serve(lesson: &Lesson, address: SocketAddr) -> Result<ExitCode, Failure> {
    descriptors::raise_limit();
    let listener = TcpListener::bind(address)
        .and_then(|listener| Ok((listener.local_addr()?, listener)))
        .map_err(|error| cannot(&format!("listen at {address}"), &error));
    let (address, listener) = listener?;
    let protocol = lesson.protocol.split("://").next().unwrap_or_default();
    print(format!("listening on {protocol}://{address}\n").as_bytes())?;
    (lesson.serve)(&listener).map_err(|error| cannot("go on", &error))?;
    Ok(ExitCode::SUCCESS)
}

/// What measures lessons.
struct Course {
    program: String,
    /// Where resound writes what it does.
    record: Option<String>,
    descriptors: u64,
    stop: Stop,
}

impl Course {
    fn new(record: Option<String>) -> Result<Self, Failure> {
        let program = env::current_exe().map_err(|error| cannot("find this program", &error))?;
        let stop = Stop::on_signals().map_err(|error| cannot("catch signals", &error))?;
        let program = program.display().to_string();
        Ok(Self { program, record, descriptors: descriptors::raise_limit(), stop })
    }

    /// One lesson from its introduction to its conclusion.
    fn one(&self, lesson: &Lesson, own: Option<&str>) -> Result<ExitCode, Failure> {
        match own {
            None => show(&format!("{}\n", report::introduction(lesson))),
            Some(_) => show(&format!("{}: {}\n\n", lesson.name, lesson.title)),
        }
        let mut columns = self.measure(lesson)?;
        if let Some(command) = own {
            columns.push(self.column(lesson, "yours", command)?);
        }
        show(&report::table(&columns));
        show("\n");
        let is_good = match own {
            None => {
                show(&report::conclusion(lesson));
                is_as_it_should_be(&columns)
            }
            Some(command) => {
                let is_right = columns.last().is_some_and(|yours| !shows_mistake(&yours.figures));
                show(if is_right { RIGHT } else { WRONG });
                show(&report::check(lesson, command));
                is_right
            }
        };
        if own.is_none() && !is_good {
            return Err(unexpected(lesson));
        }
        Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// The tables of all lessons.
    fn all(&self) -> Result<ExitCode, Failure> {
        let mut others = Vec::new();
        for lesson in LESSONS {
            show(&format!("{}: {}\n", lesson.name, lesson.title));
            let columns = self.measure(lesson)?;
            show(&format!("{}\n", report::table(&columns)));
            if !is_as_it_should_be(&columns) {
                others.push(lesson);
            }
        }
        others.first().map_or(Ok(ExitCode::SUCCESS), |lesson| Err(unexpected(lesson)))
    }

    /// The wrong server, then resound.
    fn measure(&self, lesson: &Lesson) -> Result<Vec<Column>, Failure> {
        let program = format!("exec {}", quoted(&self.program));
        let (scheme, keys) = lesson.protocol.split_once("://").unwrap_or((lesson.protocol, ""));
        let wrong = format!("{program} lesson {} --serve 127.0.0.1:0", lesson.name);
        let mut resound =
            format!("{program} serve --listen {scheme}://127.0.0.1:0{keys} {}", lesson.resound);
        if let Some(file) = &self.record {
            resound = format!("{resound} --record {}", quoted(file));
        }
        Ok(vec![self.column(lesson, "wrong", &wrong)?, self.column(lesson, "resound", &resound)?])
    }

    fn column(
        &self,
        lesson: &Lesson,
        name: &'static str,
        command: &str,
    ) -> Result<Column, Failure> {
        let figures = Stage::start(command, lesson.protocol, self.descriptors, &self.stop)
            .and_then(|stage| (lesson.measure)(&stage))
            .map_err(|error| Failure::Failed(format!("{}, {name} server: {error}", lesson.name)))?;
        Ok(Column { name, figures })
    }
}

/// As one word of a shell's command line.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

const RIGHT: &str =
    "Your server does not make this mistake. This says whether it is right otherwise:\n\n";
const WRONG: &str = "Your server makes the mistake. Where a case of resound check can, this shows it step by step:\n\n";

fn is_as_it_should_be(columns: &[Column]) -> bool {
    columns.iter().all(|column| shows_mistake(&column.figures) == (column.name == "wrong"))
}

fn unexpected(lesson: &Lesson) -> Failure {
    Failure::Failed(format!(
        "{}: the figures are not as expected: the wrong server is to show the mistake, and resound is not. If this machine is \
         very busy, try again",
        lesson.name
    ))
}

/// Shows what is known by now. A reader that is gone is no failure: the exit code says it too.
fn show(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}
