//! The gateway from outside: a real listener, real sockets, a repo over real gRPC.

mod bad_input;
mod closing;
mod delivery;
mod harness;
mod log;
mod repo;
mod rest;
mod sending;
mod shapes;
mod web;
