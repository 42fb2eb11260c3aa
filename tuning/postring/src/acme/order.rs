//! One certificate: the order, its challenges, the request, the chain.

use super::challenge::{Records, Tokens};
use super::client::Client;
use super::config::{Acme, Challenge};
use super::kept::Kept;
use super::wanted::Wanted;
use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Error, Identifier, NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use std::time::Duration;

/// Time for an authority to look, and to sign.
const WAIT: Duration = Duration::from_secs(120);
const RETRY: RetryPolicy = RetryPolicy::new().initial_delay(Duration::from_millis(500)).backoff(1.5).timeout(WAIT);

/// The account of the configuration's authority: the one that is kept, or a new one.
pub(super) async fn account(acme: &Acme, kept: &Kept) -> Result<Account, String> {
    let client = || Client::new(acme.authority_roots.as_deref());
    if let Some(credentials) = kept.account(&acme.directory) {
        return Account::builder_with_http(Box::new(client()?)).from_credentials(credentials).await.map_err(said);
    }
    let contact: Vec<String> = acme.contact.iter().map(|contact| format!("mailto:{contact}")).collect();
    let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
    let new = NewAccount { contact: &contact, terms_of_service_agreed: acme.terms_agreed, only_return_existing: false };
    let made = Account::builder_with_http(Box::new(client()?)).create(&new, acme.directory.clone(), None).await;
    let (account, credentials) = made.map_err(said)?;
    kept.keep_account(&acme.directory, credentials)?;
    tracing::info!("tls: an account with {} is made: {}", acme.directory, account.id());
    Ok(account)
}

/// Gets a certificate and writes its file. What was put up for the authority is the caller's to take away.
///
/// # Errors
/// One line.
pub(super) async fn get(
    account: &Account,
    wanted: &Wanted,
    challenge: Challenge,
    tokens: &Tokens,
    records: &mut Records,
) -> Result<(), String> {
    wanted.prepare()?;
    let identifiers: Vec<Identifier> = wanted.names.iter().cloned().map(Identifier::Dns).collect();
    let mut order = account.new_order(&NewOrder::new(&identifiers)).await.map_err(said)?;
    put_up(&mut order, challenge, tokens, records).await?;
    match order.poll_ready(&RETRY).await.map_err(said)? {
        OrderStatus::Ready => {}
        // Another's request of the same moment, or an authority in a hurry.
        OrderStatus::Valid => return Err("the order was finished before it was asked for".to_owned()),
        OrderStatus::Invalid | OrderStatus::Pending | OrderStatus::Processing => return Err(why(&mut order).await),
    }
    order.finalize_csr(&wanted.request()?).await.map_err(said)?;
    let chain = order.poll_certificate(&RETRY).await.map_err(said)?;
    wanted.take(&chain)
}

/// Answers every challenge of the order that is open, and says so.
async fn put_up(order: &mut Order, challenge: Challenge, tokens: &Tokens, records: &mut Records) -> Result<(), String> {
    let kind = match challenge {
        Challenge::Http => ChallengeType::Http01,
        Challenge::Dns => ChallengeType::Dns01,
    };
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(said)?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let name = authorization.identifier().to_string();
        let mut handle = authorization.challenge(kind.clone()).ok_or_else(|| {
            format!(
                "the authority has no such challenge for {name}{}",
                if name.starts_with('*') { "; a wildcard takes dns-01" } else { "" }
            )
        })?;
        let answer = handle.key_authorization();
        match challenge {
            Challenge::Http => tokens.put(handle.token.clone(), answer.as_str().to_owned()),
            Challenge::Dns => records.add(&name, answer.dns_value())?,
        }
        handle.set_ready().await.map_err(said)?;
    }
    Ok(())
}

/// What the authority did not like.
async fn why(order: &mut Order) -> String {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        // What was fetched before is not what it is now.
        let _ = authorization.refresh().await;
        let name = authorization.identifier().to_string();
        if let Some(problem) = authorization.challenges.iter().find_map(|challenge| challenge.error.as_ref()) {
            return format!("{name}: {problem}");
        }
    }
    "the authority did not find what was put up for it in time".to_owned()
}

#[allow(clippy::needless_pass_by_value)] // for map_err
fn said(error: Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
