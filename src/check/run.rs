//! Runs cases, one after the other.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    case::Case, diagram::diagram, scene::Scene, script::Script, subject::Subject, target::Target,
    verdict::Fail,
};
use crate::{
    common::{
        place::Place,
        tls::{self, ClientTerms},
    },
    load::server::stop::Stop,
};

/// What is to be checked, and how.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) target: Target,
    /// Bounds every wait.
    pub(crate) timeout: Duration,
    /// How many descriptors this process may open.
    pub(crate) descriptors: u64,
    /// How TLS is spoken, if the target has it.
    tls: ClientTerms,
    subject: Option<RefCell<Subject>>,
    stop: Stop,
}

/// What became of a case.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) case: &'static Case,
    pub(crate) result: CaseResult,
    pub(crate) took: Duration,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CaseResult {
    Passed,
    /// With the reason.
    Skipped(String),
    Failed {
        expected: String,
        got: String,
        diagram: String,
    },
}

impl Run {
    /// `server` is the command that starts the server, if it is to be started; `given`: the address is the user's.
    pub(crate) fn new(
        target: Target,
        tls: ClientTerms,
        timeout: Duration,
        descriptors: u64,
        stop: Stop,
    ) -> Self {
        Self { target, timeout, descriptors, tls, subject: None, stop }
    }

    /// Starts the server with this command, here and whenever it has ended; `given`: at the target's address.
    ///
    /// # Errors
    ///
    /// Text, if it does not start.
    pub(crate) fn start(&mut self, command: &str, given: bool) -> Result<(), String> {
        let subject = Subject::new(command, &self.target.place, given, &self.stop);
        let place = self.subject.insert(RefCell::new(subject)).borrow_mut().place()?;
        self.target = self.target.at(&place);
        Ok(())
    }

    /// The target at `place`. The files for TLS are read each time: a server that is started may make a new certificate.
    fn target_at(&self, place: &Place) -> Result<Target, String> {
        let connector = tls::connector(place.listen(), &self.tls)?;
        Ok(self.target.at(place).secured(connector))
    }

    /// Connects once, so that a wrong address is one error and not one for each case.
    ///
    /// # Errors
    ///
    /// Text.
    pub(crate) fn connect(&self) -> Result<(), String> {
        let target = self.target_at(&self.target.place)?;
        let scene = self.scene(&target, Script::new());
        let secured = scene.bare_peer("first").and_then(|mut peer| peer.secure().map(|()| peer));
        match secured {
            Ok(peer) => {
                peer.close();
                Ok(())
            }
            Err(Fail::Wrong { got, .. } | Fail::Skipped(got)) => Err(got),
        }
    }

    /// Runs the `cases`, and shows each outcome to `see` as soon as it is there. Stops early at a signal.
    pub(crate) fn run(
        &self,
        cases: &[&'static Case],
        mut see: impl FnMut(&Outcome),
    ) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for &case in cases {
            if self.stop.is_asked_for() {
                break;
            }
            let start = Instant::now();
            let result = self.result(case);
            let outcome = Outcome { case, result, took: start.elapsed() };
            see(&outcome);
            outcomes.push(outcome);
        }
        outcomes
    }

    fn result(&self, case: &Case) -> CaseResult {
        if case.when.needs_server() && self.subject.is_none() {
            return CaseResult::Skipped(
                "needs --server, which starts the server so that its process can be watched"
                    .to_owned(),
            );
        }
        let target = match self.place().and_then(|place| self.target_at(&place)) {
            Ok(target) => target,
            Err(error) => {
                let expected = "the server to start again".to_owned();
                return CaseResult::Failed { expected, got: error, diagram: String::new() };
            }
        };
        let scene = self.scene(&target, Script::new());
        match (case.run)(&scene) {
            Ok(()) => CaseResult::Passed,
            Err(Fail::Skipped(reason)) => CaseResult::Skipped(reason),
            Err(Fail::Wrong { expected, mut got }) => {
                let end = self.subject.as_ref().and_then(|subject| subject.borrow_mut().failed());
                if let Some(end) = end {
                    got = format!("{got}; the server {end}");
                }
                let diagram = diagram(&scene.script.steps(), &expected, &got);
                CaseResult::Failed { expected, got, diagram }
            }
        }
    }

    /// Where the server listens. One that has ended is started again.
    fn place(&self) -> Result<Place, String> {
        match &self.subject {
            None => Ok(self.target.place.clone()),
            Some(subject) => subject.borrow_mut().place(),
        }
    }

    fn scene(&self, target: &Target, script: Script) -> Scene<'_> {
        Scene {
            target: Arc::new(target.clone()),
            timeout: self.timeout,
            script,
            descriptors: self.descriptors,
            subject: self.subject.as_ref(),
            seed: Cell::new(0x6563_686f),
        }
    }
}
