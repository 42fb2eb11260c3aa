use super::*;
use crate::tls::certificate::tests::pair;
use crate::tls::check::check;
use crate::tls::config::NameConfig;
use postring_transport::tls::Pair;
use std::fs;

const NOW: i64 = 1_800_000_000;
const GOOD: (i64, i64) = (NOW - DAY_SECONDS, NOW + 90 * DAY_SECONDS);

/// Two pairs of files: this host's, and that of another name.
struct Files {
    folder: tempfile::TempDir,
    settings: Tls,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let settings = Tls {
            certificate: Some(path("own.pem")),
            key: Some(path("own.key")),
            name: vec![NameConfig {
                names: vec!["*.other.example".to_owned()],
                acme: false,
                certificate: path("other.pem"),
                key: path("other.key"),
            }],
            ..Tls::default()
        };
        let files = Self { folder, settings };
        files.write("own", &pair("mx.example.org", GOOD));
        files.write("other", &pair("*.other.example", GOOD));
        files
    }

    fn write(&self, name: &str, pair: &Pair) {
        self.write_file(&format!("{name}.pem"), &pair.certificate_pem);
        self.write_file(&format!("{name}.key"), &pair.key_pem);
    }

    /// As a program does that renews: another file takes its name.
    fn write_file(&self, name: &str, text: &str) {
        let new = self.folder.path().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.folder.path().join(name)).unwrap();
    }

    fn open(&self, before: Option<&Certificates>) -> Result<(Certificates, Vec<Said>), String> {
        Certificates::open(&self.settings, "mx.example.org", before, NOW).map(|(all, said)| (all.unwrap(), said))
    }
}

fn own(all: &Certificates) -> Pair {
    all.material().unwrap().default
}

#[test]
fn a_pair_that_was_replaced_is_taken_once_it_is_still() {
    let files = Files::new();
    let (mut all, said) = files.open(None).unwrap();
    assert_eq!(said, []);
    assert_eq!(all.look(NOW), (false, Vec::new()));
    let newer = pair("mx.example.org", (GOOD.0, GOOD.1 + 1));
    files.write_file("own.pem", &newer.certificate_pem);
    assert_eq!(all.look(NOW), (false, Vec::new()), "the certificate alone is not judged at once");
    files.write_file("own.key", &newer.key_pem);
    assert_eq!(all.look(NOW), (false, Vec::new()), "the key has just changed");
    let (changed, said) = all.look(NOW);
    assert!(changed && own(&all) == newer);
    assert!(
        matches!(said.as_slice(), [Said::Info(text)] if text.contains("in force") && text.contains("another key")),
        "{said:?}"
    );
    assert_eq!(all.look(NOW), (false, Vec::new()));
    // The same content anew is no news.
    files.write("own", &newer);
    assert_eq!([all.look(NOW), all.look(NOW)], [(false, Vec::new()), (false, Vec::new())]);
}

#[test]
fn what_is_not_good_changes_nothing_and_is_said_once() {
    let files = Files::new();
    let good = pair("mx.example.org", GOOD);
    let other = pair("mx.example.org", GOOD);
    let expired = pair("mx.example.org", (0, NOW - 1));
    for (broken, reason) in [
        (Pair { certificate_pem: other.certificate_pem.clone(), ..good.clone() }, "is not that of the first certificate"),
        (Pair { certificate_pem: String::new(), ..good.clone() }, "holds no certificate"),
        (Pair { key_pem: "x".to_owned(), ..good.clone() }, "no PEM private key"),
        (expired, "has expired"),
    ] {
        files.write("own", &good);
        let (mut all, _) = files.open(None).unwrap();
        files.write("own", &broken);
        assert_eq!(all.look(NOW), (false, Vec::new()));
        let (changed, said) = all.look(NOW);
        assert!(!changed && own(&all) == good);
        let [Said::Warning(text)] = said.as_slice() else { panic!("{said:?}") };
        assert!(
            text.contains(reason) && text.contains("own.pem") && text.contains("stays in force") && !text.contains('\n'),
            "{text}"
        );
        assert_eq!([all.look(NOW), all.look(NOW)], [(false, Vec::new()), (false, Vec::new())]);
        assert!(all.status(NOW)[0]["problem"].as_str().unwrap().contains(reason));
        assert!(all.metrics().contains("own.pem\"} 1\n"));
        // A day later it is said again; once it is right it is taken.
        let (changed, said) = all.look(NOW + DAY_SECONDS);
        assert_eq!((changed, said.len()), (false, 0));
        assert_eq!(all.look(NOW + DAY_SECONDS).1.len(), 1);
        files.write("own", &other);
        all.look(NOW + DAY_SECONDS);
        assert!(all.look(NOW + DAY_SECONDS).0 && own(&all) == other);
        assert!(all.status(NOW)[0]["problem"].is_null());
    }
}

#[test]
fn a_file_that_is_gone_is_not_good() {
    let files = Files::new();
    let (mut all, _) = files.open(None).unwrap();
    fs::remove_file(files.folder.path().join("own.key")).unwrap();
    assert_eq!(all.look(NOW), (false, Vec::new()));
    assert!(matches!(all.look(NOW), (false, said) if said.len() == 1));
}

