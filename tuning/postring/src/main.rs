//! Postring: mail infrastructure in one binary. This crate is the operator's side: plan, supervisor, commands. No protocol code.

mod acme;
mod auth;
mod cli;
mod commands;
mod config;
mod demo;
mod dmarc;
mod dns;
mod init;
mod memory;
mod plan;
mod queue;
mod reference;
mod smtp;
mod supervisor;
mod tls;
mod try_it;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    postring_zones::set_release(memory::release);
    let filter = tracing_subscriber::EnvFilter::try_from_env("POSTRING_LOG").unwrap_or_else(|_| "info,glommio=error".into());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init();
    match commands::run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("postring: {text}");
            ExitCode::FAILURE
        }
    }
}
