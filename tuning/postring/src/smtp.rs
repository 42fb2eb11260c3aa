//! `postring smtp`: what the front end would do.

use crate::cli::SmtpAction;
use crate::config::Config;
use crate::dns::{ask, print_json};
use serde_json::Value;

pub fn run(config: &Config, action: &SmtpAction) -> Result<(), String> {
    let SmtpAction::Explain { ip, helo, mail_from, rcpt, json } = action;
    let told = ask(config, &["smtp", "explain", &ip.to_string(), helo, mail_from, rcpt])?;
    if *json {
        return print_json(&told);
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for step in told["steps"].as_array().into_iter().flatten() {
        let points = step["points"].as_f64().map_or_else(String::new, |points| format!(" ({points:+})"));
        let found = step.get("reply").map_or_else(|| text(&step["found"]), text);
        println!("{:<32} {found}{points}", text(&step["check"]));
    }
    println!("\nRCPT is answered: {}", text(&told["reply"]));
    println!(
        "{} points so far; marked from {}, Junk from {}, refused from {}. At the last dot also:",
        told["points"], told["mark_score"], told["junk_score"], told["reject_score"]
    );
    for check in told["at_the_last_dot"].as_array().into_iter().flatten() {
        println!("  {}", text(check));
    }
    Ok(())
}
