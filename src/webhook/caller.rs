//! Who sent a request, as the API server authenticated them. Pure.

use k8s_openapi::api::authentication::v1::UserInfo;

/// Prefix of the user name of a ServiceAccount.
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";
/// The controller that empties a terminating namespace, where each controller has its own account.
const NAMESPACE_CONTROLLER: &str = "system:serviceaccount:kube-system:namespace-controller";
/// The account of all controllers, where they share one.
const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";

/// The extra that the API server gives to a caller with the token of a ServiceAccount; the marker of people is another
/// setting.
const TOKEN_MARKER: &str = "authentication.kubernetes.io/credential-id";

/// Who sent a request.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Caller {
    /// User name, byte for byte.
    pub user: String,
    /// Groups, as authenticated.
    pub groups: Vec<String>,
    /// Whether the user logged in directly: impersonation carries no credential.
    pub direct: bool,
}

impl Caller {
    /// Reads a review's `userInfo`. `marker` is the key of the extra that only a direct login has.
    pub fn new(info: &UserInfo, marker: &str) -> Caller {
        let extra = info.extra.as_ref().and_then(|extra| extra.get(marker));
        Caller {
            user: info.username.clone().unwrap_or_default(),
            groups: info.groups.clone().unwrap_or_default(),
            direct: extra.is_some_and(|values| values.iter().any(|value| !value.is_empty())),
        }
    }

    /// Whether the caller is a ServiceAccount.
    pub fn is_service_account(&self) -> bool {
        self.user.starts_with(SERVICE_ACCOUNT)
    }

    /// Whether the caller is in one of the groups; false for an empty list.
    pub fn in_any(&self, groups: &[String]) -> bool {
        self.groups.iter().any(|group| groups.contains(group))
    }

    /// Whether the caller is the controller that empties a terminating namespace.
    pub fn empties_namespaces(&self) -> bool {
        self.user == NAMESPACE_CONTROLLER || self.user == CONTROLLER_MANAGER
    }
}

/// Whether the operator itself asks: its account with a token of its own, not an impersonator.
pub fn is_operator(info: &UserInfo, operator_namespace: &str) -> bool {
    let account = crate::cluster::client::service_account_user(operator_namespace, "mayday");
    let caller = Caller::new(info, TOKEN_MARKER);
    caller.user == account && caller.direct
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const MARKER: &str = "authentication.kubernetes.io/credential-id";

    fn info(extra: Option<(&str, &[&str])>) -> UserInfo {
        UserInfo {
            username: Some("lena".into()),
            groups: Some(vec!["shop-leads".into()]),
            extra: extra.map(|(key, values)| {
                BTreeMap::from([(key.to_owned(), values.iter().map(|v| (*v).to_owned()).collect())])
            }),
            uid: None,
        }
    }

    #[test]
    fn only_a_login_with_a_credential_is_direct() {
        assert!(Caller::new(&info(Some((MARKER, &["X509SHA256=ab"]))), MARKER).direct);
        assert!(!Caller::new(&info(None), MARKER).direct);
        assert!(!Caller::new(&info(Some((MARKER, &[]))), MARKER).direct);
        assert!(!Caller::new(&info(Some((MARKER, &[""]))), MARKER).direct);
        assert!(!Caller::new(&info(Some(("scopes", &["x"]))), MARKER).direct);
    }

    #[test]
    fn an_empty_list_of_groups_means_nobody() {
        let caller = Caller::new(&info(None), MARKER);
        assert!(!caller.in_any(&[]));
        assert!(caller.in_any(&["shop-leads".into()]));
        assert!(!caller.in_any(&["Shop-Leads".into()]), "compared byte for byte");
    }

    #[test]
    fn the_operator_is_its_account_with_a_token_and_no_impersonator() {
        assert!(!is_operator(&UserInfo::default(), ""));
        let account = |extra| UserInfo {
            username: Some("system:serviceaccount:mayday-system:mayday".into()),
            ..info(extra)
        };
        let token = account(Some((MARKER, &["JTI=1"])));
        assert!(is_operator(&token, "mayday-system"));
        assert!(!is_operator(&token, "shop"));
        assert!(!is_operator(&account(None), "mayday-system"), "impersonated");
    }
}
