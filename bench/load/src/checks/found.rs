//! What a server has written of the senders of its mail: a comparison counts only if both have checked the same, and found the same.

use crate::server::Server;

const PASSES: [&str; 3] = ["dkim=pass", "spf=pass", "dmarc=pass"];

/// Every message it has delivered must say that all checks passed; or, if it shall not have checked, say none of that.
pub fn check(server: &Server, is_checked: bool) -> Result<(), String> {
    let delivered = server.delivered();
    for path in &delivered {
        let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let results = results(&String::from_utf8_lossy(&text));
        let wrong = |what: &str| Err(format!("{}: a delivered message {what}: {results:?}", server.name));
        match PASSES.iter().find(|pass| results.contains(**pass) != is_checked) {
            Some(pass) if is_checked => return wrong(&format!("lacks {pass} in its Authentication-Results")),
            Some(pass) => return wrong(&format!("has {pass} in its Authentication-Results, and nothing should be checked")),
            None => {}
        }
    }
    // Only Postring says how often it has looked.
    if let Some((looked, hit)) = server.rules()
        && ((looked > 0) != is_checked || !hit.is_empty())
    {
        return Err(format!("{}: rules about client and sender were looked at {looked} times, these hit: {hit:?}", server.name));
    }
    if delivered.is_empty() { Err(format!("{}: nothing was delivered to look at", server.name)) } else { Ok(()) }
}

/// The Authentication-Results fields of a message, one line.
fn results(message: &str) -> String {
    let header = message.split("\n\n").next().unwrap_or_default();
    let (mut found, mut is_ours) = (String::new(), false);
    for line in header.lines() {
        if !line.starts_with([' ', '\t']) {
            is_ours = line.get(..23).is_some_and(|name| name.eq_ignore_ascii_case("Authentication-Results:"));
        }
        if is_ours {
            found.push_str(line.trim_end());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_field_counts() {
        let message = "Subject: dkim=pass\nAuthentication-Results: mx;\n\tspf=pass smtp.mailfrom=a;\nX: spf=fail\n\nAuthentication-Results: dkim=pass\n";
        assert_eq!(results(message), "Authentication-Results: mx;\tspf=pass smtp.mailfrom=a;");
    }
}
