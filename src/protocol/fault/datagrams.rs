//! Faults of datagrams: what a UDP echo sends in place of each reply.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc};

use super::{
    Faults, Kind, Units,
    content::Content,
    plan::{Hit, Purpose},
    shared::FaultEvent,
};

/// Changes the replies of a UDP echo as the plan of its listener says.
///
/// A reply is a frame. The socket has no connections, so all replies are counted together, whoever gets them; several
/// sockets of one listener share the count.
#[derive(Debug)]
pub(crate) struct FaultyDatagrams {
    faults: Arc<Faults>,
    /// A reply that leaves behind the next one to the same address.
    swapped: Option<Datagram>,
}

/// A reply, and where it goes.
pub(crate) type Datagram = (SocketAddr, Vec<u8>);

impl FaultyDatagrams {
    pub(crate) const fn new(faults: Arc<Faults>) -> Self {
        Self { faults, swapped: None }
    }

    /// Adds what is sent in place of `payload` to what is owed: at most three datagrams.
    pub(crate) fn reply(&mut self, payload: &[u8], to: SocketAddr, owed: &mut VecDeque<Datagram>) {
        let (plan, hit) = self.faults.enter_datagram(payload.len());
        let mut content = Content { bytes: payload.to_vec(), payload: 0..payload.len() };
        let (mut is_dropped, mut is_swapped, mut copies) = (false, false, 1);
        let concern = plan.concerning(hit.connection);
        let mut happening = Vec::new();
        for position in plan.candidates(&concern, hit.frame) {
            let index = concern[position];
            let fault = &plan.faults()[index];
            if !plan.happens(index, hit) {
                continue;
            }
            let mut random = plan.random(index, hit, Purpose::Value);
            let (kind, draw) = fault.kind.settle(random);
            match &*kind {
                Kind::Drop => is_dropped = true,
                Kind::Swap => is_swapped = true,
                Kind::Dup => copies = 2,
                kind => content.change(kind, Units::Datagrams, &mut random),
            }
            happening.push((fault, kind, draw));
        }
        for (fault, kind, draw) in &happening {
            // One that is lost has no other fault.
            if !is_dropped || **kind == Kind::Drop {
                let Hit { connection, frame, before: byte } = hit;
                let draw = *draw;
                self.faults.tell(&FaultEvent::Happens {
                    connection,
                    frame,
                    byte,
                    fault,
                    kind,
                    draw,
                });
            }
        }
        if is_dropped {
            return;
        }
        if is_swapped && self.swapped.as_ref().is_none_or(|(held_for, _)| *held_for != to) {
            // One that waits for another address waits no longer: only one is held.
            owed.extend(self.swapped.replace((to, content.bytes)));
            return;
        }
        owed.extend((1..copies).map(|_| (to, content.bytes.clone())));
        owed.push_back((to, content.bytes));
        owed.extend(self.swapped.take_if(|(held_for, _)| *held_for == to));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::fault::Plan;

    /// Replies to 1, 2, 3 …, each from one of two addresses; what is sent, with the address.
    fn sent(plan: &str, from: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let plan: Plan = plan.parse().unwrap();
        plan.check(Units::Datagrams).unwrap();
        let mut faulty = FaultyDatagrams::new(Arc::new(Faults::new(plan)));
        let mut owed = VecDeque::new();
        for (payload, host) in (1..).zip(from) {
            faulty.reply(&[payload; 3], SocketAddr::from(([127, 0, 0, *host], 9)), &mut owed);
        }
        owed.into_iter()
            .map(|(to, payload)| {
                let SocketAddr::V4(to) = to else { panic!("{to}") };
                (to.ip().octets()[3], payload)
            })
            .collect()
    }

    fn whole(replies: &[(u8, u8)]) -> Vec<(u8, Vec<u8>)> {
        replies.iter().map(|&(host, payload)| (host, vec![payload; 3])).collect()
    }

    #[test]
    fn datagrams_are_lost_doubled_and_cut() {
        assert_eq!(sent("none", &[1, 2, 1]), whole(&[(1, 1), (2, 2), (1, 3)]));
        assert_eq!(sent("drop@2", &[1, 2, 1]), whole(&[(1, 1), (1, 3)]));
        assert_eq!(sent("dup@2", &[1, 2, 1]), whole(&[(1, 1), (2, 2), (2, 2), (1, 3)]));
        assert_eq!(sent("truncate=1@1", &[1]), [(1, vec![1])]);
        assert_eq!(sent("truncate=0@1+dup", &[1]), [(1, vec![]), (1, vec![])]);
        let longer = sent("garbage=4@after=3", &[1, 1]);
        assert_eq!(longer.iter().map(|(_, payload)| payload.len()).collect::<Vec<_>>(), [3, 7]);
        let damaged = sent("corrupt=1bit", &[1]).remove(0).1;
        assert_eq!(damaged.iter().map(|byte| (byte ^ 1).count_ones()).sum::<u32>(), 1);
    }

    #[test]
    fn a_reply_is_swapped_with_the_next_one_to_the_same_address() {
        assert_eq!(sent("swap@1", &[1, 1, 1]), whole(&[(1, 2), (1, 1), (1, 3)]));
        assert_eq!(sent("swap@1", &[1, 2, 1]), whole(&[(2, 2), (1, 3), (1, 1)]));
        // Only one is held.
        assert_eq!(sent("swap", &[1, 2, 2]), whole(&[(1, 1), (2, 3), (2, 2)]));
        assert_eq!(sent("swap", &[1]), []);
    }
}
