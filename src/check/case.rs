//! A case: what it is called, why it matters, what it applies to, and its script.

use super::{
    scene::Scene,
    target::{Kind, Target},
    verdict::Verdict,
};

/// One case of the suite.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) group: &'static str,
    /// Why it matters.
    pub(crate) why: &'static str,
    /// What a correct server does.
    pub(crate) right: &'static str,
    /// The protocols that it applies to.
    pub(crate) on: &'static [Kind],
    pub(crate) when: When,
    pub(crate) run: fn(&Scene<'_>) -> Verdict,
}

/// What else must hold for a case to apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Always,
    /// A message can be empty.
    EmptyFits,
    /// The limit is known, and the protocol can announce more.
    LimitKnown,
    /// Lengths can be read as negative.
    LengthMayBeNegative,
    /// Lengths count the head that they are in.
    LengthCountsHead,
    /// Lengths are varints.
    LengthIsVarint,
    /// A head can be split.
    HeadOfSeveralBytes,
    /// There are bytes before the length.
    BytesBeforeLength,
    /// Over TCP without TLS: Unix sockets have nothing of the kind, and inside TLS it would be a damaged record.
    Tcp,
    /// The server was started by `--server`, so that its process can be watched and signalled. Otherwise skipped.
    OwnServer,
    /// The same, and messages of several megabytes can be announced.
    OwnServerAndLongMessages,
}

/// Bytes of a long message.
const LONG: u64 = 4 << 20;

impl When {
    /// Whether the case needs `--server`.
    pub(crate) const fn needs_server(self) -> bool {
        matches!(self, Self::OwnServer | Self::OwnServerAndLongMessages)
    }

    /// The condition in words, if there is one.
    pub(crate) const fn condition(self) -> Option<&'static str> {
        match self {
            Self::Always => None,
            Self::EmptyFits => Some("if a message can be empty"),
            Self::LimitKnown => Some("if the limit is known, and more can be announced"),
            Self::LengthMayBeNegative => Some("if lengths can be read as negative"),
            Self::LengthCountsHead => Some("if lengths count their head"),
            Self::LengthIsVarint => Some("if lengths are varints"),
            Self::HeadOfSeveralBytes => Some("if a head has several bytes"),
            Self::BytesBeforeLength => Some("if bytes come before the length"),
            Self::Tcp => Some("over TCP without TLS"),
            Self::OwnServer => Some("with --server"),
            Self::OwnServerAndLongMessages => Some("with --server, if messages can have 4 MiB"),
        }
    }

    fn holds(self, target: &Target) -> bool {
        match self {
            Self::Always | Self::OwnServer => true,
            Self::EmptyFits => target.least() == 0,
            Self::LimitKnown => target.over_the_limit().is_some(),
            Self::LengthMayBeNegative => target.negative_length().is_some(),
            Self::LengthCountsHead => target.length_below_head().is_some(),
            Self::LengthIsVarint => target.overlong_varint().is_some(),
            Self::HeadOfSeveralBytes => {
                let payload = target.fitted(vec![b'x'; 200]);
                target.head(&target.message(&payload), &payload) > 1
            }
            Self::BytesBeforeLength => target.dialect.offset() > 0,
            Self::Tcp => !target.place.is_unix() && !target.place.listen().tls,
            Self::OwnServerAndLongMessages => {
                target.longest() >= LONG && target.announced(target.longest()).is_some()
            }
        }
    }
}

impl Case {
    /// What it applies to, in words: `frames, ws; over TCP`.
    pub(crate) fn scope(&self) -> String {
        let names: Vec<&str> = self.on.iter().map(|kind| kind.name()).collect();
        let condition = self.when.condition().map(|condition| format!("; {condition}"));
        names.join(", ") + &condition.unwrap_or_default()
    }

    pub(crate) fn applies(&self, target: &Target) -> bool {
        self.on.contains(&target.kind) && self.when.holds(target)
    }
}
