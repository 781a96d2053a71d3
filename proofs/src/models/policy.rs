//! What holds of a subscription that keeps itself up, in every state (sessions.md §3): a
//! statement or two for each of the ten points of its list, over what an observer sees.
//!
//! A model of a subscription, ours or another, implements [`Observed`] for its states, tells its
//! [`Record`] what happened, and gets [`properties`].

use stateright::{Model, Property};

/// A statement about a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Statement {
    /// Point 1.
    BudgetsEnd,
    /// Point 2.
    FailedDialsAreRetried,
    /// Point 3.
    LateEventsAreIgnored,
    /// Point 4, of two transports.
    OneTransport,
    /// Point 4, of a transport after the end.
    NoneAfterClose,
    /// Point 5.
    NoWaitWithoutDeadline,
    /// Point 6.
    NothingSentIsLost,
    /// Point 7.
    RequestsEndWithTheirConnection,
    /// Point 8.
    ClientsAreSpread,
    /// Point 9, of the budget.
    SleepRestoresBudgets,
    /// Point 9, of the connection.
    SleepProbes,
    /// Point 10.
    PassingRefusalsAreRetried,
}

impl Statement {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::BudgetsEnd,
        Self::FailedDialsAreRetried,
        Self::LateEventsAreIgnored,
        Self::OneTransport,
        Self::NoneAfterClose,
        Self::NoWaitWithoutDeadline,
        Self::NothingSentIsLost,
        Self::RequestsEndWithTheirConnection,
        Self::ClientsAreSpread,
        Self::SleepRestoresBudgets,
        Self::SleepProbes,
        Self::PassingRefusalsAreRetried,
    ];

    /// Which point of the list it is about.
    #[must_use]
    pub const fn point(self) -> u8 {
        match self {
            Self::BudgetsEnd => 1,
            Self::FailedDialsAreRetried => 2,
            Self::LateEventsAreIgnored => 3,
            Self::OneTransport | Self::NoneAfterClose => 4,
            Self::NoWaitWithoutDeadline => 5,
            Self::NothingSentIsLost => 6,
            Self::RequestsEndWithTheirConnection => 7,
            Self::ClientsAreSpread => 8,
            Self::SleepRestoresBudgets | Self::SleepProbes => 9,
            Self::PassingRefusalsAreRetried => 10,
        }
    }

    /// Its words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::BudgetsEnd => "a server that only accepts is not dialled for ever",
            Self::FailedDialsAreRetried => "a failed dial ends nothing while retries are left",
            Self::LateEventsAreIgnored => "what a replaced transport does changes nothing",
            Self::OneTransport => "at most one transport lives",
            Self::NoneAfterClose => "no transport lives after the end",
            Self::NoWaitWithoutDeadline => "no state waits without a deadline",
            Self::NothingSentIsLost => "what was taken to be sent is sent or kept",
            Self::RequestsEndWithTheirConnection => "a request ends with its connection",
            Self::ClientsAreSpread => "clients that lose a server together return apart",
            Self::SleepRestoresBudgets => "a sleep makes the budgets whole",
            Self::SleepProbes => "a connection that slept is probed at once",
            Self::PassingRefusalsAreRetried => "a refusal that may pass ends nothing",
        }
    }
}

/// Which budget a retry is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Budget {
    /// The session was not found.
    NotFound,
    /// Anything else that may pass.
    Transient,
}

impl Budget {
    /// How many retries there are in a row (sessions.md §3, the policy's table).
    #[must_use]
    pub const fn most(self) -> u8 {
        match self {
            Self::NotFound => 3,
            Self::Transient => 5,
        }
    }
}

/// What an observer remembers of a subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Record {
    /// What is looked for; everything, when nobody says.
    only: Option<Statement>,
    not_found: u8,
    transient: u8,
    wrong: Option<Statement>,
}

impl Record {
    /// One that looks for a violation of `statement` alone, so that states which differ in
    /// others are one.
    #[must_use]
    pub fn of(statement: Statement) -> Self {
        Self {
            only: Some(statement),
            ..Self::default()
        }
    }

    fn looks_for(&self, statement: Statement) -> bool {
        self.only.is_none_or(|only| only == statement)
    }

    fn is_wrong(&mut self, statement: Statement, wrong: bool) {
        if wrong && self.looks_for(statement) {
            self.wrong = self.wrong.or(Some(statement));
        }
    }

