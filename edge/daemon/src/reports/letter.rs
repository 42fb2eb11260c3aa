//! The message a report is sent in (RFC 7489 section 7.2.1.1).

use super::outgoing::Outgoing;
use postring_mail::date::write_date;
use std::io::Write;

/// Octets of a line of base64 (RFC 2045 section 6.8).
const LINE_BYTES: usize = 76;

/// Header and body with CR LF.
pub(super) fn write(report: &Outgoing, hostname: &str, to: &[String], unix_seconds: u64) -> Vec<u8> {
    let Outgoing { domain, from, report_id, begin, end, compressed, .. } = report;
    let mut out = Vec::with_capacity(compressed.len() * 3 / 2 + 2048);
    // Within the octets of the report there is no line that begins with two hyphens.
    let boundary = format!("=-report-{begin}-{end}");
    let mut line = |text: &str| {
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(b"\r\n");
    };
    line(&format!("From: <{from}>"));
    line(&format!("To: <{}>", to.join(">,\r\n <")));
    //= RFC 7489 section 7.2.1.1
    //# dmarc-subject = %x52.65.70.6f.72.74 1*FWS ; "Report" [...] "Domain:" 1*FWS domain-name 1*FWS [...] "Submitter:" 1*FWS domain-name
    //# 1*FWS [...] "Report-ID:" msg-id
    line(&format!("Subject: Report Domain: {domain}\r\n Submitter: {hostname}\r\n Report-ID: <{report_id}>"));
    let mut date = b"Date: ".to_vec();
    write_date(unix_seconds, &mut date);
    line(&String::from_utf8_lossy(&date));
    line(&format!("Message-ID: <{report_id}>"));
    line("Auto-Submitted: auto-generated");
    line("MIME-Version: 1.0");
    line(&format!("Content-Type: multipart/mixed; boundary=\"{boundary}\""));
    line("");
    line(&format!("--{boundary}"));
    line("Content-Type: text/plain; charset=us-ascii");
    line("");
    line(&format!("This is a DMARC aggregate report of {hostname} for {domain}."));
    line("");
    line(&format!("--{boundary}"));
    //= RFC 7489 section 7.2.1.1
    //# filename = receiver "!" policy-domain "!" begin-timestamp "!" end-timestamp [ "!" unique-id ] "." extension
    let name = format!("{hostname}!{domain}!{begin}!{end}.xml.gz");
    line(&format!("Content-Type: application/gzip;\r\n name=\"{name}\""));
    line("Content-Transfer-Encoding: base64");
    line(&format!("Content-Disposition: attachment;\r\n filename=\"{name}\""));
    line("");
    for chunk in compressed.chunks(LINE_BYTES / 4 * 3) {
        line(&base64::Engine::encode(&base64::engine::general_purpose::STANDARD, chunk));
    }
    let _ = write!(out, "--{boundary}--\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_message_with_the_report_attached() {
        let report = Outgoing {
            domain: postring_auth::dmarc::Domain::new("example.com").unwrap(),
            addresses: Vec::new(),
            from: "reports@here.example".into(),
            report_id: "1.example.com@mx.here.example".into(),
            begin: 1,
            end: 86_400,
            compressed: (0..=255).collect(),
        };
        let to = ["a@example.com".to_owned(), "b@other.example".to_owned()];
        let text = String::from_utf8(write(&report, "mx.here.example", &to, 1_795_824_000)).unwrap();
        assert!(
            text.lines().all(|line| line.len() <= LINE_BYTES + 2) && !text.replace("\r\n", "").contains(['\r', '\n']),
            "{text}"
        );
        for part in [
            "From: <reports@here.example>\r\nTo: <a@example.com>,\r\n <b@other.example>\r\n",
            "Subject: Report Domain: example.com\r\n Submitter: mx.here.example\r\n Report-ID: <1.example.com@mx.here.example>\r\n",
            " filename=\"mx.here.example!example.com!1!86400.xml.gz\"\r\n\r\nAAECAwQF",
            "/P3+/w==\r\n--=-report-1-86400--\r\n",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
