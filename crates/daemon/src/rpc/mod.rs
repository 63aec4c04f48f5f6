//! The native socket: clients come and go, a bad frame closes that connection only.

mod client;

pub(crate) use client::Clients;
