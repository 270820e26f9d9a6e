//! The paths of the admin port, and what each answers.

use std::sync::Arc;

use log::{LevelFilter, info};
use resound::{
    Accepting, ControlError, Summary, Token,
    protocol::http::service::{HttpAnswer, HttpRequest, HttpResponse},
};
use serde_json::{Value, json};

use super::{
    Daemon, Stage,
    connections::{Listing, Query},
    faults,
    gather::{AT_MOST, Gather},
    limits, metrics, page,
    responses::{bad_request, json_response, unavailable},
    stats, timeline,
};
use crate::common::warnings::Warnings;

const PATHS: &str = "GET /, /metrics, /healthz, /readyz, /stats, /connections, /limits, /faults, /warnings, /timeline; \
    POST /drain, /replace, /connections/NAME/close; PUT /limits, /faults, /log-level\n";

pub(super) fn answer(daemon: &Arc<Daemon>, request: &HttpRequest<'_>) -> HttpAnswer {
    let close =
        request.path.strip_prefix("/connections/").and_then(|rest| rest.strip_suffix("/close"));
    if let Some(file) = page::file(request.path) {
        return HttpAnswer::Now(match request.method {
            "GET" => file.response(),
            _ => not_allowed("Allow: GET, HEAD\r\n"),
        });
    }
    match (request.method, request.path, close) {
        ("GET", "/metrics", _) => HttpAnswer::Now(metrics::response(daemon, request)),
        ("GET", "/healthz", _) => gather(daemon, |_, loops| health(loops)),
        ("GET", "/readyz", _) => match daemon.lifecycle.stage() {
            Stage::Serving => gather(daemon, readiness),
            stage => {
                HttpAnswer::Now(unavailable(&format!("{}: it is about to end", stage.as_str())))
            }
        },
        ("GET", "/stats", _) => HttpAnswer::Now(stats::response(daemon)),
        ("GET", "/connections", _) => match Query::read(request) {
            Ok(query) => {
                let mut listing = Listing::start(daemon, query);
                HttpAnswer::Later(Box::new(move || listing.poll()))
            }
            Err(refusal) => HttpAnswer::Now(refusal),
        },
        ("GET", "/limits", _) => limits::read(daemon),
        ("PUT", "/limits", _) => limits::change(daemon, request.body),
        ("GET", "/faults", _) => HttpAnswer::Now(faults::list(daemon)),
        ("PUT", "/faults", _) => HttpAnswer::Now(faults::set(daemon, request.body)),
        ("GET", "/warnings", _) => HttpAnswer::Now(warnings(daemon.log.warnings)),
        ("GET", "/timeline", _) => timeline::response(daemon, request),
        ("POST", "/drain", _) => {
            info!("admin: drain");
            daemon.lifecycle.request_drain();
            HttpAnswer::Now(HttpResponse::text("202 Accepted", "draining\n"))
        }
        ("POST", "/replace", _) => replace(daemon),
        ("POST", _, Some(name)) => self::close(daemon, name),
        ("PUT", "/log-level", _) => HttpAnswer::Now(log_level(daemon, request.body)),
        (
            _,
            "/metrics" | "/healthz" | "/readyz" | "/stats" | "/connections" | "/warnings"
            | "/timeline",
            _,
        ) => HttpAnswer::Now(not_allowed("Allow: GET, HEAD\r\n")),
        (_, "/drain" | "/replace", _) | (_, _, Some(_)) => {
            HttpAnswer::Now(not_allowed("Allow: POST\r\n"))
        }
        (_, "/limits" | "/faults", _) => HttpAnswer::Now(not_allowed("Allow: GET, HEAD, PUT\r\n")),
        (_, "/log-level", _) => HttpAnswer::Now(not_allowed("Allow: PUT\r\n")),
        _ => HttpAnswer::Now(HttpResponse::text("404 Not Found", format!("there is: {PATHS}"))),
    }
}

/// Asks all loops for a summary, and makes the response of what they answer.
fn gather(
    daemon: &Arc<Daemon>,
    respond: impl Fn(&Daemon, &[Result<Summary, ControlError>]) -> HttpResponse + Send + 'static,
) -> HttpAnswer {
    let (daemon, mut gather) = (Arc::clone(daemon), Gather::start(&daemon.loops));
    HttpAnswer::Later(Box::new(move || gather.poll().map(|loops| respond(&daemon, &loops))))
}

fn health(loops: &[Result<Summary, ControlError>]) -> HttpResponse {
    let failed =
        loops.iter().enumerate().find_map(|(index, one)| Some((index, one.as_ref().err()?)));
    match failed {
        None => HttpResponse::text("200 OK", "ok\n"),
        Some((index, error)) => unavailable(&format!("reactor {index}: {error}")),
    }
}

