//! A run of `resound bench`.

use std::process::Output;

use serde_json::Value;

use super::resound;

/// What a run said.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) report: Value,
    pub(crate) stderr: String,
}

impl Run {
    /// Runs a load against `address` without a warm-up, and reads its report.
    pub(crate) fn new(address: &str, arguments: &[&str]) -> Self {
        let mut command = resound();
        command.args(["bench", address, "--json", "-", "--quiet", "--warm-up", "0s"]);
        let Output { status, stdout, stderr } = command.args(arguments).output().unwrap();
        let report = serde_json::from_slice(&stdout).unwrap_or(Value::Null);
        Self { code: status.code(), report, stderr: String::from_utf8(stderr).unwrap() }
    }

    pub(crate) fn number(&self, pointer: &str) -> f64 {
        let number = self.report.pointer(pointer).and_then(Value::as_f64);
        number.unwrap_or_else(|| panic!("no {pointer} in {self:?}"))
    }

    /// Errors of this name.
    pub(crate) fn errors(&self, name: &str) -> f64 {
        self.number(&format!("/errors_by_name/{name}"))
    }

    /// Handshakes of this kind.
    pub(crate) fn handshakes(&self, kind: &str) -> f64 {
        self.number(&format!("/handshakes/{kind}_us/count"))
    }

    pub(crate) fn warnings(&self) -> String {
        self.report["warnings"].to_string()
    }
}
