//! What a machine did that it must not do, as a model notes it beside its state.

/// The statements that were broken on the way to a state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Verdicts(Vec<&'static str>);

impl Verdicts {
    /// Notes that `what` holds, or not.
    pub(super) fn expect(&mut self, holds: bool, what: &'static str) {
        if !holds && self.allow(what) {
            self.0.push(what);
        }
    }

    /// Whether `what` has always held.
    pub(super) fn allow(&self, what: &'static str) -> bool {
        !self.0.contains(&what)
    }
}

/// An invariant for each statement that is judged step by step, by where a state has its verdicts.
macro_rules! judged {
    ($state:ident => $verdicts:expr; $($name:ident)*) => {
        vec![$(stateright::Property::always($name, |_, $state: &State| {
            $verdicts.allow($name)
        })),*]
    };
}
pub(super) use judged;
