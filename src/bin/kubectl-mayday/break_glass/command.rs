//! The command line of a break-glass. Pure.

use crate::cli::Connection;
use crate::cluster::Me;
use crate::failure::Failure;

/// The command without a leading `kubectl`.
pub fn bare(command: &[String]) -> Result<&[String], Failure> {
    let bare = match command.split_first() {
        Some((first, rest)) if first == "kubectl" => rest,
        _ => command,
    };
    let given = |flag: &str| bare.iter().any(|word| word == flag || word.starts_with(&format!("{flag}=")));
    if given("--as") || given("--as-group") {
        return Err(Failure::usage(
            "The command must not say --as or --as-group: break-glass is done as oneself.",
        ));
    }
    if bare.is_empty() {
        return Err(Failure::usage(
            "There is no command: kubectl mayday break-glass --why \"…\" -- COMMAND.",
        ));
    }
    Ok(bare)
}

/// The namespace that the command names itself.
pub fn namespace_in(command: &[String]) -> Option<&str> {
    let mut words = command.iter().take_while(|word| *word != "--");
    while let Some(word) = words.next() {
        match word.as_str() {
            "-n" | "--namespace" => return words.next().map(String::as_str),
            _ => {}
        }
        if let Some(value) = word.strip_prefix("--namespace=").or_else(|| word.strip_prefix("-n=")) {
            return Some(value);
        }
        if let Some(value) = word.strip_prefix("-n").filter(|value| !value.is_empty()) {
            return Some(value);
        }
    }
    None
}

/// The command as oneself, with one's own groups and the break-glass groups. What the API server adds by
/// itself (`system:…`) is left out: it would need a right of its own.
pub fn impersonating(connection: &Connection, me: &Me, groups: &[String], command: &[String]) -> Vec<String> {
    let mut words = vec![format!("--as={}", me.user)];
    let own = me.groups.iter().filter(|group| !group.starts_with("system:") && !groups.contains(group));
    words.extend(groups.iter().chain(own).map(|group| format!("--as-group={group}")));
    words.extend(connection.kubeconfig.iter().map(|file| format!("--kubeconfig={}", file.display())));
    words.extend(connection.context.iter().map(|context| format!("--context={context}")));
    if namespace_in(command).is_none() {
        words.extend(connection.namespace.iter().map(|namespace| format!("--namespace={namespace}")));
    }
    words.extend(command.iter().cloned());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn one_impersonates_oneself_with_ones_own_groups_and_the_glass() {
        let me =
            Me { user: "emil".into(), groups: vec!["shop-engineers".into(), "system:authenticated".into()] };
        let connection = Connection { namespace: Some("shop".into()), ..Default::default() };
        let command = words("set image deploy/checkout app=shop/checkout:v1");
        let words = impersonating(&connection, &me, &["shop-break-glass".into()], &command);
        assert_eq!(
            words.join(" "),
            "--as=emil --as-group=shop-break-glass --as-group=shop-engineers --namespace=shop set image \
             deploy/checkout app=shop/checkout:v1"
        );
    }

    #[test]
    fn the_namespace_of_the_command_wins() {
        for text in ["scale -n shop deploy/x", "scale -nshop deploy/x", "--namespace=shop scale deploy/x"] {
            assert_eq!(namespace_in(&words(text)), Some("shop"), "{text}");
        }
        assert_eq!(namespace_in(&words("exec pod -- ls -n other")), None);
        let connection = Connection { namespace: Some("default".into()), ..Default::default() };
        let words = impersonating(&connection, &Me::default(), &[], &words("scale -n shop deploy/x"));
        assert!(!words.iter().any(|word| word.starts_with("--namespace")), "{words:?}");
    }

    #[test]
    fn a_leading_kubectl_is_dropped_and_an_own_impersonation_refused() {
        assert_eq!(bare(&words("kubectl get pods")).unwrap(), words("get pods"));
        assert_eq!(bare(&words("get pods --as=bob")).unwrap_err().code, 2);
        assert_eq!(bare(&words("kubectl")).unwrap_err().code, 2);
    }
}
