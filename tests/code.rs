//! Cloud code over HTTP: what handlers are given, what they may do, and what their callers see of it.

mod after_event;
mod after_save;
mod before_save;
mod delete;
mod functions;
mod gate;
pub mod listener;
mod loading;
mod modules;
mod outbound;
mod product_page;
mod validators;
