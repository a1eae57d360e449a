//! What runs in browsers, in a real one: the client, the React hooks, the demonstration page.

mod blocked;
mod client;
mod demo;
mod hooks;