#[test]
fn at_the_start_others_may_be_broken_and_at_a_reload_what_was_there() {
    let files = Files::new();
    let (before, _) = files.open(None).unwrap();
    let good = before.material().unwrap();
    files.write_file("other.key", "");
    let (all, said) = files.open(None).unwrap();
    assert!(
        matches!(said.as_slice(), [Said::Warning(text)] if text.contains("other.pem") && text.contains("host's own")),
        "{said:?}"
    );
    assert_eq!(all.material().unwrap().named.len(), 1, "the host's name alone");
    assert_eq!(files.open(Some(&before)).unwrap().0.material().unwrap(), good);
    // One that was never there.
    assert!(files.open(Some(&all)).unwrap_err().contains("other.pem"));
    files.write_file("own.key", "");
    assert!(files.open(None).unwrap_err().contains("own.pem"));
    assert_eq!(files.open(Some(&before)).unwrap().0.material().unwrap(), good);
    assert_eq!(check(&files.settings, "mx.example.org", NOW).0.len(), 2);
}

#[test]
fn the_end_is_said_from_fourteen_days_on_once_a_day() {
    let files = Files::new();
    let (mut all, _) = files.open(None).unwrap();
    let mut lines = Vec::new();
    for day in 70..95 {
        for _ in 0..3 {
            let (_, said) = all.look(NOW + day * DAY_SECONDS);
            lines.extend(said.into_iter().map(|said| (day, said)));
        }
    }
    // Of two certificates.
    assert_eq!(lines.first().map(|(day, _)| *day), Some(76));
    assert_eq!(lines.len(), 2 * (95 - 76));
    assert!(matches!(&lines[0].1, Said::Warning(text) if text.contains("in 14 days")));
    assert!(matches!(&lines[37].1, Said::Warning(text) if text.contains("has expired")));
}

#[test]
fn a_name_has_one_certificate() {
    let mut files = Files::new();
    let table = |names: &[&str]| NameConfig {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        ..files.settings.name[0].clone()
    };
    files.settings.name = vec![table(&[]), table(&["*.OTHER.example"]), table(&["*.example.org"])];
    let names = |files: &Files| -> Vec<Vec<String>> {
        files.open(None).unwrap().0.material().unwrap().named.into_iter().map(|of| of.names).collect()
    };
    assert_eq!(names(&files), [["mx.example.org"], ["*.other.example"], ["*.example.org"]]);
    let (wrong, notes) = check(&files.settings, "mx.example.org", NOW);
    assert!(wrong.len() == 1 && wrong[0].contains("*.example.org of its [[tls.name]]"), "{wrong:?}");
    assert_eq!(notes, [""; 0]);
    assert!(check(&files.settings, "mx.example.net", NOW).1[0].contains("does not have this host's name"));
    // A table that names the host is meant.
    files.settings.name[0].names = vec!["MX.example.org".to_owned()];
    assert_eq!(names(&files)[0], ["mx.example.org"]);
    assert_eq!(names(&files).len(), 3);
}

#[test]
fn the_records_are_those_of_this_key_and_the_next() {
    let mut files = Files::new();
    let own = Certificate::new(pair("mx.example.org", GOOD)).unwrap();
    files.write("own", &own.pair);
    assert_eq!(files.open(None).unwrap().0.tlsa().0, [rdata(&own.key_sha256)]);
    assert_eq!(rdata(&[0x0a; 32]), format!("3 1 1 {}", "0a".repeat(32)));
    let next = Certificate::new(pair("mx.example.org", GOOD)).unwrap();
    files.write_file("next.key", &next.pair.key_pem);
    files.settings.next_key = Some(files.folder.path().join("next.key"));
    let (mut all, said) = files.open(None).unwrap();
    assert_eq!((all.tlsa().0, said), (vec![rdata(&own.key_sha256), rdata(&next.key_sha256)], Vec::new()));
    files.write("own", &next.pair);
    assert_eq!([all.look(NOW).0, all.look(NOW).0], [false, true]);
    let (records, changed) = all.tlsa();
    assert_eq!(records, [rdata(&next.key_sha256)]);
    assert!(changed > 1_700_000_000);
    // One that cannot be read is none, and is said.
    files.write_file("next.key", "");
    let (all, said) = files.open(None).unwrap();
    assert_eq!((all.tlsa().0.len(), said.len()), (1, 1));
}

#[test]
fn a_broken_table_that_names_the_host_leaves_it_its_own_pair_and_record() {
    let mut files = Files::new();
    let own_pair = Certificate::new(pair("mx.example.org", GOOD)).unwrap();
    files.write("own", &own_pair.pair);
    // A wildcard must not take the name the broken table leaves free.
    let wildcard = NameConfig { names: vec!["*.example.org".to_owned()], ..files.settings.name[0].clone() };
    let broken = NameConfig {
        names: vec!["mx.example.org".to_owned()],
        certificate: files.folder.path().join("broken.pem"),
        key: files.folder.path().join("broken.key"),
        acme: false,
    };
    files.settings.name = vec![broken, wildcard];
    let (mut all, _) = files.open(None).unwrap();
    assert_eq!(all.tlsa().0, [rdata(&own_pair.key_sha256)]);
    let named = all.material().unwrap().named;
    assert_eq!((&named[0].names[..], &named[0].pair), (&["mx.example.org".to_owned()][..], &own_pair.pair));
    // Once it is good it is the host's.
    let its = Certificate::new(pair("mx.example.org", GOOD)).unwrap();
    files.write("broken", &its.pair);
    assert_eq!([all.look(NOW).0, all.look(NOW).0], [false, true]);
    assert_eq!(all.tlsa().0, [rdata(&its.key_sha256)]);
    assert!(all.material().unwrap().named.iter().all(|of| of.pair != own_pair.pair));
}
