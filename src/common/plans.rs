//! Plans of faults as text: with the names of a file (`--faults`), and with files of samples.

use std::{collections::BTreeMap, fs, path::Path};

use resound::protocol::fault::{KINDS, Plan};
use toml::Value;

/// What a line of the file looks like.
const FORM: &str = r#"write lines like flaky = "drop@1%+delay=5ms..20ms", or flaky = ["drop@1%", "delay=5ms..20ms"]"#;

/// Plans by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct NamedPlans(BTreeMap<String, String>);

impl NamedPlans {
    /// Reads a TOML file.
    pub(crate) fn read(file: &Path) -> Result<Self, String> {
        Self::parse(&fs::read_to_string(file).map_err(|error| error.to_string())?)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let table: toml::Table =
            text.parse().map_err(|error: toml::de::Error| format!("{error}{FORM}"))?;
        let mut plans = BTreeMap::new();
        for (name, value) in table {
            check_name(&name)?;
            let text = joined(&value).ok_or_else(|| format!("{name}: {FORM}"))?;
            Self::default().plan(&text).map_err(|error| format!("{name}: {error}"))?;
            plans.insert(name, text);
        }
        Ok(Self(plans))
    }

    /// Parses a plan. A part of it that is a name stands for the plan of that name.
    pub(crate) fn plan(&self, text: &str) -> Result<Plan, String> {
        let parts = text.split('+').map(|part| self.0.get(part).map_or(part, String::as_str));
        let text = parts.collect::<Vec<_>>().join("+");
        let read = |path: &str| fs::read_to_string(path).map_err(|error| error.to_string());
        Plan::parse(&text, &read).map_err(|error| match self.0.is_empty() {
            true => error.to_string(),
            false => {
                let names: Vec<&str> = self.0.keys().map(String::as_str).collect();
                format!("{error}; --faults has {}", names.join(", "))
            }
        })
    }
}

/// Fails if a plan with this name could be taken for something else.
fn check_name(name: &str) -> Result<(), String> {
    if name == "none" || KINDS.iter().any(|entry| entry.name == name) {
        return Err(format!("{name} is the name of a fault; take another one"));
    }
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
    match name.is_empty() || !name.chars().all(is_plain) {
        true => Err(format!("{name:?} is no name for a plan; take letters, digits, - and _")),
        false => Ok(()),
    }
}

/// A text, or the texts of a list with plus signs between them.
fn joined(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => {
            let parts: Option<Vec<&str>> = parts.iter().map(Value::as_str).collect();
            parts.filter(|parts| !parts.is_empty()).map(|parts| parts.join("+"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_for_plans_and_can_be_joined() {
        let file = "# What we saw on Monday.\n\
                    flaky = \"drop@1%+delay=5ms\"\n\
                    cut-off = [\n  \"reset=300@2\", # in the second answer\n  \"dup@1#2\",\n]\n";
        let named = NamedPlans::parse(file).unwrap();
        for (text, plan) in [
            ("flaky", "drop@1%+delay=5ms"),
            ("cut-off+swap@3", "reset=300@2+dup@1#2+swap@3"),
            ("length=+1+flaky", "length=+1+drop@1%+delay=5ms"),
            ("none", "none"),
        ] {
            assert_eq!(named.plan(text).unwrap().to_string(), plan, "{text}");
        }
        let error = named.plan("flakey").unwrap_err();
        assert!(error.ends_with("; --faults has cut-off, flaky"), "{error}");
    }

    #[test]
    fn what_is_wrong_in_the_file_is_named() {
        for (file, says) in [
            ("flaky = ", "line 1"),
            ("flaky = 7", "flaky: write lines like flaky = \"drop@1%"),
            ("flaky = []", "flaky: write lines like"),
            ("[flaky]\nfault = \"drop\"", "flaky: write lines like"),
            ("flaky = \"dropp\"", "flaky: fault \"dropp\": no fault \"dropp\"; there is"),
            ("flaky = \"drop\"\nboth = \"flaky+dup\"", "both: fault \"flaky\": no fault \"flaky\""),
            ("drop = \"drop@1\"", "drop is the name of a fault"),
            ("\"a b\" = \"drop\"", "\"a b\" is no name for a plan"),
        ] {
            let error = NamedPlans::parse(file).unwrap_err();
            assert!(error.contains(says), "{file}: {error}");
        }
    }
}
