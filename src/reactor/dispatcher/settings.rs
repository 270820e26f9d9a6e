//! Changing settings while the loop runs: [`Handle::change`](crate::Handle::change).

use std::time::Duration;

use super::{Dispatcher, drain::Sweep};
use crate::{
    Change, Settings, Token,
    protocol::Protocol,
    reactor::{
        deadlines::{Unit, Wait},
        net::Net,
    },
};

impl<N: Net, P: Protocol> Dispatcher<N, P> {
    /// Makes the changes, in order. Returns all settings.
    pub(super) fn change(&mut self, changes: &[Change]) -> Settings {
        for &change in changes {
            match change {
                Change::MaxConnections(most) => {
                    self.config.max_connections = most;
                    self.limits.set_max_connections(most, self.own);
                    self.woken();
                }
                Change::MaxConnectionsPerIp(most) => self.limits.set_max_connections_per_ip(most),
                Change::MaxMemory(most) => {
                    self.config.max_memory = most;
                    self.limits.memory.set_limit(most);
                }
                Change::IdleTimeout(time) => {
                    self.config.idle_timeout = time;
                    self.set_wait_timeout(Wait::Idle, time);
                }
                Change::WriteTimeout(time) => {
                    self.config.write_timeout = time;
                    self.set_wait_timeout(Wait::Write, time);
                }
                Change::FrameTimeout(time) => {
                    self.config.frame_timeout = time;
                    self.set_unit_timeout(Unit::Frame, time);
                }
                Change::HandshakeTimeout(time) => {
                    self.config.handshake_timeout = time;
                    self.set_unit_timeout(Unit::Handshake, time);
                }
                Change::Grace(time) => self.config.grace = time,
            }
        }
        self.settings()
    }

    fn settings(&self) -> Settings {
        Settings {
            max_connections: self.limits.max_connections(),
            max_connections_per_ip: self.limits.max_connections_per_ip(),
            max_memory: self.limits.max_memory(),
            idle_timeout: self.config.idle_timeout,
            frame_timeout: self.config.frame_timeout,
            handshake_timeout: self.config.handshake_timeout,
            write_timeout: self.config.write_timeout,
            grace: self.config.grace,
        }
    }

    fn set_wait_timeout(&mut self, wait: Wait, timeout: Option<Duration>) {
        let was_limited = self.waits.limits(wait);
        self.waits.set_timeout(wait, timeout);
        self.arm_all(!was_limited && timeout.is_some());
    }

    fn set_unit_timeout(&mut self, unit: Unit, timeout: Option<Duration>) {
        let was_limited = self.units.limits(unit);
        self.units.set_timeout(unit, timeout);
        self.arm_all(!was_limited && timeout.is_some());
    }

    /// Arms the deadlines of all connections in slices, where some have had no limit until now. A drain has deadlines of
    /// its own.
    fn arm_all(&mut self, is_new: bool) {
        if is_new && matches!(self.sweep, None | Some(Sweep::Arm { .. })) {
            self.sweep = Some(Sweep::Arm { next: 0 });
        }
    }

    /// Arms the deadlines of a connection that is doing nothing now.
    pub(super) fn arm(&mut self, token: Token) {
        let connection = &self.connections[token.key()];
        let now = connection.progress();
        let ((wait, _), (unit, _)) = (connection.waits_for(now), connection.receives(now));
        self.set_wait(token.key(), wait, false);
        self.set_unit(token, unit, false);
    }
}