fn readiness(daemon: &Daemon, loops: &[Result<Summary, ControlError>]) -> HttpResponse {
    // It may have changed while the loops were asked.
    let stage = daemon.lifecycle.stage();
    if stage != Stage::Serving {
        return unavailable(&format!("{}: it is about to end", stage.as_str()));
    }
    let mut summaries = Vec::new();
    for (index, one) in loops.iter().enumerate() {
        match one {
            Ok(summary) => summaries.push(summary),
            Err(error) => return unavailable(&format!("reactor {index}: {error}")),
        }
    }
    let open: usize = summaries.iter().map(|summary| summary.open).sum();
    if open >= daemon.limits.max_connections() {
        return unavailable(&format!(
            "{open} connections are open, the limit of --max-connections"
        ));
    }
    // A listener is able to accept while one of the loops that serve it is. That it is full of connections tells
    // nothing: there is room again, and it goes on.
    let listeners = || summaries.iter().flat_map(|summary| &summary.listeners);
    for listener in listeners() {
        let why = match listener.accepting {
            Accepting::Paused => "descriptors or kernel memory ran out",
            Accepting::Closed => "it is closed",
            _ => continue,
        };
        let mut same = listeners().filter(|other| other.name == listener.name);
        if same.all(|other| matches!(other.accepting, Accepting::Paused | Accepting::Closed)) {
            return unavailable(&format!("{}: {why}", daemon.listener(&listener.name)));
        }
    }
    HttpResponse::text("200 OK", "ready\n")
}

/// The last warnings, the newest first.
fn warnings(warnings: &Warnings) -> HttpResponse {
    let (total, last) = warnings.last();
    let last: Vec<Value> = last
        .into_iter()
        .map(|warning| {
            json!({
                "time": humantime::format_rfc3339_millis(warning.time).to_string(),
                "level": warning.level.as_str().to_lowercase(),
                "target": warning.target,
                "message": warning.message,
                "count": warning.count,
            })
        })
        .collect();
    let level = log::max_level().as_str().to_lowercase();
    json_response("200 OK", &json!({ "log_level": level, "total": total, "warnings": last }))
}

/// Starts the program again, which takes over; the response tells what has come of it.
fn replace(daemon: &Arc<Daemon>) -> HttpAnswer {
    info!("admin: replace");
    let (daemon, number) = (Arc::clone(daemon), daemon.lifecycle.request_replacement());
    HttpAnswer::Later(Box::new(move || {
        Some(match daemon.lifecycle.outcome(number)? {
            Ok(report) => HttpResponse::text("200 OK", format!("{report}\n")),
            Err(why) => unavailable(&format!("not replaced: {why}")),
        })
    }))
}

/// Closes the connection `LOOP.KEY.GENERATION`.
fn close(daemon: &Daemon, name: &str) -> HttpAnswer {
    let numbers: Option<Vec<u32>> = name.split('.').map(|number| number.parse().ok()).collect();
    let Some(&[index, key, generation]) = numbers.as_deref() else {
        let what =
            format!("{name:?} is not a connection; take a name like 0.3.17 from GET /connections");
        return HttpAnswer::Now(bad_request(&what));
    };
    let Some(one) = usize::try_from(index).ok().and_then(|index| daemon.loops.get(index)) else {
        return HttpAnswer::Now(HttpResponse::text(
            "404 Not Found",
            format!("there is no reactor {index}\n"),
        ));
    };
    let answer = match one.handle.close(Token::new(key, generation)) {
        Ok(answer) => answer,
        Err(error) => return HttpAnswer::Now(unavailable(&format!("reactor {index}: {error}"))),
    };
    info!("admin: close {name}");
    let (name, start) = (name.to_owned(), std::time::Instant::now());
    HttpAnswer::Later(Box::new(move || match answer.poll() {
        Ok(Some(true)) => Some(HttpResponse::text("200 OK", format!("{name} is closed\n"))),
        Ok(Some(false)) => {
            Some(HttpResponse::text("404 Not Found", format!("there is no connection {name}\n")))
        }
        Ok(None) if start.elapsed() < AT_MOST => None,
        Ok(None) => Some(unavailable(&format!(
            "reactor {index} did not answer within {AT_MOST:?}; it closes {name} when it goes on"
        ))),
        Err(error) => Some(unavailable(&format!("reactor {index}: {error}"))),
    }))
}

