//! Protocols around a protocol pass on every call and every answer that they do not change.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use super::{
    Ending, Next, Output, Protocol, Received, Refusal,
    fault::{Faults, Faulty, Units},
    identity::{Banner, Template, line},
    proxy::{Mode, Proxied},
};
use crate::{Ends, Peer, Reason, Token};

const CONNECTION: Token = Token::new(1, 1);
const HEADER: &[u8] = b"PROXY UNKNOWN\r\n";
const ANSWER: Received = Received::echo(2, 7, Next::Full);
const REFUSAL: Refusal = Refusal::NotAllowed("test");

/// Notes each call, and answers differently from each default.
#[derive(Debug, Default, Clone)]
struct Recorder(Rc<RefCell<Vec<String>>>);

impl Recorder {
    fn note(&self, call: String) {
        self.0.borrow_mut().push(call);
    }
}

impl Protocol for Recorder {
    fn opened(&mut self, _: Token, ends: &Ends, _: &mut Output) -> Result<(), Refusal> {
        self.note(format!("opened {} {:?}", ends.peer, ends.local));
        Err(REFUSAL)
    }

    fn receive(&mut self, _: Token, input: &[u8], seen: usize, _: &mut Output) -> Received {
        self.note(format!("receive {} {seen}", input.escape_ascii()));
        ANSWER
    }

    fn ending(&mut self, _: Token, cause: Ending, _: &mut Output) {
        self.note(format!("ending {cause:?}"));
    }

    fn half_closed(&mut self, _: Token, _: &mut Output) {
        self.note("half-closed".to_owned());
    }

    fn closed(&mut self, _: Token, reason: Reason) {
        self.note(format!("closed {reason:?}"));
    }

    fn sent(&mut self, _: Token, _: &mut Output) {
        self.note("sent".to_owned());
    }

    fn called(&mut self, _: Token, _: &mut Output) {
        self.note("called".to_owned());
    }

    fn spoken(&mut self, _: Token, _: &mut Output) {
        self.note("spoken".to_owned());
    }

    fn reads_while_owed(&self) -> bool {
        true
    }

    fn begins_with_handshake(&self) -> bool {
        true
    }

    fn introduces_peers(&self) -> bool {
        true
    }

    fn describe(&self, _: Token) -> Option<Vec<u8>> {
        Some(b"state".to_vec())
    }

    fn restore(&mut self, _: Token, ends: &Ends, state: &[u8]) -> bool {
        self.note(format!("restore {} {}", ends.peer, state.escape_ascii()));
        true
    }
}

/// Makes every call on `wrapper`, after `before` has come in front of everything.
fn call_all(mut wrapper: impl Protocol, before: &[u8]) {
    let mut out = Output::new(1000);
    let ends = Ends::new(Peer::Unix, "127.0.0.1:7".parse().ok());
    let opened = wrapper.opened(CONNECTION, &ends, &mut out);
    if before.is_empty() {
        assert_eq!(opened, Err(REFUSAL));
    } else {
        assert_eq!(opened, Ok(()));
        let received = wrapper.receive(CONNECTION, before, 0, &mut out);
        assert_eq!(received, Received::answered(before.len(), 0, Next::Refuse(REFUSAL)));
    }
    assert_eq!(wrapper.receive(CONNECTION, b"hello", 3, &mut out), ANSWER);
    wrapper.sent(CONNECTION, &mut out);
    wrapper.called(CONNECTION, &mut out);
    wrapper.spoken(CONNECTION, &mut out);
    let state = wrapper.describe(CONNECTION).unwrap();
    assert!(state.ends_with(b"state"));
    assert!(wrapper.restore(CONNECTION, &ends, &state));
    wrapper.ending(CONNECTION, Ending::Idle, &mut out);
    wrapper.half_closed(CONNECTION, &mut out);
    wrapper.closed(CONNECTION, Reason::Idle);
    assert!(wrapper.reads_while_owed());
    assert!(wrapper.begins_with_handshake());
    assert!(wrapper.introduces_peers());
}

#[test]
fn every_call_reaches_the_protocol_inside() {
    let recorder = Recorder::default();
    let inner = || recorder.clone();
    let banner = Template::parse("hello", "").unwrap();
    let boxed: Box<dyn Protocol> = Box::new(inner());
    let faults = |plan: &str| Arc::new(Faults::new(plan.parse().unwrap()));
    let wrappers: [(Box<dyn Protocol>, &[u8]); 5] = [
        (Box::new(inner()), b""),
        (Box::new(boxed), b""),
        (Box::new(Banner::new(banner, line, inner())), b""),
        (Box::new(Proxied::new(Mode::Any, inner())), HEADER),
        (Box::new(Faulty::new(faults("drop#2"), Units::Bytes, inner())), b""),
    ];
    for (index, (wrapper, before)) in wrappers.into_iter().enumerate() {
        call_all(wrapper, before);
        let calls = recorder.0.take();
        let want = [
            "opened unix Some(127.0.0.1:7)",
            "receive hello 3",
            "sent",
            "called",
            "spoken",
            "restore unix state",
            "ending Idle",
            "half-closed",
            "closed Idle",
        ];
        assert_eq!(calls, want, "wrapper {index}");
    }
}

/// The names of the functions in the block of `source` that starts with `start`.
fn functions<'s>(source: &'s str, start: &str) -> Vec<&'s str> {
    let (_, block) = source.split_once(start).unwrap_or_else(|| panic!("no {start}"));
    let (block, _) = block.split_once("\n}").unwrap();
    let lines = block.lines().filter_map(|line| line.strip_prefix("    fn "));
    lines.map(|line| line.split('(').next().unwrap_or_default()).collect()
}

/// A method with a default is easily forgotten in a wrapper, and nothing but this says so.
#[test]
fn every_wrapper_has_every_method_of_the_trait() {
    let (root, identity, proxy, fault) = (
        include_str!("mod.rs"),
        include_str!("identity.rs"),
        include_str!("proxy.rs"),
        include_str!("fault/layer.rs"),
    );
    let tls = include_str!("tls.rs");
    let mut methods = functions(root, "pub trait Protocol {");
    methods.sort_unstable();
    assert!(methods.len() >= 6, "{methods:?}");
    for (source, start) in [
        (root, "impl<P: Protocol + ?Sized> Protocol for Box<P> {"),
        (identity, "impl<P: Protocol, W: FnMut(&str, &mut Output)> Protocol for Banner<P, W> {"),
        (proxy, "impl<P: Protocol> Protocol for Proxied<P> {"),
        (fault, "impl<P: Protocol> Protocol for Faulty<P> {"),
        (tls, "impl<P: Protocol> Protocol for Tls<P> {"),
    ] {
        let mut forwarded = functions(source, start);
        forwarded.sort_unstable();
        assert_eq!(forwarded, methods, "{start}");
    }
}
