//! The setting of one use of hallway: whose files, which bounds.

use std::path::{Path, PathBuf};

use hallway_core::Limits;

use crate::paths::{Environment, PathError};

/// Where the registry and the capabilities are, what the environment says, and the bounds.
#[derive(Clone, Debug)]
pub struct Home {
    environment: Environment,
    config: PathBuf,
    limits: Limits,
}

impl Home {
    /// The home that the process's environment names: `CLAUDE_CONFIG_DIR`, else `~/.claude`.
    ///
    /// # Errors
    ///
    /// [`PathError`] when neither is set or usable.
    pub fn from_process() -> Result<Self, PathError> {
        Self::new(Environment::from_process(), None)
    }

    /// The config home `config`, or the one that `environment` names.
    ///
    /// # Errors
    ///
    /// [`PathError`] when there is none or it cannot be used.
    pub fn new(environment: Environment, config: Option<&Path>) -> Result<Self, PathError> {
        let config = environment.config_home(config)?;
        let limits = Limits::DEFAULT;
        Ok(Self {
            environment,
            config,
            limits,
        })
    }

    /// The same with other bounds.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The config home's path.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// What the environment says.
    #[must_use]
    pub const fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The bounds.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }
}
