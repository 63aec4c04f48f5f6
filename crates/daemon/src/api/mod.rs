//! Doors: where somebody asks for something. They turn bytes into requests and answers into bytes, and decide nothing.

pub(crate) mod native;
pub(crate) mod pm2;
