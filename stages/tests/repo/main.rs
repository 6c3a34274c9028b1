//! The repo: its store, its stage, its services.
