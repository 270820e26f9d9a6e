//! Reads reports that `--json` has written.

use std::{fs, path::Path};

use serde_json::Value;

use crate::load::report::{Report, SCHEMA};

/// The reports in a file: one, or the array that `bench versus` writes.
///
/// # Errors
///
/// Text that names the file.
pub(super) fn read(path: &Path) -> Result<Vec<Report>, String> {
    let name = path.display();
    let text = fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
    let value: Value = serde_json::from_str(&text)
        .map_err(|error| format!("{name} is no JSON: {error}; {REMEDY}"))?;
    match value {
        Value::Array(values) if values.is_empty() => {
            Err(format!("{name} holds no report; {REMEDY}"))
        }
        Value::Array(values) => {
            values.into_iter().map(|value| report(&name.to_string(), value)).collect()
        }
        value => report(&name.to_string(), value).map(|report| vec![report]),
    }
}

const REMEDY: &str = "give files that resound bench --json has written";

fn report(name: &str, value: Value) -> Result<Report, String> {
    match value.get("schema").and_then(Value::as_u64) {
        Some(schema) if schema == u64::from(SCHEMA) => {}
        Some(schema) => {
            return Err(format!(
                "{name} has schema {schema}, and this resound knows {SCHEMA}; measure all with the same version"
            ));
        }
        None => return Err(format!("{name} is no report; {REMEDY}")),
    }
    serde_json::from_value(value).map_err(|error| format!("{name} is no report: {error}; {REMEDY}"))
}
