//! The claims that repeat what a certificate says, as UAA's tokens of instances name them.

use crate::identity::Identity;

/// Name and value of each of the four; `None`: the certificate does not say.
pub fn identity_claims(identity: Option<&Identity>) -> [(&'static str, Option<String>); 4] {
    let organization = identity.and_then(|identity| identity.organization.as_ref());
    let space = identity.and_then(|identity| identity.space.as_ref());
    let app = identity.and_then(|identity| identity.app.as_ref());
    let instance = identity.and_then(|identity| identity.instance.as_ref());
    [
        ("org_guid", organization.map(ToString::to_string)),
        ("space_guid", space.map(ToString::to_string)),
        ("app_guid", app.map(ToString::to_string)),
        ("cf_instance_guid", instance.map(ToString::to_string)),
    ]
}