fn log_level(daemon: &Daemon, body: &[u8]) -> HttpResponse {
    let asked = serde_json::from_slice::<Value>(body).ok();
    let level = asked.as_ref().and_then(|asked| asked.get("level")).and_then(Value::as_str);
    match level.and_then(|level| level.parse::<LevelFilter>().ok()) {
        Some(level) => {
            (daemon.log.set_level)(level);
            info!("admin: the log level is {level}");
            json_response("200 OK", &json!({ "level": level.as_str().to_lowercase() }))
        }
        None => {
            bad_request(r#"write {"level": LEVEL} with off, error, warn, info, debug or trace"#)
        }
    }
}

fn not_allowed(allow: &'static str) -> HttpResponse {
    let mut response = HttpResponse::text("405 Method Not Allowed", format!("there is: {PATHS}"));
    response.fields = allow;
    response
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpStream,
        sync::mpsc,
        thread,
        time::{Duration, Instant},
    };

    use resound::{
        Config, Limits, Reactor,
        protocol::{Frames, Next, Output, Protocol, Received},
    };

    use super::*;
    use crate::{
        admin::{Access, Lifecycle, LogControl, Observed, Port},
        common::{plans::NamedPlans, signals::Signals},
    };

    const PATIENCE: Duration = Duration::from_secs(120);

    static NO_WARNINGS: Warnings = Warnings::new();

    /// Blocks its loop until the test lets it go on.
    struct Blocks(mpsc::Receiver<()>);

    impl Protocol for Blocks {
        fn receive(&mut self, _: Token, input: &[u8], _: usize, _: &mut Output) -> Received {
            self.0.recv().unwrap();
            Received::echo(input.len(), 1, Next::Idle)
        }
    }

    fn start(
        protocol: impl Protocol + Send + 'static,
    ) -> (Observed, String, thread::JoinHandle<std::io::Result<()>>) {
        let mut reactor = Reactor::new(Config::default()).unwrap();
        let address = reactor.listen(([127, 0, 0, 1], 0), protocol).unwrap().to_string();
        let observed = Observed { handle: reactor.handle(), stats: reactor.stats() };
        (observed, address, thread::spawn(move || reactor.run()))
    }

    fn get(address: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn a_loop_that_is_blocked_is_seen_by_healthz_and_the_rest_is_answered() {
        let (go_on, may_go_on) = mpsc::channel();
        let (sound, _, sound_thread) = start(Frames::default());
        let (blocked, address, blocked_thread) = start(Blocks(may_go_on));
        let port = Port::bind(&([127, 0, 0, 1], 0).into()).unwrap();
        let (admin, stop) = (port.endpoint().to_string(), port.handle());
        let daemon = Daemon {
            loops: vec![sound.clone(), blocked.clone()],
            listeners: Vec::new(),
            faulty: Vec::new(),
            acceptors: Vec::new(),
            plans: NamedPlans::default(),
            limits: Arc::new(Limits::new(&Config::default())),
            connection_room: 10_000,
            tables: Vec::new(),
            start: Instant::now(),
            lifecycle: Arc::new(Lifecycle::new(Signals::new().unwrap().waker())),
            log: LogControl { set_level: |_| {}, warnings: &NO_WARNINGS },
            recording: None,
        };
        let admin_thread =
            thread::spawn(move || port.run(Access { token: None }, Arc::new(daemon)));
        assert!(get(&admin, "/healthz").starts_with("HTTP/1.1 200"));

        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"x").unwrap();
        while blocked.stats.total().received.value() == 0 {
            thread::yield_now();
        }
        let health = thread::scope(|scope| {
            let health = scope.spawn(|| get(&admin, "/healthz"));
            // Meanwhile the others are answered.
            assert!(get(&admin, "/metrics").starts_with("HTTP/1.1 200"));
            assert!(get(&admin, "/stats").starts_with("HTTP/1.1 200"));
            health.join().unwrap()
        });
        assert!(health.starts_with("HTTP/1.1 503"), "{health}");
        assert!(health.ends_with("reactor 1: the loop did not answer within 5s\n"), "{health}");
        for path in ["/readyz", "/connections"] {
            let answer = get(&admin, path);
            assert!(answer.starts_with("HTTP/1.1 503"), "{path}: {answer}");
        }

        go_on.send(()).unwrap();
        stream.read_exact(&mut [0; 1]).unwrap();
        assert!(get(&admin, "/healthz").starts_with("HTTP/1.1 200"), "it is healthy again");
        drop(stream);
        for (handle, thread) in
            [(sound.handle, sound_thread), (blocked.handle, blocked_thread), (stop, admin_thread)]
        {
            handle.stop();
            thread.join().unwrap().unwrap();
        }
    }
}
