//! Whose a request is: `tenant/tenant.go` and `tenant/resolver.go` of grafana/dskit.

use super::{http::Request, refusal::Refusal};

/// Bytes that a tenant's name may have.
const MAX_LENGTH: usize = 150;

/// Refuses a request that names no tenant, or none that there can be.
pub(super) fn check(request: &Request) -> Result<(), Refusal> {
    let Some(named) = request
        .headers
        .get("x-scope-orgid")
        .filter(|it| !it.is_empty())
    else {
        return Err(Refusal::unauthenticated("no org id"));
    };
    // What follows a colon names a part of a tenant; it is ignored.
    let tenants = named.split('|');
    let mut tenants = tenants.map(|it| it.split(':').next().unwrap_or_default());
    let first = tenants.next().unwrap_or_default();
    valid(first)?;
    if tenants.any(|it| it != first) {
        return Err(Refusal::unauthenticated("multiple org IDs present"));
    }
    Ok(())
}

fn valid(tenant: &str) -> Result<(), Refusal> {
    let is_allowed = |it: &char| it.is_ascii_alphanumeric() || "!-_.*'()".contains(*it);
    let words = if let Some(wrong) = tenant.chars().find(|it| !is_allowed(it)) {
        format!("tenant ID '{tenant}' contains unsupported character '{wrong}'")
    } else if tenant.len() > MAX_LENGTH {
        format!("tenant ID is too long: max {MAX_LENGTH} characters")
    } else if matches!(tenant, "." | "..") {
        "tenant ID is '.' or '..'".to_owned()
    } else {
        return Ok(());
    };
    Err(Refusal::unauthenticated(words))
}
