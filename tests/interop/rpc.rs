//! The JSON-RPC of `examples/json_rpc.rs`, called by Go's own client.

use std::{sync::mpsc, thread};

use resound::{Config, Reactor};

use crate::{go, run};

#[path = "../../examples/json_rpc.rs"]
#[allow(dead_code, reason = "its main is for who runs it by itself")]
mod json_rpc;

#[test]
fn go_calls_a_method() {
    let Some(mut client) = go("jsonrpc.go") else { return };
    let (started, starting) = mpsc::channel();
    let server = thread::spawn(move || {
        let mut reactor = Reactor::new(Config::default()).unwrap();
        let address = reactor.listen(([127, 0, 0, 1], 0), json_rpc::JsonRpc).unwrap();
        started.send((address, reactor.handle())).unwrap();
        reactor.run().unwrap();
        reactor.stats().total().frames.value()
    });
    let (address, handle) = starting.recv().unwrap();
    let printed = run(client.arg(address.to_string()));
    assert_eq!(
        printed,
        "no method Arith.Divide; there is Arith.Multiply\n\
         the product overflows\n\
         A is not a whole number of 64 bits\n"
    );
    handle.stop();
    assert_eq!(server.join().unwrap(), 1005);
}
