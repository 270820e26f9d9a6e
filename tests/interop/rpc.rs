//! The servers of `examples/json_rpc.rs` and `examples/gob_rpc.rs`, called by Go's own client.

use std::{sync::mpsc, thread};

use resound::{Config, Reactor, protocol::Protocol};

use crate::{go, run};

#[path = "../../examples/gob_rpc.rs"]
#[allow(dead_code, reason = "its main is for who runs it by itself")]
mod gob_rpc;
#[path = "../../examples/json_rpc.rs"]
#[allow(dead_code, reason = "its main is for who runs it by itself")]
mod json_rpc;

#[test]
fn go_calls_a_method_over_json() {
    let Some(frames) = frames_of_calls("json", json_rpc::JsonRpc) else { return };
    assert_eq!(frames, 1005, "a line for each call");
}

#[test]
fn go_calls_a_method_over_gob() {
    let Some(frames) = frames_of_calls("gob", gob_rpc::protocol()) else { return };
    assert_eq!(
        frames, 2012,
        "two messages for each call, and the types of a request and of its argument"
    );
}

/// Runs the client, which makes 1,005 calls, and returns how many frames the server received; `None` where there is no Go.
fn frames_of_calls(codec: &str, protocol: impl Protocol + Send + 'static) -> Option<u64> {
    let mut client = go("rpc.go")?;
    let (started, starting) = mpsc::channel();
    let server = thread::spawn(move || {
        let mut reactor = Reactor::new(Config::default()).unwrap();
        let address = reactor.listen(([127, 0, 0, 1], 0), protocol).unwrap();
        started.send((address, reactor.handle())).unwrap();
        reactor.run().unwrap();
        reactor.stats().total().frames.value()
    });
    let (address, handle) = starting.recv().unwrap();
    let printed = run(client.arg(codec).arg(address.to_string()));
    assert_eq!(
        printed,
        "no method Arith.Divide; there is Arith.Multiply\n\
         the product overflows\n\
         A is not a whole number of 64 bits\n"
    );
    handle.stop();
    Some(server.join().unwrap())
}
