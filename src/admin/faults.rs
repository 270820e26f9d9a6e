//! `GET /faults` and `PUT /faults`: the plans of the listeners that have `fault=`.

use log::info;
use resound::protocol::{
    fault::{Faults, KINDS},
    http::service::HttpResponse,
};
use serde_json::{Map, Value, json};

use super::{
    Daemon, Faulty,
    responses::{bad_request, json_response},
};
use crate::common::protocols;

/// What a request looks like.
const FORM: &str =
    r#"write {"listener": "frames://127.0.0.1:30000", "fault": "reset=7@2", "seed": 7}"#;

/// The plan of each listener.
pub(super) fn list(daemon: &Daemon) -> HttpResponse {
    json_response("200 OK", &Value::Array(daemon.faulty.iter().map(describe).collect()))
}

fn describe(Faulty { name, faults, .. }: &Faulty) -> Value {
    let plan = faults.plan();
    json!({
        "listener": name,
        "fault": plan.to_string(),
        "seed": plan.seed,
        "connections": faults.connections(),
        "happened": happened(faults),
    })
}

/// How often each fault has happened, without those that have not.
pub(super) fn happened(faults: &Faults) -> Map<String, Value> {
    let counts = KINDS.iter().zip(faults.counts()).filter(|(_, count)| *count > 0);
    counts.map(|(entry, count)| (entry.name.to_owned(), count.into())).collect()
}

/// Sets the plan of a listener. All loops share it, so each has it when this returns, and the next connection gets it.
pub(super) fn set(daemon: &Daemon, body: &[u8]) -> HttpResponse {
    let Ok(asked) = serde_json::from_slice::<Map<String, Value>>(body) else {
        return bad_request(FORM);
    };
    let is_known = |name: &str| ["listener", "fault", "seed"].contains(&name);
    let unknown = asked.keys().find(|name| !is_known(name));
    let (Some(fault), None) = (asked.get("fault").and_then(Value::as_str), unknown) else {
        return bad_request(FORM);
    };
    let found = match asked.get("listener") {
        Some(listener) => daemon.faulty.iter().find(|one| *listener == *one.name),
        // With only one there is no doubt.
        None => daemon.faulty.first().filter(|_| daemon.faulty.len() == 1),
    };
    let Some(faulty) = found else {
        let names: Vec<&str> = daemon.faulty.iter().map(|one| one.name.as_str()).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        return HttpResponse::text(
            "404 Not Found",
            format!("listeners with fault=: {names}; start others with fault=none\n"),
        );
    };
    let seed = match asked.get("seed") {
        None => Some(faulty.faults.plan().seed),
        Some(seed) => seed.as_u64(),
    };
    let Some(seed) = seed else { return bad_request("seed: write a number, like 7") };
    match faulty.set(daemon, fault, seed) {
        Ok(()) => {
            info!("admin: faults on {}: {}, seed={seed}", faulty.name, faulty.faults.plan());
            json_response("200 OK", &describe(faulty))
        }
        Err(error) => bad_request(&error),
    }
}

impl Faulty {
    fn set(&self, daemon: &Daemon, fault: &str, seed: u64) -> Result<(), String> {
        let plan = daemon.plans.plan(fault)?.with_seed(seed);
        protocols::check_address(&plan, &self.listen)?;
        self.faults.set_plan(plan).map_err(|error| error.to_string())
    }
}