    /// A retry was scheduled.
    pub fn retries(&mut self, budget: Budget) {
        if self.looks_for(Statement::BudgetsEnd) {
            let spent = match budget {
                Budget::NotFound => &mut self.not_found,
                Budget::Transient => &mut self.transient,
            };
            *spent = spent.saturating_add(1);
            let wrong = *spent > budget.most();
            self.is_wrong(Statement::BudgetsEnd, wrong);
        }
    }

    /// The budgets may be whole again: the connection proved itself, the user forced a new one,
    /// or the machine slept.
    pub fn starts_again(&mut self) {
        (self.not_found, self.transient) = (0, 0);
    }

    /// A dial failed that may be tried again, by itself or by a refusal that may pass, and the
    /// subscription ended or not; `left` says whether it had retries left.
    pub fn dial_failed(&mut self, refused: bool, ended: bool, left: bool) {
        let statement = if refused {
            Statement::PassingRefusalsAreRetried
        } else {
            Statement::FailedDialsAreRetried
        };
        self.is_wrong(statement, ended && left);
    }

    /// A transport that was replaced did something, and the subscription changed or not.
    pub fn late_event(&mut self, changed: bool) {
        self.is_wrong(Statement::LateEventsAreIgnored, changed);
    }

    /// The caller sent something and was told that it was taken; it was written or kept, or
    /// not.
    pub fn sent(&mut self, written_or_kept: bool) {
        self.is_wrong(Statement::NothingSentIsLost, !written_or_kept);
    }

    /// A retry was scheduled; one with another seed would be at another time, or not.
    pub fn scheduled(&mut self, apart: bool) {
        self.is_wrong(Statement::ClientsAreSpread, !apart);
    }

    /// The machine woke from a sleep: how many retries count as spent, and, of a connection
    /// that is open, whether it was probed with a deadline for the answer.
    pub fn woke(&mut self, spent: u8, probed: Option<bool>) {
        self.is_wrong(Statement::SleepRestoresBudgets, spent > 0);
        self.is_wrong(Statement::SleepProbes, probed == Some(false));
        self.starts_again();
    }
}

/// What an observer sees of a subscription.
pub trait Observed {
    /// What it remembers.
    fn record(&self) -> &Record;
    /// Whether the subscription ended.
    fn is_closed(&self) -> bool;
    /// Whether the subscription wants to be connected and is neither idle nor ended.
    fn is_waiting(&self) -> bool;
    /// Whether there is a time at which it does something by itself.
    fn has_deadline(&self) -> bool;
    /// How many of its transports are being dialled or open.
    fn live_transports(&self) -> usize;
    /// Whether a request is pending, while connected, that came over an earlier connection.
    fn has_stale_requests(&self) -> bool;

    /// Whether `statement` holds here.
    fn keeps(&self, statement: Statement) -> bool {
        match statement {
            Statement::OneTransport => self.live_transports() <= 1,
            Statement::NoneAfterClose => !self.is_closed() || self.live_transports() == 0,
            Statement::NoWaitWithoutDeadline => !self.is_waiting() || self.has_deadline(),
            Statement::RequestsEndWithTheirConnection => !self.has_stale_requests(),
            Statement::BudgetsEnd
            | Statement::FailedDialsAreRetried
            | Statement::LateEventsAreIgnored
            | Statement::NothingSentIsLost
            | Statement::ClientsAreSpread
            | Statement::SleepRestoresBudgets
            | Statement::SleepProbes
            | Statement::PassingRefusalsAreRetried => self.record().wrong != Some(statement),
        }
    }
}

/// The statements as invariants of a model, in the order of [`Statement::ALL`].
#[must_use]
pub fn properties<M: Model>() -> Vec<Property<M>>
where
    M::State: Observed,
{
    macro_rules! always {
        ($($statement:ident)*) => {
            vec![$(Property::always(
                Statement::$statement.words(),
                |_: &M, state: &M::State| state.keeps(Statement::$statement),
            )),*]
        };
    }
    always! {
        BudgetsEnd FailedDialsAreRetried LateEventsAreIgnored OneTransport NoneAfterClose
        NoWaitWithoutDeadline NothingSentIsLost RequestsEndWithTheirConnection ClientsAreSpread
        SleepRestoresBudgets SleepProbes PassingRefusalsAreRetried
    }
}
