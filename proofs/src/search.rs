//! An exact breadth-first search over a stateright [`Model`]: shortest traces, the count of
//! states, and progress over the whole graph.
//!
//! stateright's own traces need not be shortest and its `eventually` gives up on joins and
//! cycles; this search keeps every edge, so that a promise is decided and not sampled. It
//! hashes with another function than stateright does, so that equal counts also tell that
//! neither dropped a state to a collision.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};

use stateright::{Expectation, Model, Property};

/// What must come about, judged over all paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Promise {
    /// From every reachable state a good one stays reachable.
    StaysReachable,
    /// Every path comes to a good state, also when from some point on the world does nothing
    /// and the machine and its clock go on alone: outside the good states there is neither a
    /// dead end nor a cycle, in the whole graph and among the machine's own steps.
    Inevitable,
}

/// A promise of a model.
pub struct Goal<M: Model> {
    /// How strong it is.
    pub promise: Promise,
    /// Its words.
    pub name: &'static str,
    /// Which states keep it.
    pub good: fn(&M, &M::State) -> bool,
}

/// A model with promises. [`Model::properties`] has its invariants.
pub trait Proof: Model {
    /// What must come about.
    fn goals(&self) -> Vec<Goal<Self>>;

    /// Whether the action is one of the machine, its shell and its clock, which do what they
    /// can, and not one of the world, which does what it likes.
    fn is_own(&self, action: &Self::Action) -> bool;
}

/// A property that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The property.
    pub name: &'static str,
    /// The actions of a shortest path to a state that breaks it; empty where none of the
    /// states is an example.
    pub trace: Vec<String>,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    /// How many different states there are.
    pub states: usize,
    /// How many transitions.
    pub edges: usize,
    /// How many actions the longest of all shortest paths has.
    pub depth: usize,
    /// What does not hold, in the order of being found.
    pub failures: Vec<Failure>,
}

/// The states found, by number: fingerprints, parents, judgements, transitions.
#[derive(Default)]
struct Graph {
    numbers: HashMap<u64, u32, BuildHasherDefault<Given>>,
    parents: Vec<u32>,
    /// One bit a goal: whether the state is good for it.
    good: Vec<u8>,
    edges: Vec<Edge>,
}

/// A fingerprint is its own hash.
#[derive(Default)]
struct Given(u64);

impl Hasher for Given {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        unreachable!("{} bytes are no fingerprint", bytes.len());
    }

    fn write_u64(&mut self, fingerprint: u64) {
        self.0 = fingerprint;
    }
}

#[derive(Clone, Copy)]
struct Edge {
    from: u32,
    /// The lowest bit: whether the machine's own; the others: the number of the state.
    to: u32,
}

impl Edge {
    const fn to(self) -> u32 {
        self.to >> 1
    }

    const fn is_own(self) -> bool {
        self.to & 1 == 1
    }
}

/// How far a search goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Until<'a> {
    /// Through the whole state space.
    End,
    /// Until an invariant is broken: what breaks one may make the state space endless.
    Broken,
    /// Until this invariant is broken.
    This(&'a str),
}

