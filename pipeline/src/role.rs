//! What a process runs: the gateway, the repo, stages.

use std::fmt;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use crate::topology::{Row, STAGES};

/// A part of GoChat that a process runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// HTTP and WebSocket.
    Gateway,
    /// Users, groups and messages over gRPC.
    Repo,
    /// The stage of this name.
    Stage(&'static str),
}

impl Role {
    /// The gateway, the repo, then the stages in the order of the chain.
    pub fn all() -> impl Iterator<Item = Self> {
        [Self::Gateway, Self::Repo].into_iter().chain(STAGES.iter().map(|&stage| Self::of(stage)))
    }

    /// That of a stage.
    pub fn of(stage: &dyn Row) -> Self {
        Self::Stage(stage.name())
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Repo => "repo",
            Self::Stage(name) => name,
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Gateway => "HTTP and WebSocket",
            Self::Repo => "Users, groups and messages over gRPC",
            Self::Stage(name) => {
                STAGES.iter().find(|stage| stage.name() == name).map_or("", |stage| stage.columns().about)
            }
        }
    }

    /// A role by its name; clap says which there are.
    pub fn parser() -> impl TypedValueParser<Value = Self> {
        PossibleValuesParser::new(Self::all().map(|role| PossibleValue::new(role.name()).help(role.about())))
            .try_map(|name| Self::all().find(|role| role.name() == name).ok_or("there is no such role"))
    }
}

impl fmt::Debug for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
