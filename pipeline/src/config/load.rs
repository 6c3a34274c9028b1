//! Reading the configuration: file and environment once, then what the command line says.

use std::ffi::OsString;
use std::path::Path;

use super::Config;
use super::error::{ConfigError, Origin};
use super::layers::{Layers, Origins};

/// A configuration that was read and is not checked yet.
#[derive(Debug)]
pub struct Loaded {
    config: Config,
    origins: Origins,
}

impl Config {
    /// Reads the defaults, the file if one is given, and the environment of this process.
    ///
    /// # Errors
    /// [`ConfigError`], for keys that are unknown and values of another kind.
    pub fn load(file: Option<&Path>) -> Result<Loaded, ConfigError> {
        Self::load_with(file, std::env::vars_os())
    }

    /// The same with this environment.
    pub fn load_with(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Loaded, ConfigError> {
        let mut layers = Layers::over(&Self::default());
        if let Some(path) = file {
            layers.file(path)?;
        }
        layers.environment(variables)?;
        let (config, origins) = layers.read()?;
        Ok(Loaded { config, origins })
    }
}

impl Loaded {
    /// Takes what an option of the command line says of a key, if it was given.
    pub fn option<T>(
        &mut self,
        (option, key): (&'static str, &str),
        given: Option<T>,
        place: impl FnOnce(&mut Config) -> &mut T,
    ) {
        if let Some(value) = given {
            *place(&mut self.config) = value;
            self.origins.insert(key.to_owned(), Origin::Option(option));
        }
    }

    /// The configuration, once all its values are found to be usable.
    ///
    /// # Errors
    /// [`ConfigError::InvalidSetting`] for the first that is not.
    pub fn checked(self) -> Result<Config, ConfigError> {
        self.config.check().map_err(|invalid| {
            let origin = self.origins.get(&invalid.key).cloned().unwrap_or(Origin::Default);
            ConfigError::InvalidSetting { invalid, origin }
        })?;
        Ok(self.config)
    }
}