/// Searches the state space of `model`.
///
/// # Panics
///
/// With more than 2^31 states or 8 goals.
pub fn search<M>(model: &M, until: Until<'_>) -> Findings
where
    M: Proof,
    M::State: Clone + Hash + PartialEq,
    M::Action: Debug,
{
    let mut invariants = model.properties();
    let goals = model.goals();
    assert!(goals.len() <= 8, "one bit a goal");
    let mut graph = Graph::default();
    let mut failures = Vec::new();
    let mut depth = 0;
    let mut level = Vec::new();
    let mut actions = Vec::new();
    for state in model.init_states() {
        graph.enter(None, state, &mut level);
    }
    loop {
        let mut next = Vec::new();
        for (number, state) in level {
            graph.judge(model, &goals, &state);
            let broken = settle(model, &mut invariants, &state);
            for name in broken {
                let trace = graph.trace(model, number);
                failures.push(Failure { name, trace });
                if until == Until::Broken || until == Until::This(name) {
                    return graph.findings(depth, failures);
                }
            }
            model.actions(&state, &mut actions);
            for action in actions.drain(..) {
                let own = model.is_own(&action);
                if let Some(after) = model.next_state(&state, action) {
                    graph.enter(Some((number, own)), after, &mut next);
                }
            }
        }
        if next.is_empty() {
            break;
        }
        depth += 1;
        level = next;
    }
    let unseen = |property: &&Property<M>| property.expectation == Expectation::Sometimes;
    failures.extend(invariants.iter().filter(unseen).map(|property| Failure {
        name: property.name,
        trace: Vec::new(),
    }));
    for (bit, goal) in goals.iter().enumerate() {
        if let Some(number) = graph.first_astray(bit, goal.promise) {
            let trace = graph.trace(model, number);
            failures.push(Failure {
                name: goal.name,
                trace,
            });
        }
    }
    graph.findings(depth, failures)
}

/// Takes out of `open` what `state` decides; returns the names of those that it breaks.
fn settle<M: Model>(model: &M, open: &mut Vec<Property<M>>, state: &M::State) -> Vec<&'static str> {
    let mut broken = Vec::new();
    open.retain(|property| {
        let holds = (property.condition)(model, state);
        match property.expectation {
            Expectation::Always if !holds => broken.push(property.name),
            Expectation::Sometimes if holds => return false,
            Expectation::Always | Expectation::Sometimes => return true,
            Expectation::Eventually => panic!("{}: to be a goal", property.name),
        }
        false
    });
    broken
}

fn fingerprint<S: Hash>(state: &S) -> u64 {
    let mut bytes = Bytes(Vec::with_capacity(2_048));
    state.hash(&mut bytes);
    bytes.finish()
}

/// What a state gives to be hashed, to be hashed at once: that is faster than word by word.
struct Bytes(Vec<u8>);

