//! What `postring auth` is asked.

use clap::{Args, Subcommand};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum AuthAction {
    /// Validate the ARC chain of a message (RFC 8617): who handled it, and what they found; fails unless the chain is whole
    #[command(
        after_help = "Example:\n  postring auth arc mail.eml\n  postring auth arc --resolver 127.0.0.1:53 --json - < mail.eml"
    )]
    Arc(ArcQuestion),
    /// Verify the DKIM signatures of a message (RFC 6376); fails if none is good
    Dkim(DkimQuestion),
    /// May this client send mail for this domain (SPF, RFC 7208)? Fails if it may not
    #[command(
        after_help = "Example:\n  postring auth spf --ip 192.0.2.7 --helo mx.example.org --mail-from you@example.org\nWithout --mail-from it is the null sender, and the domain is that of --helo."
    )]
    Spf(SpfQuestion),
}

#[derive(Debug, Args)]
pub struct ArcQuestion {
    /// A file with one message, with CRLF or LF at its line ends; - is standard input
    pub file: PathBuf,
    /// Ask this server for the keys instead of those of the configuration, or of the system without one
    #[arg(long)]
    pub resolver: Option<SocketAddr>,
    /// For machines
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct DkimQuestion {
    /// A file with one message, with CRLF or LF at its line ends; - is standard input
    pub file: PathBuf,
    /// Ask this server for the keys instead of those of the configuration, or of the system without one
    #[arg(long)]
    pub resolver: Option<SocketAddr>,
    /// For machines
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct SpfQuestion {
    /// The client's address
    #[arg(long)]
    pub ip: IpAddr,
    /// What it says in EHLO
    #[arg(long)]
    pub helo: String,
    /// The sender, without angle brackets; empty is the null sender
    #[arg(long, default_value = "")]
    pub mail_from: String,
    /// Ask this server instead of those of the configuration, or of the system without one
    #[arg(long)]
    pub resolver: Option<SocketAddr>,
    /// For machines
    #[arg(long)]
    pub json: bool,
}
