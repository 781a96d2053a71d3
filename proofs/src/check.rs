//! Runs a model through both searches and says what they found.

use std::fmt::{self, Debug};
use std::hash::Hash;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use stateright::{Checker, Expectation, Model};

use crate::search::{Failure, Findings, Proof, Until, search};

/// How large a state space is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Size {
    /// For an unoptimised test.
    Small,
    /// For a look.
    Quick,
    /// For the record.
    Deep,
}

/// What a model says of its states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Statement {
    /// Its words.
    pub name: &'static str,
    /// Whether one state is enough, which shows that the model gets there.
    pub is_example: bool,
}

/// A model under its name.
pub struct Named {
    /// The name.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    statements: Box<dyn Fn() -> Vec<Statement>>,
    check: Box<dyn Fn(Size, Until<'static>) -> Report>,
    explore: Box<dyn Fn(u16)>,
}

impl Named {
    pub(crate) fn new<M>(name: &'static str, about: &'static str, model: fn(Size) -> M) -> Self
    where
        M: Proof + Send + Sync + 'static,
        M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
        M::Action: Clone + Debug + PartialEq + Send + Sync,
    {
        Self {
            name,
            about,
            statements: Box::new(move || statements(&model(Size::Small))),
            check: Box::new(move |size, until| Report::new(model, size, until)),
            explore: Box::new(move |port| {
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                model(Size::Quick).checker().serve(address);
            }),
        }
    }

    /// Its invariants, examples and goals.
    #[must_use]
    pub fn statements(&self) -> Vec<Statement> {
        (self.statements)()
    }

    /// Searches it twice; only once where the first search ended before its end.
    #[must_use]
    pub fn check(&self, size: Size, until: Until<'static>) -> Report {
        (self.check)(size, until)
    }

    /// Serves stateright's explorer on a port of the loopback interface.
    pub fn explore(&self, port: u16) {
        (self.explore)(port);
    }
}

fn statements<M: Proof>(model: &M) -> Vec<Statement> {
    let properties = model.properties().into_iter().map(|property| Statement {
        name: property.name,
        is_example: property.expectation == Expectation::Sometimes,
    });
    let goals = model.goals().into_iter().map(|goal| Statement {
        name: goal.name,
        is_example: false,
    });
    properties.chain(goals).collect()
}

/// What both searches found.
#[derive(Clone, Debug)]
pub struct Report {
    /// What the exact search found.
    pub findings: Findings,
    /// How long it took.
    pub took: Duration,
    /// How many states stateright found.
    pub stateright_states: usize,
    /// Which properties stateright found broken.
    pub stateright_failures: Vec<&'static str>,
    /// How long it took.
    pub stateright_took: Duration,
}

impl Report {
    fn new<M>(model: fn(Size) -> M, size: Size, until: Until<'_>) -> Self
    where
        M: Proof + Send + Sync + 'static,
        M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
        M::Action: Clone + Debug + PartialEq + Send + Sync,
    {
        let start = Instant::now();
        let findings = search(&model(size), until);
        let took = start.elapsed();
        if until != Until::End && !findings.failures.is_empty() {
            return Self {
                stateright_states: findings.states,
                findings,
                took,
                stateright_failures: Vec::new(),
                stateright_took: Duration::ZERO,
            };
        }
        let start = Instant::now();
        let checker = model(size).checker().spawn_dfs().join();
        Self {
            findings,
            took,
            stateright_states: checker.unique_state_count(),
            stateright_failures: broken(&checker),
            stateright_took: start.elapsed(),
        }
    }

    /// Whether all holds, and both searches saw as many states.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.findings.failures.is_empty()
            && self.stateright_failures.is_empty()
            && self.findings.states == self.stateright_states
    }
}

/// Which invariants a stateright search found broken.
pub fn broken<M>(checker: &impl Checker<M>) -> Vec<&'static str>
where
    M: Model,
    M::State: Clone + Debug + Hash + PartialEq,
    M::Action: Clone + Debug + PartialEq,
{
    let found = checker.discoveries().into_keys();
    let properties = checker.model().properties();
    let failure = |name: &&str| {
        let mut of_name = properties.iter().filter(|property| property.name == *name);
        of_name.any(|property| property.expectation.discovery_is_failure())
    };
    found.filter(failure).collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Findings {
            states,
            edges,
            depth,
            failures,
        } = &self.findings;
        writeln!(
            f,
            "{states} states, {edges} transitions, depth {depth}, in {:.1?}; stateright: {} states in {:.1?}",
            self.took, self.stateright_states, self.stateright_took,
        )?;
        for Failure { name, trace } in failures {
            writeln!(f, "  BROKEN: {name}")?;
            for step in trace {
                writeln!(f, "    {step}")?;
            }
        }
        for name in &self.stateright_failures {
            writeln!(f, "  BROKEN, says stateright: {name}")?;
        }
        if *states != self.stateright_states {
            writeln!(f, "  BROKEN: the counts of states differ")?;
        }
        Ok(())
    }
}