impl Hasher for Bytes {
    fn finish(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write(&self.0);
        hasher.finish()
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

/// The parent of a state that has none.
const NONE: u32 = u32::MAX;

impl Graph {
    fn enter<S: Hash>(&mut self, by: Option<(u32, bool)>, state: S, fresh: &mut Vec<(u32, S)>) {
        let next = u32::try_from(self.parents.len()).expect("fewer than 2^31 states");
        let number = *self.numbers.entry(fingerprint(&state)).or_insert(next);
        assert!(number <= NONE >> 1, "fewer than 2^31 states");
        if let Some((from, own)) = by {
            let to = number << 1 | u32::from(own);
            self.edges.push(Edge { from, to });
        }
        if number == next {
            self.parents.push(by.map_or(NONE, |(from, _)| from));
            fresh.push((number, state));
        }
    }

    /// Must be called once a state, in the order of their numbers.
    fn judge<M: Model>(&mut self, model: &M, goals: &[Goal<M>], state: &M::State) {
        let bits = goals.iter().enumerate().map(|(bit, goal)| {
            let good = (goal.good)(model, state);
            u8::from(good) << bit
        });
        self.good.push(bits.fold(0, |all, bit| all | bit));
    }

    fn findings(self, depth: usize, failures: Vec<Failure>) -> Findings {
        Findings {
            states: self.parents.len(),
            edges: self.edges.len(),
            depth,
            failures,
        }
    }

    /// The actions that lead to a state, found by walking the path to it again.
    fn trace<M>(&self, model: &M, number: u32) -> Vec<String>
    where
        M: Model,
        M::State: Hash,
        M::Action: Debug,
    {
        let mut path = vec![number];
        let mut at = number;
        while let Some(&parent) = self.parents.get(index(at)).filter(|p| **p != NONE) {
            path.push(parent);
            at = parent;
        }
        let is =
            |state: &M::State, number: u32| self.numbers.get(&fingerprint(state)) == Some(&number);
        let mut steps = Vec::new();
        let mut state = model.init_states().into_iter().find(|state| is(state, at));
        for number in path.into_iter().rev().skip(1) {
            let Some(before) = state else { break };
            let found = model.next_steps(&before).into_iter();
            let step = found.into_iter().find(|(_, after)| is(after, number));
            state = step.map(|(action, after)| {
                steps.push(model.format_action(&action));
                after
            });
        }
        steps
    }

    /// The first state for which the promise of goal `bit` does not hold.
    fn first_astray(&self, bit: usize, promise: Promise) -> Option<u32> {
        let first = match promise {
            Promise::StaysReachable => self.astray(bit, promise, |_| true).first,
            Promise::Inevitable => {
                let own = self.astray(bit, promise, Edge::is_own);
                let any = self.astray(bit, promise, |_| true);
                // A path that ends says more than the state from which there is one.
                let dead_end = own.dead_end.or(any.dead_end);
                dead_end.or(own.first).or(any.first)
            }
        };
        first.and_then(|at| u32::try_from(at).ok())
    }

    /// The states for which a promise does not hold along the edges of one kind.
    fn astray(&self, bit: usize, promise: Promise, kind: fn(Edge) -> bool) -> Astray {
        let mut sure: Vec<bool> = self.good.iter().map(|bits| bits >> bit & 1 == 1).collect();
        let into = Incoming::new(self.parents.len(), || {
            self.edges.iter().copied().filter(|edge| kind(*edge))
        });
        let mut left = vec![0_u32; sure.len()];
        for edge in self.edges.iter().filter(|edge| kind(**edge)) {
            if let Some(left) = left.get_mut(index(edge.from)) {
                *left += 1;
            }
        }
        let dead_ends: Vec<bool> = left.iter().map(|left| *left == 0).collect();
        let good = sure.iter().enumerate().filter(|(_, sure)| **sure);
        let mut queue: Vec<usize> = good.map(|(at, _)| at).collect();
        while let Some(at) = queue.pop() {
            for from in into.of(at).iter().map(|from| index(*from)) {
                let (Some(sure), Some(left)) = (sure.get_mut(from), left.get_mut(from)) else {
                    continue;
                };
                *left -= 1;
                let decided = *left == 0 || promise == Promise::StaysReachable;
                if decided && !*sure {
                    *sure = true;
                    queue.push(from);
                }
            }
        }
        let astray = || {
            sure.iter()
                .zip(&dead_ends)
                .enumerate()
                .filter(|(_, (sure, _))| !**sure)
        };
        Astray {
            first: astray().next().map(|(at, _)| at),
            dead_end: astray()
                .find(|(_, (_, dead_end))| **dead_end)
                .map(|(at, _)| at),
        }
    }
}

struct Astray {
    first: Option<usize>,
    dead_end: Option<usize>,
}

/// The transitions into each state.
struct Incoming {
    starts: Vec<u32>,
    froms: Vec<u32>,
}

impl Incoming {
    fn new<I: Iterator<Item = Edge>>(states: usize, edges: impl Fn() -> I) -> Self {
        let mut starts = vec![0_u32; states + 1];
        for edge in edges() {
            if let Some(count) = starts.get_mut(index(edge.to()) + 1) {
                *count += 1;
            }
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let mut cursor = starts.clone();
        let mut froms = vec![0_u32; index(sum)];
        for edge in edges() {
            if let Some(cursor) = cursor.get_mut(index(edge.to())) {
                if let Some(slot) = froms.get_mut(index(*cursor)) {
                    *slot = edge.from;
                }
                *cursor += 1;
            }
        }
        Self { starts, froms }
    }

    fn of(&self, at: usize) -> &[u32] {
        let end = |at: usize| self.starts.get(at).map_or(0, |end| index(*end));
        self.froms.get(end(at)..end(at + 1)).unwrap_or_default()
    }
}

fn index(number: u32) -> usize {
    usize::try_from(number).expect("a 32-bit number is an index")
}
