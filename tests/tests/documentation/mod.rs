//! The documentation is true: links lead somewhere, code is code, commands and names exist, tables name all.

mod blocks;
mod commands;
mod links;
mod names;
mod pages;
mod protocol;
mod shell;
mod source;
mod tables;
