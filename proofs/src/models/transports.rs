//! The transports of a shell: one may live, and the events of the one before may still come.

use hallway_core::backoff::Epoch;

/// The transport that the shell holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Transport {
    pub(super) epoch: Epoch,
    pub(super) open: bool,
}

/// What the shell holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Transports {
    pub(super) live: Option<Transport>,
    /// The one before: its events may still come.
    pub(super) replaced: Option<Epoch>,
    /// One was dialled while another lived, or after the end.
    pub(super) two_lived: bool,
}

impl Transports {
    pub(super) fn epoch(&self) -> Option<Epoch> {
        self.live.map(|transport| transport.epoch)
    }

    /// The one that is dialled.
    pub(super) fn dialled(&self) -> Option<Epoch> {
        let live = self.live.filter(|transport| !transport.open);
        live.map(|transport| transport.epoch)
    }

    /// The one that is open.
    pub(super) fn open(&self) -> Option<Epoch> {
        let live = self.live.filter(|transport| transport.open);
        live.map(|transport| transport.epoch)
    }

    /// The machine wants a dial, maybe after its end.
    pub(super) fn dial(&mut self, epoch: Epoch, ended: bool) {
        self.two_lived |= self.live.is_some() || ended;
        self.live = Some(Transport { epoch, open: false });
    }

    /// What is dialled opens.
    pub(super) fn opens(&mut self) -> Option<Epoch> {
        let epoch = self.dialled()?;
        self.live = Some(Transport { epoch, open: true });
        Some(epoch)
    }

    /// The one that lives is gone.
    pub(super) fn leave(&mut self) {
        self.replaced = self.epoch();
        self.live = None;
    }
}
