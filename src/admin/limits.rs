//! `GET /limits` and `PUT /limits`: the settings that may change while the daemon runs.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use log::info;
use resound::{Answer, Change, Settings, protocol::http::service::HttpAnswer};
use serde_json::{Map, Value, json};

use super::{
    Daemon,
    gather::AT_MOST,
    responses::{bad_request, json_response, unavailable},
};

/// The names of what may change, as they are written.
const NAMES: &str = "max_connections, max_connections_per_ip, max_memory_bytes, idle_timeout_seconds, \
    frame_timeout_seconds, handshake_timeout_seconds, write_timeout_seconds, grace_seconds";

/// The settings as they are.
pub(super) fn read(daemon: &Arc<Daemon>) -> HttpAnswer {
    tell_loops(daemon, &[])
}

/// Changes what `body` names, in all loops.
pub(super) fn change(daemon: &Arc<Daemon>, body: &[u8]) -> HttpAnswer {
    match changes(daemon, body) {
        Ok(changes) => {
            info!("admin: limits: {}", String::from_utf8_lossy(body).trim());
            tell_loops(daemon, &changes)
        }
        Err(what) => HttpAnswer::Now(bad_request(&what)),
    }
}

/// Sends the changes to each loop; the response has the settings of the last one that answers.
fn tell_loops(daemon: &Daemon, changes: &[Change]) -> HttpAnswer {
    let mut waiting: Vec<(usize, Answer<Settings>)> = Vec::new();
    for (index, one) in daemon.loops.iter().enumerate() {
        match one.handle.change(changes.to_vec()) {
            Ok(answer) => waiting.push((index, answer)),
            Err(error) => {
                let what = format!("reactor {index}: {error}; the same request may be sent again");
                return HttpAnswer::Now(unavailable(&what));
            }
        }
    }
    let start = Instant::now();
    HttpAnswer::Later(Box::new(move || {
        while let Some((index, answer)) = waiting.last() {
            match answer.poll() {
                Ok(Some(settings)) => {
                    waiting.pop();
                    if waiting.is_empty() {
                        return Some(json_response("200 OK", &shown(&settings)));
                    }
                }
                Ok(None) if start.elapsed() < AT_MOST => return None,
                Ok(None) => {
                    return Some(unavailable(&format!(
                        "reactor {index} did not answer within {AT_MOST:?}; its limits change when it goes on"
                    )));
                }
                Err(error) => return Some(unavailable(&format!("reactor {index}: {error}"))),
            }
        }
        Some(unavailable("there is no reactor"))
    }))
}

/// The changes that a JSON object names; none of them if one is wrong.
fn changes(daemon: &Daemon, body: &[u8]) -> Result<Vec<Change>, String> {
    let asked: Map<String, Value> = serde_json::from_slice(body).map_err(|_| {
        format!(r#"write a JSON object like {{"max_connections": 100}}; there is {NAMES}"#)
    })?;
    asked.iter().map(|(name, value)| change_of(daemon, name, value)).collect()
}

fn change_of(daemon: &Daemon, name: &str, value: &Value) -> Result<Change, String> {
    let wrong = |what: &str| format!("{name}: {value}: write {what}");
    let number = |most: u64| value.as_u64().filter(|number| (1..=most).contains(number));
    Ok(match name {
        "max_connections" => {
            let most = number(u32::MAX.into()).and_then(|most| usize::try_from(most).ok());
            let most = most.ok_or_else(|| wrong("a number from 1 on"))?;
            if most > daemon.connection_room {
                return Err(format!(
                    "max_connections: {most} is more than the limit of open files has room for, {}; restart with a \
                     higher one (ulimit -n, or LimitNOFILE= in a systemd unit)",
                    daemon.connection_room
                ));
            }
            Change::MaxConnections(most)
        }
        "max_connections_per_ip" => Change::MaxConnectionsPerIp(match value {
            Value::Null => None,
            _ => Some(
                number(u32::MAX.into())
                    .and_then(|most| u32::try_from(most).ok())
                    .ok_or_else(|| wrong("a number from 1 on, or null for no limit"))?,
            ),
        }),
        "max_memory_bytes" => {
            let most = number(u64::MAX).and_then(|most| usize::try_from(most).ok());
            Change::MaxMemory(most.ok_or_else(|| wrong("a number of bytes from 1 on"))?)
        }
        "idle_timeout_seconds" => Change::IdleTimeout(timeout(value).map_err(wrong)?),
        "frame_timeout_seconds" => Change::FrameTimeout(timeout(value).map_err(wrong)?),
        "handshake_timeout_seconds" => Change::HandshakeTimeout(timeout(value).map_err(wrong)?),
        "write_timeout_seconds" => Change::WriteTimeout(timeout(value).map_err(wrong)?),
        "grace_seconds" => {
            Change::Grace(seconds(value).ok_or_else(|| wrong("a number of seconds from 0 on"))?)
        }
        _ => return Err(format!("{name}: it is not known, or cannot change; there is {NAMES}")),
    })
}

fn timeout(value: &Value) -> Result<Option<Duration>, &'static str> {
    match value {
        Value::Null => Ok(None),
        _ => match seconds(value) {
            Some(time) if !time.is_zero() => Ok(Some(time)),
            _ => Err("a number of seconds over 0, or null for no limit"),
        },
    }
}

fn seconds(value: &Value) -> Option<Duration> {
    Duration::try_from_secs_f64(value.as_f64()?).ok()
}

fn shown(settings: &Settings) -> Value {
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
    json!({
        "max_connections": settings.max_connections,
        "max_connections_per_ip": settings.max_connections_per_ip,
        "max_memory_bytes": settings.max_memory,
        "idle_timeout_seconds": seconds(settings.idle_timeout),
        "frame_timeout_seconds": seconds(settings.frame_timeout),
        "handshake_timeout_seconds": seconds(settings.handshake_timeout),
        "write_timeout_seconds": seconds(settings.write_timeout),
        "grace_seconds": settings.grace.as_secs_f64(),
    })
}
