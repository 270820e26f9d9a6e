//! A protocol of one's own: JSON-RPC 1.0, one object a line, with one method, as Go's `net/rpc/jsonrpc` calls it.
//!
//! ```sh
//! cargo run --example json_rpc
//! echo '{"method": "Arith.Multiply", "params": [{"A": 7, "B": 8}], "id": 1}' | nc -N 127.0.0.1 30002
//! ```

use std::io;

use resound::{
    Config, Endpoint, Reactor, Token,
    protocol::{Next, Output, Protocol, Received, Refusal},
};
use serde_json::{Value, json};

/// The longest request, in bytes.
const MAX: usize = 64 << 10;

/// Answers each line with a line.
pub(crate) struct JsonRpc;

impl Protocol for JsonRpc {
    fn receive(&mut self, _: Token, input: &[u8], mut seen: usize, out: &mut Output) -> Received {
        let (mut consumed, mut frames) = (0, 0);
        let next = loop {
            let rest = &input[consumed..];
            // What was shown before has no line's end in it.
            let Some(end) = rest[seen..].iter().position(|byte| *byte == b'\n') else {
                let length = rest.len();
                break match length {
                    0 => Next::Idle,
                    1..=MAX => Next::Rest { need: 0 },
                    _ => Next::Refuse(Refusal::TooLong {
                        length: length as u64,
                        limit: MAX as u64,
                        looks_like: None,
                    }),
                };
            };
            if out.is_full() {
                break Next::Full;
            }
            let Ok(request) = serde_json::from_slice(&rest[..seen + end]) else {
                break Next::Refuse(Refusal::Malformed("a line that is not JSON"));
            };
            if let Some(response) = respond(&request) {
                out.extend(response.to_string().as_bytes());
                out.extend(b"\n");
            }
            (consumed, frames) = (consumed + seen + end + 1, frames + 1);
            seen = 0;
        };
        Received::answered(consumed, frames, next)
    }
}

/// The response, which a notification, that is, a request without an id, does not get.
fn respond(request: &Value) -> Option<Value> {
    let id = request.get("id").filter(|id| !id.is_null())?;
    let (result, error) = match call(request) {
        Ok(result) => (json!(result), Value::Null),
        Err(error) => (Value::Null, json!(error)),
    };
    Some(json!({ "id": id, "result": result, "error": error }))
}

fn call(request: &Value) -> Result<i64, String> {
    match request["method"].as_str() {
        Some("Arith.Multiply") => {
            let number = |name: &str| {
                let number = request["params"][0][name].as_i64();
                number.ok_or_else(|| format!("{name} is not a whole number of 64 bits"))
            };
            number("A")?.checked_mul(number("B")?).ok_or_else(|| "the product overflows".to_owned())
        }
        Some(method) => Err(format!("no method {method}; there is Arith.Multiply")),
        None => Err("the method has to be a string".to_owned()),
    }
}

fn main() -> io::Result<()> {
    let mut reactor = Reactor::new(Config::default())?;
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:30002".to_owned());
    let endpoint: Endpoint = address.parse()?;
    println!("listening on {}", reactor.listen(endpoint, JsonRpc)?);
    reactor.run()
}
