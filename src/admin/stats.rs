//! `GET /stats`: all counters and limits as JSON.

use resound::{Counts, Histogram, Reason, protocol::http::service::HttpResponse};
use serde_json::{Map, Value, json};

use super::{Daemon, counted, descriptors, faults::happened, responses::json_response};
use crate::common::tls::{self, Acceptor, Failed, Handshakes};

pub(super) fn response(daemon: &Daemon) -> HttpResponse {
    let listeners = counted::listeners(daemon);
    let each: Vec<Counts> = listeners.iter().map(counted::Listener::counts).collect();
    let mut stats = numbers(&Counts::sum(&each));
    let turns = Histogram::total(daemon.loops.iter().map(|one| &one.stats.turn_durations));
    stats["connections"]["limit"] = daemon.limits.max_connections().into();
    stats.extend([
        ("version".to_owned(), env!("CARGO_PKG_VERSION").into()),
        ("pid".to_owned(), std::process::id().into()),
        ("uptime_seconds".to_owned(), daemon.start.elapsed().as_secs_f64().into()),
        ("stage".to_owned(), daemon.lifecycle.stage().as_str().into()),
        ("reactors".to_owned(), daemon.loops.len().into()),
        ("buffered_bytes".to_owned(), daemon.buffered().into()),
        ("buffered_limit_bytes".to_owned(), daemon.limits.max_memory().into()),
        (
            "descriptors".to_owned(),
            json!({ "open": descriptors::open(&daemon.tables), "limit": descriptors::limit() }),
        ),
        ("turn_duration_seconds".to_owned(), turns.as_ref().map(histogram).into()),
    ]);
    let listeners = listeners.iter().zip(&each).map(|(listener, counts)| {
        let mut of_listener = numbers(counts);
        of_listener.insert("name".to_owned(), listener.name.as_str().into());
        let durations = listener.histogram(|stats| &stats.connection_durations);
        let accepts = listener.histogram(|stats| &stats.accepts_per_wakeup);
        of_listener.extend([
            ("connection_duration_seconds".to_owned(), durations.as_ref().map(histogram).into()),
            ("accepts_per_wakeup".to_owned(), accepts.as_ref().map(histogram).into()),
        ]);
        if let Some(faulty) = daemon.faulty.iter().find(|one| one.name == listener.name) {
            of_listener.insert("faults".to_owned(), happened(&faulty.faults).into());
        }
        if let Some((_, acceptor)) =
            daemon.acceptors.iter().find(|(name, _)| *name == listener.name)
        {
            of_listener.insert("tls_handshakes".to_owned(), handshakes(acceptor));
        }
        Value::Object(of_listener)
    });
    stats.insert("listeners".to_owned(), listeners.collect());
    json_response("200 OK", &Value::Object(stats))
}

/// How the TLS handshakes of a listener ended.
fn handshakes(acceptor: &Acceptor) -> Value {
    let Handshakes { full, resumed, failed } = tls::handshakes(acceptor);
    let failed = failed.into_iter().map(
        |Failed { sender, alert, count }| json!({ "sender": sender, "alert": alert, "count": count }),
    );
    json!({ "full": full, "resumed": resumed, "failed": failed.collect::<Vec<_>>() })
}

/// What is counted for each listener, and for all together.
fn numbers(counts: &Counts) -> Map<String, Value> {
    let closed: Map<String, Value> = Reason::ALL
        .iter()
        .filter(|&&reason| counts.closed(reason) > 0)
        .map(|&reason| (reason.as_str().to_owned(), counts.closed(reason).into()))
        .collect();
    let connections = json!({
        "open": counts.open.value(),
        "accepted": counts.opened.value(),
        "adopted": counts.adopted.value(),
        "refused": counts.refused.value(),
        "closed": closed,
    });
    let mut numbers = Map::from_iter([("connections".to_owned(), connections)]);
    numbers.extend(
        [
            ("frames", &counts.frames),
            ("received_bytes", &counts.received),
            ("sent_bytes", &counts.sent),
            ("truncated", &counts.truncated),
            ("too_long", &counts.too_long),
            ("malformed", &counts.malformed),
            ("datagrams_dropped", &counts.datagrams_dropped),
            ("accept_pauses", &counts.accept_pauses),
            ("accept_waits", &counts.accept_waits),
        ]
        .map(|(name, counter)| (name.to_owned(), counter.value().into())),
    );
    numbers
}

/// Cumulative, as in `/metrics`; the last bucket has no upper bound.
fn histogram(of: &Histogram) -> Value {
    let buckets: Vec<Value> = of
        .buckets()
        .map(|(bound, count)| {
            let bound = Some(bound).filter(|bound| bound.is_finite());
            json!({ "le": bound, "count": count })
        })
        .collect();
    json!({ "count": of.count(), "sum": of.sum(), "buckets": buckets })
}
